"""The form of a bundle: a zip archive without compression, whose bytes depend on nothing but the files in it. No torch here.

`bundle.json` in it lists every other file with its SHA-256. Results lie below `results/` as in a folder of results, recipes below
`recipes/`. Strangers write bundles, too: nothing is unpacked before its name and its checksum are as they should be.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from croco_bench import __version__
from croco_bench.errors import RecordError
from croco_bench.files import ARCHIVE_ERRORS, atomic_output, parse_json
from croco_bench.limits import TEXT

FORMAT = 1
MANIFEST = "bundle.json"
WEIGHTS = "weights.safetensors"
BESIDE = ("sheet.png", "breakdown.csv", "log.jsonl")
_SEGMENT = r"[^/\\\x00-\x1f\x7f]{1,200}"
_NAME = re.compile(
    rf"results/{_SEGMENT}/{_SEGMENT}/{_SEGMENT}/seed\d{{1,20}}(\.json|\.npz|/({'|'.join(map(re.escape, (*BESIDE, WEIGHTS)))}))"
    rf"|recipes/{_SEGMENT}/{_SEGMENT}\.toml"
)
_WHEN = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows
_CHUNK = 2**20


def write(path: Path, files: Mapping[str, Path], texts: Mapping[str, str]) -> None:
    """Writes a bundle. Equal files give equal bytes, whatever their times and owners.

    Args:
        path: the bundle.
        files: name in the bundle -> file.
        texts: name in the bundle -> content.

    Raises:
        RecordError: it can't be written.
    """
    digests = {name: _digest_of(file) for name, file in files.items()}
    digests |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    manifest = {"format": FORMAT, "croco_bench": __version__, "files": dict(sorted(digests.items()))}
    with atomic_output(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member(MANIFEST), json.dumps(manifest, indent=1) + "\n")
        for name in sorted(digests):
            if name in texts:
                archive.writestr(_member(name), texts[name])
                continue
            with files[name].open("rb") as source, archive.open(_member(name), "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, _CHUNK)


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _WHEN)
    member.create_system, member.external_attr = 3, 0o644 << 16
    return member


def _digest_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unpack(bundle: Path, folder: Path) -> None:
    """Unpacks a bundle that is whole and holds nothing but files that a bundle may have.

    Raises:
        RecordError: it is none, or a file in it is missing, changed, or one that it shouldn't have.
    """
    try:
        with zipfile.ZipFile(bundle) as archive:
            listed = _manifest(archive, bundle)
            members = {member.filename: member for member in archive.infolist()}
            _compare(bundle, listed, members)
            for name, digest in listed.items():
                _extract(archive, members[name], folder / name, digest, bundle)
    except FileNotFoundError as error:
        raise RecordError(f"there is no file {bundle}", "croco-bench bundle --out FILE writes one") from error
    except ARCHIVE_ERRORS as error:
        raise RecordError(f"{bundle} can't be read as a bundle: {error}", "ask for it again") from error


def _manifest(archive: zipfile.ZipFile, bundle: Path) -> dict[str, str]:
    """Names of all files but the list itself -> SHA-256."""
    if MANIFEST not in archive.namelist():
        raise RecordError(f"{bundle} is no bundle: it has no {MANIFEST}", "croco-bench bundle --out FILE writes one")
    member = archive.getinfo(MANIFEST)
    if reason := TEXT.exceeded(member.file_size) or _compressed(member):
        raise RecordError(f"{bundle}: {MANIFEST}: {reason}")
    content: Any = parse_json(archive.read(member))
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise RecordError(f"{bundle}: {MANIFEST} has no list of files", "ask for it again")
    if content.get("format") != FORMAT:
        raise RecordError(f"{bundle} has format {content.get('format')!r}, not {FORMAT}", "take a newer croco-bench")
    return files


def _compare(bundle: Path, listed: Mapping[str, str], members: Mapping[str, zipfile.ZipInfo]) -> None:
    """Refuses files that are missing, that nobody listed, or whose names or kinds a bundle can't have."""
    if missing := sorted(listed.keys() - members.keys()):
        raise RecordError(f"{bundle} lacks {missing[0]}, which it lists", "ask for it again")
    if more := sorted(members.keys() - listed.keys() - {MANIFEST}):
        raise RecordError(f"{bundle} has {more[0]!r}, which it doesn't list", "ask for it again")
    for name in listed:
        if not _NAME.fullmatch(name) or any(not part.strip(". ") for part in name.split("/")):
            raise RecordError(f"{bundle} has {name!r}, which a bundle can't have", "ask for it again")
        if reason := _compressed(members[name]):
            raise RecordError(f"{bundle}: {name}: {reason}", "ask for it again")
    if sum(member.file_size for member in members.values()) > bundle.stat().st_size:
        raise RecordError(f"{bundle} is smaller than the files that it lists: they share bytes", "ask for it again")


def _compressed(member: zipfile.ZipInfo) -> str:
    """That a member is compressed, so that it may be far larger than its file; empty where it isn't."""
    stored = member.compress_type == zipfile.ZIP_STORED and member.file_size == member.compress_size
    return "" if stored else "it is compressed, which nothing in a bundle is"


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, digest: str, bundle: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    found = hashlib.sha256()
    with archive.open(member) as source, target.open("wb") as stream:
        while chunk := source.read(_CHUNK):
            found.update(chunk)
            stream.write(chunk)
    if found.hexdigest() != digest:
        raise RecordError(f"{bundle}: {member.filename} isn't the file that was bundled", "ask for it again")
