"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from croco_bench.errors import RecordError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary path in the same folder; renamed onto `path` when the block ends well, removed when it doesn't.

    Raises:
        RecordError: the folder can't be written (disk full, no permission); whatever stood at `path` is untouched.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
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


def _why_not_written(error: Exception) -> str | None:
    """The reason of an error in writing, None for any other. On a full disk torch and safetensors raise their own kinds."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, RuntimeError) and "inline_container" in str(error):
        return "torch couldn't write the whole file, most likely because the disk is full"
    return str(error) if type(error).__name__ == "SafetensorError" else None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
