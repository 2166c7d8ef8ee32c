"""WebDataset tars: members of one image have one name with several endings, such as `.jpg`, `.cls` and `.json`."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from croco_bench.data.datasets.imagenet_files.items import UNLABELED, Located
from croco_bench.data.datasets.imagenet_files.names import wnid_in
from croco_bench.data.datasets.imagenet_files.tar_members import files_in, unreadable_archive
from croco_bench.errors import DataError
from croco_bench.files import parse_json

_IMAGES = ("jpg", "jpeg", "png", "webp")
# Endings of a label as text, and keys of one in JSON.
_LABELS, _KEYS = ("cls", "label", "txt"), ("label", "cls", "class_id")
# A label has a few bytes; a longer file is something else, such as a caption.
_LONGEST = 1_000_000
_Member = tuple[str, tarfile.TarInfo]


def look_at_tar(path: Path) -> Iterator[Located]:
    """The images of a shard, with labels; names contain the WordNet id where a member says it.

    Raises:
        DataError: it is truncated, no tar archive, or an image has no class.
    """
    try:
        with tarfile.open(path, mode="r:") as archive:
            for key, members in groupby(_members(archive), key=lambda member: member[0]):
                yield from _image(path, archive, key, {ending(member): member for _, member in members})
    except (tarfile.TarError, OSError) as error:
        raise unreadable_archive(path, error, "copy it anew from where it came") from error


def _members(archive: tarfile.TarFile) -> Iterator[_Member]:
    """The files with their keys: the name up to the first dot of its last part."""
    for member in files_in(archive):
        folder, slash, last = member.name.rpartition("/")
        yield folder + slash + last.partition(".")[0], member


def ending(member: tarfile.TarInfo) -> str:
    """What follows the first dot of a member's name, in lower case."""
    return member.name.rpartition("/")[2].partition(".")[2].lower()


def _image(path: Path, archive: tarfile.TarFile, key: str, members: Mapping[str, tarfile.TarInfo]) -> Iterable[Located]:
    """The image of a key with its label; nothing for a key without an image."""
    image = next((member for name, member in members.items() if name.rpartition(".")[2] in _IMAGES), None)
    if image is None:
        return
    facts = _facts(archive, members)
    texts = [text for name in _LABELS if name in members and (text := _text(archive, members[name])) is not None]
    said = [*texts, *(str(facts[name]) for name in _KEYS if name in facts)]
    label = next((int(text) for text in said if text.isdecimal()), UNLABELED)
    wnid = next((found for text in (key, str(facts.get("filename", "")), *said) if (found := wnid_in(text))), None)
    if label == UNLABELED and wnid is None:
        raise DataError(
            f"{image.name} in {path} has no class", f"expected {key}.cls or a label in {key}.json, a number from 0 on"
        )
    name = image.name if wnid is None or wnid_in(key) else f"{wnid}/{image.name}"
    yield Located(name, label, image.offset_data, image.size)


def _facts(archive: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo]) -> Mapping[str, object]:
    """The JSON beside an image; nothing where there is none."""
    text = _text(archive, members["json"]) if "json" in members else None
    try:
        facts = parse_json(text or "{}")
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str | None:
    stream = archive.extractfile(member) if member.size <= _LONGEST else None
    return None if stream is None else stream.read().decode("utf-8", errors="replace").strip()
