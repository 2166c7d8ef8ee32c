"""From what a user writes after --ckpt to a file on disk: paths, URLs, the Hugging Face hub, names of the zoo."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from croco_bench.backbones import zoo
from croco_bench.errors import CheckpointError
from croco_bench.files import cache_folder, exclusive_lock, fingerprint
from croco_bench.progress import Bar, log

_CHUNK = 1 << 20
_SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt", ".tar")


def locate(ckpt: str) -> tuple[Path, str | None]:
    """The file behind a checkpoint's name, downloaded where necessary, and its licence where that is known.

    Raises:
        CheckpointError: it can't be downloaded, or no such name or file exists.
    """
    released = zoo.find(ckpt)
    if released and not Path(ckpt).is_file():
        return _get(released), released.license
    if ckpt.startswith(("http://", "https://")):
        return download(ckpt), None
    if ckpt.startswith("hf://"):
        return _from_hub(ckpt), None
    path = Path(ckpt)
    if re.fullmatch(r"[\w.-]{1,100}", ckpt) and path.suffix not in _SUFFIXES and not path.exists():
        names = [entry.name for entry in zoo.entries()]
        near = difflib.get_close_matches(ckpt, names, n=3, cutoff=0.5) or names
        raise CheckpointError(
            f"{ckpt!r} is neither a file nor a known model",
            f"known: {', '.join(near)} (croco-bench models), or give a "
            "path, a URL, hf://repo/file, timm:NAME or random:ARCH",
        )
    return (Path.home() / path.relative_to("~") if path.parts[:1] == ("~",) else path), None


def _get(released: zoo.ZooEntry) -> Path:
    if released.url.startswith(zoo.PACKAGED):
        return Path(__file__).parent / "assets" / released.url.removeprefix(zoo.PACKAGED)
    return download(released.url, released.sha256)


def download(url: str, sha256: str | None = None) -> Path:
    """Fetches a file into the cache; goes on where an earlier attempt stopped; checks length, and checksum where known.

    Two processes that want the same file wait for each other.

    Raises:
        CheckpointError: it can't be fetched or stored, or isn't what was expected.
    """
    name = re.sub(r"[^\w.-]", "_", url.split("?")[0].rstrip("/").rpartition("/")[2])[-100:].strip(".") or "checkpoint"
    folder = cache_folder() / fingerprint(url, length=12)
    target, partial = folder / name, folder / f"{name}.partial"
    try:
        with exclusive_lock(folder / "lock"):
            if not target.is_file():
                _fetch(url, partial)
                _verify(partial, sha256, url)
                partial.replace(target)
                _tag(partial).unlink(missing_ok=True)
    except urllib.error.HTTPError as error:
        raise CheckpointError(f"{url} can't be downloaded: the server says {error.code} {error.reason}") from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        raise CheckpointError(
            f"{url} can't be downloaded ({getattr(error, 'reason', None) or error})",
            "the same command goes on from what has arrived, or fetch the file yourself and give its path",
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{target} can't be written ({error.strerror or error})", "free space or set CROCO_BENCH_CACHE"
        ) from error
    return target


def _tag(partial: Path) -> Path:
    """Where the server's mark of this version of the file is kept, so that parts of two versions are never joined."""
    return partial.with_name(f"{partial.name}.version")


def _discard(partial: Path) -> None:
    """Forgets what has arrived, so that the next attempt starts afresh."""
    partial.unlink()
    _tag(partial).unlink(missing_ok=True)


def _fetch(url: str, partial: Path) -> None:
    """Appends to `partial` what is still missing of `url`."""
    have = partial.stat().st_size if partial.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and _tag(partial).is_file():
        headers["If-Range"] = _tag(partial).read_text(encoding="utf-8")
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":  # nothing is missing
            return
        _discard(partial)  # it is of another version
        return _fetch(url, partial)
    with response:
        _receive(response, url, partial, have if response.status == 206 else 0)


def _receive(response: HTTPResponse, url: str, partial: Path, have: int) -> None:
    if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        _discard(partial)
        raise ConnectionError("the server sent another part than was asked for")
    etag = response.headers.get("ETag", "")
    version = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    _tag(partial).write_text(version, encoding="utf-8") if version else _tag(partial).unlink(missing_ok=True)
    length = int(response.headers.get("Content-Length") or 0)
    log(f"downloading {url}" + (f" from byte {have}" if have else ""))
    with partial.open("ab" if have else "wb") as stream, Bar("download", have + length, start=have) as bar:
        while chunk := response.read(_CHUNK):
            stream.write(chunk)
            bar.advance(len(chunk))
        stream.flush()
        os.fsync(stream.fileno())
    if length and partial.stat().st_size != have + length:
        raise ConnectionError(f"{partial.stat().st_size} of {have + length} bytes arrived")


def _verify(path: Path, sha256: str | None, url: str) -> None:
    """Refuses, and discards, what isn't the file that was asked for."""
    with path.open("rb") as stream:
        start = stream.read(64).lstrip().lower()
        stream.seek(0)
        found = hashlib.file_digest(stream, "sha256").hexdigest() if sha256 else None
    if start.startswith((b"<!doctype", b"<html")):
        _discard(path)
        raise CheckpointError(f"{url} leads to a web page, not to a checkpoint", "give the address of the file itself")
    if found != sha256:
        _discard(path)
        raise CheckpointError(
            f"{url} has SHA-256 {str(found)[:12]}…, expected {str(sha256)[:12]}…", "the copy was removed: try again"
        )


def _from_hub(ckpt: str) -> Path:
    """`hf://owner/repo/path/to/file[@revision]`."""
    body, _, revision = ckpt.removeprefix("hf://").partition("@")
    parts = body.split("/", 2)
    if len(parts) != 3 or not all(parts):
        raise CheckpointError(f"{ckpt} should be hf://OWNER/REPO/FILE, with @REVISION behind it if you like")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(f"{parts[0]}/{parts[1]}", parts[2], revision=revision or None))
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{ckpt} can't be fetched: {hub_reason(error)}") from error


def hub_reason(error: BaseException) -> str:
    """Why the Hugging Face hub gave no file, in a few words; its own messages are paragraphs."""
    from huggingface_hub import errors

    link: BaseException | None = error
    while link:
        if isinstance(link, errors.LocalEntryNotFoundError | ConnectionError) or "Connect" in type(link).__name__:
            return "it isn't on this machine, and the Hugging Face hub can't be reached; connect once, or give a file"
        if isinstance(link, errors.RepositoryNotFoundError):
            return "the Hugging Face hub has no such repository, or it is private (log in with huggingface-cli)"
        if isinstance(link, errors.EntryNotFoundError | errors.RevisionNotFoundError):
            return "the repository has no such file or revision"
        link = link.__cause__ or link.__context__
    return str(error).partition("\n")[0][:200] or type(error).__name__
