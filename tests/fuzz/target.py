"""Targets of the fuzzer: sound files, ways to damage them, and a reader."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.child import Outcome, outcome_of
from tests.fuzz.damage import damaged_bytes, damaged_json, damaged_text


@dataclass(frozen=True)
class Edit:
    """One change of a file: its new content, or the target of a link in its place, or a folder, or nothing."""

    path: str
    how: Literal["write", "link", "folder", "remove"]
    content: bytes = b""

    def __repr__(self) -> str:
        content = self.content if len(self.content) < 300 else f"{self.content[:200]!r}… {len(self.content)} bytes"
        return f"{self.how} {self.path!r} {content!r}"


@dataclass(frozen=True)
class Input:
    """Edits of the sound files; `knowable`: whether the formats can tell of this damage."""

    edits: tuple[Edit, ...]
    knowable: bool = False


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        name: of the reader.
        family: the line of the table that it counts for.
        make: writes the sound files into a folder.
        inputs: the strategy of damages of the files in this folder.
        read: reads the files; the result tells right values from others.
    """

    name: str
    family: str
    make: Callable[[Path], None]
    inputs: Callable[[Path], st.SearchStrategy[Input]]
    read: Callable[[Path], object]

    def open(self, folder: Path) -> Session:
        """Writes the sound files, and reads them."""
        folder.mkdir(parents=True)
        self.make(folder)
        # In this process, so that what it imports is there in each child.
        expected = described(self.read(folder))
        return Session(self, folder, self.inputs(folder), expected)


@dataclass(frozen=True)
class Session:
    """A target with its sound files."""

    target: Target
    folder: Path
    inputs: st.SearchStrategy[Input]
    expected: str

    def outcome(self, input: Input) -> Outcome:
        """How the reader ends on an input."""
        with edited(self.folder, input.edits):
            return outcome_of(lambda: described(self.target.read(self.folder)), self.expected, knowable=input.knowable)


@contextmanager
def edited(folder: Path, edits: Sequence[Edit]) -> Iterator[None]:
    """Files with edits inside the block, without them after it."""
    aside = folder.with_name(f"{folder.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    done: list[tuple[Path, Path | None]] = []
    try:
        for number, edit in enumerate(edits):
            path, kept = folder / edit.path, aside / str(number)
            if os.path.lexists(path):
                path.rename(kept)
                done.append((path, kept))
            else:
                done.append((path, None))
            _apply(edit, path)
        yield
    finally:
        for path, before in reversed(done):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            if before is not None:
                before.rename(path)


def _apply(edit: Edit, path: Path) -> None:
    if edit.how == "write":
        path.write_bytes(edit.content)
    elif edit.how == "link":
        path.symlink_to(os.fsdecode(edit.content))
    elif edit.how == "folder":
        path.mkdir()


def described(value: object) -> str:
    """A text that is equal for equal values."""
    return hashlib.sha256(_text(value).encode("utf-8", "surrogatepass")).hexdigest()


def _text(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"tensor {value.dtype} {tuple(value.shape)} {_text(value.detach().cpu().float().contiguous().numpy())}"
    if isinstance(value, np.ndarray):
        content = repr(value.tolist()).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
        return f"array {value.dtype} {value.shape} {hashlib.sha256(content).hexdigest()}"
    if isinstance(value, Image.Image):
        return f"image {value.mode} {value.size} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, Mapping):
        # Sorted: safetensors gives metadata in another order each time.
        return "{" + ",".join(sorted(f"{key!r}:{_text(item)}" for key, item in value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    if is_dataclass(value) and not isinstance(value, type):
        return _text(asdict(value))
    return repr(value)


def of_file(
    name: str,
    family: str,
    content: bytes,
    read: Callable[[Path], object],
    *,
    damaged: Callable[[bytes], st.SearchStrategy[bytes]] = damaged_bytes,
    knowable: Callable[[bytes, bytes], bool] = lambda before, after: False,
    file: str | None = None,
) -> Target:
    """The target of a reader of one file.

    Args:
        name: of the target.
        family: see `Target`.
        content: of the sound file.
        read: from its path.
        damaged: the strategy of its damages.
        knowable: whether the format can tell the damaged content from the sound one.
        file: the file's name; default: `name`.
    """
    path = file or name

    def inputs(folder: Path) -> st.SearchStrategy[Input]:
        made = damaged(content).map(
            lambda after: Input((Edit(path, "write", after),), after != content and knowable(content, after))
        )
        odd = st.sampled_from([Edit(path, how, to) for how, to in _ODD_FILES])
        return st.one_of(*[made] * 15, odd.map(lambda edit: Input((edit,))))

    return Target(
        name, family, lambda folder: _write(folder / path, content), inputs, lambda folder: read(folder / path)
    )


def of_text(
    name: str, family: str, content: str, read: Callable[[Path], object], *, between: str | None = None
) -> Target:
    """The target of a reader of a text file, called `name`, with `between` between its words."""
    return of_file(name, family, content.encode(), read, damaged=lambda text: damaged_text(text.decode(), between))


def of_json(name: str, family: str, content: object, read: Callable[[Path], object]) -> Target:
    """The target of a reader of a JSON file, called `name`."""
    text = json.dumps(content)
    return of_file(name, family, text.encode(), read, damaged=lambda before: damaged_json(json.loads(before)))


_ODD_FILES: list[tuple[Literal["link", "folder", "remove"], bytes]] = [
    ("remove", b""),
    ("folder", b""),
    ("link", b"nowhere"),
    ("link", b"."),
    ("link", b"/dev/null"),
]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def of_folder(
    name: str,
    family: str,
    make: Callable[[Path], None],
    read: Callable[[Path], object],
    damaged: Callable[[Path, bytes], st.SearchStrategy[bytes]],
    *,
    knowable: Callable[[bytes, bytes], bool] = lambda before, after: False,
    skip: Callable[[str], bool] = lambda path: False,
) -> Target:
    """The target of a reader of a folder: one or two files are damaged, are links or folders, or are missing.

    Args:
        name: of the target.
        family: see `Target`.
        make: writes the sound files.
        read: reads the folder.
        damaged: the strategy of damages of one file of it.
        knowable: see `of_file`.
        skip: files that stay sound.
    """

    def inputs(folder: Path) -> st.SearchStrategy[Input]:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [str(path.relative_to(folder)) for path in paths if not skip(str(path.relative_to(folder)))]
        folders = sorted({str(Path(one).parent) for one in names} - {"."})
        written = st.sampled_from(names).flatmap(lambda one: _written(folder, one))
        odd = st.tuples(st.sampled_from([*names, *folders]), st.sampled_from(_ODD_FILES)).map(
            lambda pair: Input((Edit(pair[0], *pair[1]),))
        )
        both = st.tuples(written, st.one_of(written, odd)).map(_both)
        return st.one_of(*[written] * 6, odd, odd, both)

    def _written(folder: Path, one: str) -> st.SearchStrategy[Input]:
        before = (folder / one).read_bytes()
        return damaged(folder / one, before).map(
            lambda after: Input((Edit(one, "write", after),), after != before and knowable(before, after))
        )

    return Target(name, family, make, inputs, read)


def _both(pair: tuple[Input, Input]) -> Input:
    first, second = pair
    if any(Path(edit.path).is_relative_to(second.edits[0].path) for edit in first.edits):
        return second
    if Path(second.edits[0].path).is_relative_to(first.edits[0].path):
        return first
    return Input((*first.edits, *second.edits), first.knowable and second.knowable)
