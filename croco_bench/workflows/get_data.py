"""`croco-bench data get`: downloads the archives of a dataset that are offered without a form, and unpacks them."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path

import h5py

from croco_bench.backbones.download import fetch_file, open_url
from croco_bench.data.catalogue import DatasetInfo
from croco_bench.data.folders import is_miniature
from croco_bench.errors import DataError, UsageError
from croco_bench.files import ARCHIVE_ERRORS, atomic, exclusive_lock, is_of_system, sweep
from croco_bench.progress import log

# Archives, what is half unpacked, and marks of what is done; hidden, so that no reader lists it.
_WORK = ".downloads"
_UNPACKING = "unpacking-"
_GIB = 1024**3


def get_dataset(info: DatasetInfo, root: Path, *, allow_http: bool = False, keep: bool = False) -> None:
    """Downloads and unpacks all archives of a dataset into `root`; the same call goes on after an interruption.

    Args:
        info: the dataset.
        root: its folder below the data root; made if it isn't there.
        allow_http: also fetch from servers without encryption, where anybody on the way could change the files.
        keep: keep the archives.

    Raises:
        UsageError: the dataset can't be had without a form, or only over http; or `root` holds a miniature.
        DataError: the disk is too small, a server doesn't answer, or an archive is damaged.
    """
    if is_miniature(root):
        raise UsageError(f"{root} holds a miniature", "choose another data root, so that the two aren't mixed")
    addresses = info.addresses()
    if not addresses:
        raise UsageError(
            f"{info.name} isn't offered for download without a form or a login", f"get it from {info.link}"
        )
    plain = [url for url in addresses if not url.startswith("https:")]
    if plain and not allow_http:
        raise UsageError(f"{plain[0]} isn't encrypted", "--allow-http fetches it all the same")
    work = root / _WORK
    log(f"{info.title}\nlicense: {info.license}")
    try:
        with exclusive_lock(work / "lock", waiting=f"another process is downloading to {root}; waiting for it"):
            for leftover in work.glob(f"{_UNPACKING}*"):  # of killed processes
                shutil.rmtree(leftover)
            sweep(work, "*.done")
            missing = [url for url in addresses if not _mark(work, url).is_file()]
            _require_space(root, missing)
            for url in missing:
                _get(url, root, work, keep=keep)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        why = f"the server says {error.code} {error.reason}" if isinstance(error, urllib.error.HTTPError) else error
        raise DataError(f"the download stopped ({why})", "the same command goes on from what has arrived") from error
    except OSError as error:
        raise DataError(
            f"{root} can't be written ({error.strerror or error})", "free space or change permissions"
        ) from error


def _mark(work: Path, url: str) -> Path:
    """The file that says that an archive is unpacked, with its SHA-256 and its address."""
    return work / f"{_name(url)}.done"


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _require_space(root: Path, addresses: list[str]) -> None:
    """Says how much will be downloaded, and refuses where archives and their content don't fit."""
    sizes = [_size(url) for url in addresses]
    total, free = sum(sizes), shutil.disk_usage(root).free
    unknown = f", and {sizes.count(0)} of unknown size" if 0 in sizes else ""
    log(f"{len(addresses)} files, {total / _GIB:.2f} GiB{unknown}; {free / _GIB:.1f} GiB are free in {root}")
    if 2 * total > free:
        raise DataError(
            f"{root} has {free / _GIB:.1f} GiB free, but archives and content may need {2 * total / _GIB:.1f}",
            "free space or choose another data root",
        )


def _size(url: str) -> int:
    """Bytes of the file at `url`; 0 where the server doesn't say."""
    with open_url(urllib.request.Request(url, method="HEAD")) as response:
        return int(response.headers.get("Content-Length") or 0)


def _get(url: str, root: Path, work: Path, *, keep: bool) -> None:
    archive = work / _name(url)
    if not archive.is_file():
        fetch_file(url, archive)
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    log(f"{archive.name} has SHA-256 {found}")
    if _is_archive(archive):
        with tempfile.TemporaryDirectory(dir=work, prefix=_UNPACKING) as folder:
            _unpack(archive, Path(folder), url)
            _move(Path(folder), root)
        if not keep:
            archive.unlink()
    elif archive.suffix in (".zip", ".tar", ".gz"):
        archive.unlink()
        raise DataError(
            f"{url} is no archive: its server sent something else", "the copy was removed: try again, or by hand"
        )
    else:
        _require_whole(archive, url)
        archive.replace(root / archive.name)
    with atomic(_mark(work, url)) as temporary:
        temporary.write_text(f"{found}  {url}\n", encoding="utf-8")


def _is_archive(file: Path) -> bool:
    """Whether a file is an archive, be it a damaged one: to unpack it tells."""
    try:
        return zipfile.is_zipfile(file) or tarfile.is_tarfile(file)
    except ARCHIVE_ERRORS:  # of a compressed archive that is cut off
        return True


def _require_whole(file: Path, url: str) -> None:
    """Refuses and removes a file of HDF5 that is cut off: some servers say no length.

    Raises:
        DataError: see there.
    """
    if h5py.is_hdf5(file):
        try:
            h5py.File(file, "r", locking="best-effort").close()
        except OSError as error:
            file.unlink()
            raise DataError(
                f"only a part of {url} arrived ({error})", "the copy was removed: run the command again"
            ) from error


def _unpack(archive: Path, folder: Path, url: str) -> None:
    """Unpacks an archive and the archives in it, and so checks all their checksums.

    Raises:
        DataError: it is damaged; it is removed.
    """
    log(f"unpacking {archive.name}")
    try:
        _extract(archive, folder)
        for inner in sorted(folder.rglob("*.zip")):
            _extract(inner, inner.parent)
            inner.unlink()
    except ARCHIVE_ERRORS as error:
        if is_of_system(error):
            raise
        archive.unlink(missing_ok=True)
        raise DataError(
            f"{url} is damaged as it arrived ({error})", "the copy was removed: run the command again"
        ) from error


def _extract(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)
    else:
        with tarfile.open(archive) as opened_tar:
            opened_tar.extractall(folder, filter="data")
            # A tar ends before its compressed file does: the checksum stands behind the last byte.
            while opened_tar.fileobj is not None and opened_tar.fileobj.read(2**20):
                pass


def _move(folder: Path, root: Path) -> None:
    """Moves all files below `folder` to their places below `root`, each at once; what is there is replaced."""
    for path in sorted(folder.rglob("*")):
        target = root / path.relative_to(folder)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            path.replace(target)
