"""Members of a tar archive, up to its end: Python's own reader takes what is cut off between two members for whole."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from croco_bench.data.formats.arrays import unreadable
from croco_bench.data.formats.layout import is_litter
from croco_bench.errors import DataError
from croco_bench.files import is_of_system


def files_in(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files in an archive that no operating system left there.

    Raises:
        tarfile.TarError: it ends without the block of zeros that marks its end, or within a file.
    """
    for member in archive:
        if member.isfile() and not is_litter(Path(member.name).name):
            yield member
    stream = archive.fileobj
    assert stream is not None
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing")


def unreadable_archive(path: Path, error: Exception, advice: str) -> DataError:
    """The error of an archive that can't be read. `advice` is for one that is damaged."""
    if isinstance(error, OSError) and is_of_system(error):
        return unreadable(path, error)
    return DataError(f"{path} is truncated or isn't a tar archive ({error})", advice)
