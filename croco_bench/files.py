"""Files of all parts of the package: cache folder, atomic writing, exclusive locks, fingerprints, JSON and TOML from outside."""

from __future__ import annotations

import errno
import hashlib
import json
import lzma
import os
import re
import shutil
import struct
import tarfile
import tempfile
import tomllib
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from glob import escape as glob_escape
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from croco_bench.errors import BenchError, RecordError, UsageError
from croco_bench.limits import TEXT

_PARTIAL = ".partial"
# What zipfile, tarfile and their decoders raise on damaged archives: OSError for places before the begin of a file,
# RuntimeError for encrypted members and unknown compression.
ARCHIVE_ERRORS = (
    *(OSError, EOFError, ValueError, RuntimeError, LookupError, ArithmeticError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
)
# Levels of tables and lists in JSON and TOML: Python's own functions end at some 1000, in other errors than of the content.
_MAX_DEPTH = 64
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")


def is_of_system(error: BaseException) -> bool:
    """Whether the operating system refused to read or write, rather than a decoder that met damaged content."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def cache_folder() -> Path:
    """`$CROCO_BENCH_CACHE`, or `croco-bench` below `$XDG_CACHE_HOME` (if that is absolute, as it should be) or `~/.cache`."""
    if own := os.environ.get("CROCO_BENCH_CACHE"):
        return Path(own)
    base = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (base if base.is_absolute() else home() / ".cache") / "croco-bench"


def home() -> Path:
    """The user's home folder: `$HOME`, and where that is empty or no absolute path, that of the system's list of users.

    Raises:
        UsageError: neither names one.
    """
    given = Path(os.environ.get("HOME") or "")
    if given.is_absolute():
        return given
    try:
        import pwd  # of POSIX systems only

        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except ImportError:
        return Path.home()
    except KeyError as error:
        raise UsageError(
            "this user has no home folder", "set HOME, or CROCO_BENCH_CACHE for the cache alone"
        ) from error


def fingerprint(*parts: str | bytes, length: int = 16) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of the parts, joined without a separator (text as UTF-8)."""
    return fingerprint_of(parts, length=length)


def fingerprint_of(parts: Iterable[str | bytes], *, length: int = 16) -> str:
    """The same for parts that come one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:length]


def joined(separator: str, parts: Iterable[str], *, at_once: int = 2**16) -> Iterator[str]:
    """What `separator.join(parts)` gives, in pieces: of millions of parts it would be long."""
    between, remaining = "", iter(parts)
    while some := list(islice(remaining, at_once)):
        yield between + separator.join(some)
        between = separator


def parse_json(text: str | bytes) -> Any:
    """The content of JSON that others may have written.

    Raises:
        ValueError: it isn't JSON, isn't UTF-8, or is nested too deeply.
    """
    try:
        return _bounded(json.loads(text))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_toml(text: str) -> dict[str, Any]:
    """The content of TOML that others may have written.

    Raises:
        ValueError: it isn't TOML, or is nested too deeply.
    """
    if _LONG_KEY.search(text):  # tomllib would take time and memory that grow with the square of the number of parts
        raise ValueError("it has a key of too many parts")
    try:
        content: dict[str, Any] = _bounded(tomllib.loads(text))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return content


def _bounded(content: Any) -> Any:
    """The content, unless it has too many levels."""
    level = [content]
    for _ in range(_MAX_DEPTH):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [child for children in inner for child in children if isinstance(child, dict | list)]
        if not level:
            return content
    raise ValueError("it is nested too deeply")


@contextmanager
def exclusive_lock(
    path: Path, *, busy: BenchError | None = None, waiting: str = "", unwritable: str | None = None
) -> Iterator[None]:
    """Holds a lock file, made together with its folder. The system frees it when the process dies.

    Args:
        path: the lock file.
        busy: raised at once when another process holds the lock; default: wait until it is free.
        waiting: logged before waiting.
        unwritable: advice for a folder that can't be made or written; default: the `OSError` itself goes through.

    Raises:
        BenchError: `busy`.
        RecordError: the folder can't be written and `unwritable` is given.
    """
    # Results are read without either of these.
    from filelock import FileLock, Timeout

    from croco_bench.progress import log

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            if busy is not None:
                raise busy from error
            if waiting:
                log(waiting)
            lock.acquire()
    except OSError as error:
        if unwritable is None:
            raise
        raise RecordError(f"can't write in {path.parent} ({error.strerror})", unwritable) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`: renamed to `path` at the end of the block, deleted if the block raises.

    A link is written through. So is a device or a pipe: the whole content at once, at the end of the block.

    Raises:
        RecordError: the folder can't be written (disk full, no permission); an earlier file at `path` is untouched.
    """
    temporary: Path | None = None
    try:
        target = path.resolve() if path.is_symlink() else path
        is_stream = target.exists() and not target.is_file() and not target.is_dir()
        if not is_stream:
            target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=_PARTIAL, dir=None if is_stream else target.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        if is_stream:
            with temporary.open("rb") as content, target.open("wb") as stream:
                shutil.copyfileobj(content, stream)
        else:
            _put(temporary, target)
    except Exception as error:
        reason = _why_not_written(error)
        if reason is None:
            raise
        raise RecordError(
            f"can't write {path}: {reason}", "free space or choose another place, then run the same command again"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _put(temporary: Path, target: Path) -> None:
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())
    temporary.chmod(0o666 & ~_umask())
    temporary.replace(target)


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """`atomic` for a file that a user names, in a folder that no lock guards: also removes what killed processes left of it.

    Processes that write such files share a lock on the folder itself; one that is alone there removes leftovers.
    """
    target = path.resolve() if path.is_symlink() else path
    with ExitStack() as stack:
        with suppress(OSError, ImportError):  # no folder yet, or a system without such locks: nothing is removed
            import fcntl

            folder = os.open(target.parent, os.O_RDONLY)
            stack.callback(os.close, folder)
            with suppress(BlockingIOError):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                sweep(target.parent, glob_escape(target.name))
            fcntl.flock(folder, fcntl.LOCK_SH)
        yield stack.enter_context(atomic(path))


def sweep(folder: Path, *names: str) -> None:
    """Removes temporary files of killed processes beside files of these names (globs); only for the holder of a lock."""
    for name in names:
        for leftover in folder.glob(f".{name}.*{_PARTIAL}"):
            leftover.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Removes a file, or a folder with all its content. Links are removed, not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_unpacked_size(archive: Path | zipfile.ZipFile) -> None:
    """Compares the size of all members of a zip archive, such as `.npz`, with `limits.TEXT`, before they are unpacked.

    Raises:
        ValueError: they are larger.
        BadZipFile: it is no zip archive.
        OSError: it can't be read.
    """
    with zipfile.ZipFile(archive) if isinstance(archive, Path) else nullcontext(archive) as opened:
        if reason := TEXT.exceeded(sum(member.file_size for member in opened.infolist())):
            raise ValueError(reason)


def archive_fault(path: Path | BinaryIO) -> str | None:
    """Which part of a zip archive of `torch.save` is damaged or unusual, in words; None for a sound archive, or no archive.

    torch itself compares no checksums: one flipped bit in a file gives other weights without a word. It writes nothing
    compressed either, so that a member can't be larger than its file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED:
                    return f"{member.filename} in it is compressed, which torch.save never does"
            # torch.serialization.set_crc32_options(False): a file without checksums is sound.
            if all(member.CRC == 0 for member in members):
                return None
            bad = archive.testzip()
            return bad and f"the checksum of {bad} in it is wrong"
    except ARCHIVE_ERRORS as error:
        return f"it isn't a whole archive ({error})" if _start(path) == b"PK" else None


def _start(file: Path | BinaryIO) -> bytes:
    """The first two bytes."""
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return stream.read(2)
    file.seek(0)
    return file.read(2)


def _why_not_written(error: Exception) -> str | None:
    """The reason of a failed write; None for other errors. torch and safetensors have own exceptions for a full disk."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, RuntimeError) and "inline_container" in str(error):
        return "torch couldn't write the whole file, most likely because the disk is full"
    return str(error) if type(error).__name__ == "SafetensorError" else None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
