"""Compares downloaded files of the zoo with their checksums. Imports no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from croco_bench.backbones import zoo
from croco_bench.backbones.download import cached_path, recorded_hash


@dataclass(frozen=True)
class Verified:
    """One downloaded file: whether it is as expected, and what was compared."""

    name: str
    ok: bool
    told: str


def verify_downloads() -> list[Verified]:
    """All files of the zoo that were downloaded, in the order of the zoo.

    A file is compared with the checksum of its entry, else with that which it had when it arrived.
    """
    return [_verified(entry) for entry in zoo.ENTRIES if entry.asset is None and cached_path(entry.url).is_file()]


def _verified(entry: zoo.ZooEntry) -> Verified:
    path = cached_path(entry.url)
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    expected, by = (
        (entry.sha256, "the published one") if entry.sha256 else (recorded_hash(path), "that of the download")
    )
    if expected is None:
        return Verified(entry.name, True, f"SHA-256 {found}, with nothing to compare it with")
    if expected == found:
        return Verified(entry.name, True, f"SHA-256 {found} is {by}")
    return Verified(entry.name, False, f"SHA-256 {found} isn't {by}, {expected}; delete {path} to get it again")
