"""Folders of classes in two splits with different names: WordNet ids, words, or numbers in the order of the ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

# Kaggle's list of WordNet ids and words: "n01440764 tench, Tinca tinca".
MAPPING = "LOC_synset_mapping.txt"


def words_of(root: Path) -> dict[str, str]:
    """WordNet id -> words, from the dataset's `LOC_synset_mapping.txt`; nothing without that file."""
    path = root / MAPPING
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return {name: words for name, _, words in (line.partition(" ") for line in lines)}


def same_classes(root: Path, train: Sequence[str], val: Sequence[str]) -> dict[str, str] | None:
    """Folder of `train` -> folder of `val` of the same class; None where names don't say it, or classes differ.

    Args:
        root: the dataset's folder; its list of words counts, else timm's of ImageNet-1K.
        train: names of folders.
        val: names of folders.
    """
    ids = words_of(root) or _timms_words()
    ours, theirs = _by_wnid(train, ids), _by_wnid(val, ids)
    if len(ours) != len(train) or len(theirs) != len(val) or set(ours) != set(theirs):
        return None
    return {name: theirs[wnid] for wnid, name in ours.items()}


def _by_wnid(names: Sequence[str], words: Mapping[str, str]) -> dict[str, str]:
    """WordNet id -> folder, of those whose name is an id, says its words, or is its number in the sorted list."""
    by_words: dict[str, set[str]] = {}
    for wnid, text in words.items():
        for key in (text, text.partition(",")[0], wnid):
            by_words.setdefault(_plain(key), set()).add(wnid)
    numbered = all(name.isdecimal() for name in names) and {int(name) for name in names} == set(range(len(words)))
    found = {}
    for name in names:
        wnids = {sorted(words)[int(name)]} if numbered else by_words.get(_plain(name), set())
        if len(wnids) == 1:
            found[next(iter(wnids))] = name
    return found


def _plain(text: str) -> str:
    return re.sub("[^a-z0-9]+", " ", text.lower()).strip()


def _timms_words() -> dict[str, str]:
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return {wnid: info.label_name_to_description(wnid) for wnid in info.label_names()}
