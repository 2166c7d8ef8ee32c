"""From what a user writes after --ckpt to a file on disk: paths, URLs, the Hugging Face hub, names of the zoo."""

from __future__ import annotations

import difflib
import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import IO

from filelock import FileLock

from croco_bench.backbones import zoo
from croco_bench.errors import CheckpointError
from croco_bench.progress import Bar, say

_CHUNK = 1 << 20
_SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt", ".tar")


def cache_folder() -> Path:
    """`$CROCO_BENCH_CACHE`, or `~/.cache/croco-bench`."""
    return Path(os.environ.get("CROCO_BENCH_CACHE") or Path.home() / ".cache" / "croco-bench")


def locate(ckpt: str) -> tuple[Path, str | None]:
    """The file behind a checkpoint's name, downloaded where necessary, and its licence where that is known.

    Raises:
        CheckpointError: it can't be downloaded, or no such name or file exists.
    """
    released = zoo.find(ckpt)
    if released and not Path(ckpt).is_file():
        return download(released.url, released.sha256), released.licence
    if ckpt.startswith(("http://", "https://")):
        return download(ckpt), None
    if ckpt.startswith("hf://"):
        return _from_hub(ckpt), None
    path = Path(ckpt).expanduser()
    if not path.exists() and path.parent == Path() and path.suffix not in _SUFFIXES:
        names = [entry.name for entry in zoo.entries()]
        near = difflib.get_close_matches(ckpt, names, n=3, cutoff=0.5) or names
        raise CheckpointError(
            f"{ckpt!r} is neither a file nor a known model; known: {', '.join(near)} (croco-bench models), or give a path, "
            "a URL, hf://repo/file, timm:NAME or random:ARCH"
        )
    return path, None


def download(url: str, sha256: str | None = None) -> Path:
    """Fetches a file into the cache; goes on where an earlier attempt stopped; checks length, and checksum where known.

    Two processes that want the same file wait for each other.
    """
    name = url.split("?")[0].rstrip("/").rpartition("/")[2] or "checkpoint"
    folder = cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:12]
    target = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not target.is_file():
                _fetch(url, folder / f"{name}.partial")
                _verify(folder / f"{name}.partial", sha256, url)
                (folder / f"{name}.partial").replace(target)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(
            f"{url} can't be downloaded ({reason}); the same command goes on from what has arrived, or fetch the file "
            "yourself and give its path"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{target} can't be written ({error.strerror or error}); free space or set CROCO_BENCH_CACHE"
        ) from error
    return target


def _fetch(url: str, partial: Path) -> None:
    """Appends to `partial` what is still missing of `url`."""
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing, or the file has changed: the check will tell
            return
        raise
    with response:
        resumed = response.status == 206
        have = have if resumed else 0
        length = int(response.headers.get("Content-Length") or 0)
        say(f"downloading {url}" + (f" from byte {have}" if have else ""))
        with partial.open("ab" if resumed else "wb") as stream:
            _copy(response, stream, have, have + length)
    if length and partial.stat().st_size != have + length:
        raise ConnectionError(f"{partial.stat().st_size} of {have + length} bytes arrived")


def _copy(response: IO[bytes], stream: IO[bytes], have: int, total: int) -> None:
    with Bar("download", total, start=have) as bar:
        while chunk := response.read(_CHUNK):
            stream.write(chunk)
            bar.advance(len(chunk))


def _verify(path: Path, sha256: str | None, url: str) -> None:
    if sha256 is None:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        path.unlink()
        raise CheckpointError(
            f"{url} has SHA-256 {found[:12]}…, expected {sha256[:12]}…; the damaged copy was removed: try again"
        )


def _from_hub(ckpt: str) -> Path:
    """`hf://owner/repo/path/to/file[@revision]`."""
    body, _, revision = ckpt.removeprefix("hf://").partition("@")
    parts = body.split("/", 2)
    if len(parts) != 3 or not all(parts):
        raise CheckpointError(f"{ckpt} should be hf://OWNER/REPO/FILE, with @REVISION behind it if you like")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(f"{parts[0]}/{parts[1]}", parts[2], revision=revision or None))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(f"{ckpt} can't be fetched from the hub: {str(error).splitlines()[0]}") from error
