"""Downloads of checkpoint files into the cache: resumed where they stopped, and checked."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from croco_bench.errors import CheckpointError
from croco_bench.files import cache_folder, exclusive_lock, fingerprint
from croco_bench.progress import Bar, log

_CHUNK = 1 << 20


def download(url: str, sha256: str | None = None) -> Path:
    """Fetches a file into the cache and returns its path.

    An interrupted download is resumed. The length is checked, and the checksum if it is known. Of several processes that
    want one file, the first downloads it and the others wait.

    Raises:
        CheckpointError: the file can't be fetched or stored, is a web page, or has another checksum.
    """
    target = cached_path(url)
    partial = target.with_name(f"{target.name}.partial")
    try:
        with exclusive_lock(target.parent / "lock"):
            if not target.is_file():
                if not url.startswith("https:"):
                    log(f"{url} isn't encrypted: anybody on the way could change the file; compare its SHA-256")
                _fetch(url, partial)
                _verify(partial, sha256, url)
                if sha256 is None:
                    _record_hash(target, partial)
                _finish(partial, target)
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


def cached_path(url: str) -> Path:
    """Where the file of an address lies once it is downloaded."""
    name = re.sub(r"[^\w.-]", "_", url.split("?")[0].rstrip("/").rpartition("/")[2])[-100:].strip(".") or "checkpoint"
    return cache_folder() / fingerprint(url, length=12) / name


def recorded_hash(target: Path) -> str | None:
    """The SHA-256 that a downloaded file had when it arrived; None if it wasn't noted."""
    note = target.with_name(f"{target.name}.sha256")
    return note.read_text(encoding="ascii").split()[0] if note.is_file() else None


def _record_hash(target: Path, arrived: Path) -> None:
    """Notes and prints the hash of a file for which none was published, so that later changes are seen."""
    with arrived.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    target.with_name(f"{target.name}.sha256").write_text(f"{found}  {target.name}\n", encoding="ascii")
    log(f"{target.name} has SHA-256 {found}; croco-bench models --verify compares it later")


def _tag(partial: Path) -> Path:
    """File with the server's version mark (ETag or date), so that parts of two versions are never joined."""
    return partial.with_name(f"{partial.name}.version")


def _discard(partial: Path) -> None:
    """Deletes a partial download; the next attempt starts from the first byte."""
    partial.unlink()
    _tag(partial).unlink(missing_ok=True)


def fetch_file(url: str, target: Path) -> None:
    """Fetches `url` to `target`, by way of a file `.partial` beside it, from which the same call goes on.

    Raises:
        OSError: the server can't be reached, refuses, or the connection ends early.
    """
    partial = target.with_name(f"{target.name}.partial")
    _fetch(url, partial)
    _finish(partial, target)


def _finish(partial: Path, target: Path) -> None:
    """Gives a whole file its name. Its version mark goes first: a killed process leaves no mark without a partial file."""
    _tag(partial).unlink(missing_ok=True)
    partial.replace(target)


def open_url(request: urllib.request.Request) -> HTTPResponse:
    """The answer to a request. No redirect is followed from an encrypted address to one without encryption.

    Raises:
        OSError: the server can't be reached, refuses, or leads to an address without encryption.
    """
    response: HTTPResponse = urllib.request.build_opener(Redirects).open(request, timeout=60)
    return response


class Redirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects that leave https, and those that leave http and https."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """The request to follow a redirect with."""
        allowed = ("https:",) if req.full_url.startswith("https:") else ("https:", "http:")
        if not newurl.startswith(allowed):
            raise urllib.error.URLError(f"it leads to {newurl}, which isn't encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, partial: Path) -> None:
    """Appends the missing bytes of `url` to `partial`."""
    have = partial.stat().st_size if partial.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and _tag(partial).is_file():
        headers["If-Range"] = _tag(partial).read_text(encoding="utf-8")
    try:
        response = open_url(urllib.request.Request(url, headers=headers))
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":  # complete already
            return
        _discard(partial)  # another version of the file
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


def _is_cut(path: Path) -> bool:
    """Whether an archive or a file of safetensors ends before its end."""
    with path.open("rb") as stream:
        head = stream.read(9)
    try:
        if head.startswith(b"PK\x03\x04"):
            zipfile.ZipFile(path).close()
        elif head[8:] == b"{":
            with safe_open(path, framework="pt"):
                pass
    except (zipfile.BadZipFile, SafetensorError):
        return True
    return False


def _verify(path: Path, sha256: str | None, url: str) -> None:
    """Deletes and refuses a web page, or a file with another checksum."""
    with path.open("rb") as stream:
        start = stream.read(64).lstrip().lower()
        stream.seek(0)
        found = hashlib.file_digest(stream, "sha256").hexdigest() if sha256 else None
    if start.startswith((b"<!doctype", b"<html")):
        _discard(path)
        raise CheckpointError(f"{url} leads to a web page, not to a checkpoint", "give the address of the file itself")
    # A server that doesn't say a length can't be told from one that stopped half-way.
    if _is_cut(path):
        size = path.stat().st_size
        _discard(path)
        raise CheckpointError(f"only a part of {url} arrived ({size} bytes)", "the copy was removed: try again")
    if found != sha256:
        _discard(path)
        raise CheckpointError(
            f"{url} has SHA-256 {str(found)[:12]}…, expected {str(sha256)[:12]}…", "the copy was removed: try again"
        )
