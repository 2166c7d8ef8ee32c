"""The checkpoint string of `--ckpt`: which kind it is, and the file behind it. No other module looks at its prefix."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from croco_bench import registry
from croco_bench.backbones import zoo
from croco_bench.backbones.download import download
from croco_bench.backbones.hub import fetch, parse_hub_name
from croco_bench.errors import CheckpointError, UsageError
from croco_bench.files import home

_SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt", ".tar")


@dataclass(frozen=True)
class CheckpointSource:
    """A parsed checkpoint string.

    Attributes:
        text: the string as the user wrote it.
        kind: `timm`, `random`, `python` and `announced` name a network, all others a file.
        name: timm's model name; MODULE:NAME or FILE.py:NAME of Python code; the name of an installed backbone;
            the architecture or the file of a random network; a name of the zoo; OWNER/REPO[/FILE][@REVISION] on the
            Hugging Face hub; a URL; a path.
        entry: the zoo's record, if `kind` is `zoo`.
        weights: of `timm:NAME@WEIGHTS` and `python:MODULE:NAME@WEIGHTS`, a file, a URL or a file on the hub; None: the
            network brings its own. Of `random:FILE` the file that says which network it is.
        seed: of random weights.
    """

    text: str
    kind: Literal["timm", "random", "python", "announced", "zoo", "hub", "url", "file"]
    name: str
    entry: zoo.ZooEntry | None = None
    weights: CheckpointSource | None = None
    seed: int = 0

    @property
    def default_name(self) -> str:
        """A short model name, fit for a file name."""
        if self.kind == "random":
            seed = f"-{self.seed}" if self.text.endswith(f"@{self.seed}") else ""
            return f"random-{self.weights.default_name if self.weights else _plain(self.name)}{seed}"
        if self.weights is not None:
            return self.weights.default_name
        if self.kind == "timm":
            return _plain(self.name)
        if self.kind == "python":
            return self.name.rpartition(":")[2]
        file = self.text.split("?")[0].rstrip("/").rpartition("/")[2]
        stem = re.sub(r"\.(pth|pt|safetensors|bin|ckpt)(\.index\.json)?(@.*)?$", "", file)
        return _plain(stem) or "unnamed"


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)


def parse_source(ckpt: str | Path) -> CheckpointSource:
    """The kind and the name of a checkpoint. A file hides an entry of the zoo with the same name.

    Raises:
        UsageError: the string is empty, or names something that such a prefix doesn't go with.
        CheckpointError: a bare name that is neither a file nor in the zoo.
    """
    text = str(ckpt)
    if not text:
        raise UsageError(
            "the checkpoint's name is empty", "give a file, a URL, hf://repo/file, timm:NAME or random:ARCH"
        )
    if not text.isascii() and text.encode("utf-8", "replace").decode() != text:  # no result could name it
        raise UsageError(f"the name of the checkpoint {text!r} isn't UTF-8", "rename the file")
    prefix, colon, rest = text.partition(":")
    if colon and prefix == "timm":
        return _timm_source(text, rest)
    if colon and prefix == "python":
        return _python_source(text, rest)
    if colon and prefix == "random":
        return _random_source(text, rest)
    if text.startswith("hf://"):
        return CheckpointSource(text, "hub", text.removeprefix("hf://"))
    if text.startswith(("http://", "https://")):
        return CheckpointSource(text, "url", text)
    if (entry := zoo.find(text)) and not Path(text).is_file():
        return CheckpointSource(text, "zoo", text, entry)
    if text in registry.backbones() and not Path(text).is_file():
        return CheckpointSource(text, "announced", text)
    if re.fullmatch(r"[\w.-]{1,100}", text) and Path(text).suffix not in _SUFFIXES and not Path(text).exists():
        raise _unknown_name(text)
    return CheckpointSource(text, "file", text)


def _random_source(text: str, rest: str) -> CheckpointSource:
    """`random:ARCH[@SEED]` or `random:FILE[@SEED]`; without a seed it is 0."""
    name, at, seed = rest.rpartition("@")
    if not at or (not seed.isdecimal() and (_is_path(name) or _is_path(seed))):  # an @ in a path, or a revision
        name, seed = rest, "0"
    if not seed.isdecimal():
        raise UsageError(f"{text}: the seed after @ must be a whole number, as in random:mini-croco@1")
    weights = _weights(text, name) if _is_path(name) or Path(name).is_file() else None
    return CheckpointSource(text, "random", name, weights=weights, seed=int(seed))


def _is_path(name: str) -> bool:
    return "/" in name or Path(name).suffix in _SUFFIXES


def _timm_source(text: str, rest: str) -> CheckpointSource:
    """`timm:NAME` or `timm:NAME@WEIGHTS`.

    Names on the hub (hf-hub:OWNER/REPO@REVISION) may have an @ of their own, so WEIGHTS are a file on this machine there.
    """
    name, at, file = rest.rpartition("@") if ":" in rest.partition("@")[0] else rest.partition("@")
    if not at or (":" in name and not Path(file).is_file()):
        return CheckpointSource(text, "timm", rest)
    if not file:
        raise UsageError(
            f"{text} names no file after the @", "give timm:NAME@FILE, or timm:NAME for timm's own weights"
        )
    return CheckpointSource(text, "timm", name, weights=_weights(text, file))


def _python_source(text: str, rest: str) -> CheckpointSource:
    """`python:MODULE:NAME` or `python:FILE.py:NAME`, each with @WEIGHTS behind it or without."""
    name, at, file = rest.partition("@")
    module, colon, attribute = name.rpartition(":")
    if not colon or not module or not attribute.isidentifier() or (at and not file):
        raise UsageError(
            f"{text} names no class or function", "write python:package.module:Name or python:file.py:Name[@WEIGHTS]"
        )
    return CheckpointSource(text, "python", name, weights=_weights(text, file) if at else None)


def _weights(text: str, file: str) -> CheckpointSource:
    weights = parse_source(file)
    if weights.kind in ("timm", "random", "python", "announced"):
        raise UsageError(f"{text}: {file} should be a file", "give a path, a URL or hf://repo/file")
    return weights


def _unknown_name(text: str) -> CheckpointError:
    names = [entry.name for entry in (*zoo.ENTRIES, *registry.backbones())]
    near = difflib.get_close_matches(text, names, n=3, cutoff=0.5) or names
    return CheckpointError(
        f"{text!r} is neither a file nor a known model",
        f"known: {', '.join(near)} (croco-bench models), or give a path, a URL, hf://repo/file, timm:NAME[@FILE], "
        "python:MODULE:NAME or random:ARCH",
    )


def weight_file(ckpt: str) -> Path | None:
    """The path of the weights that a checkpoint string names, alone or behind an @; None if they come from no local file."""
    source = parse_source(ckpt)
    if source.kind == "random":
        return None
    source = source.weights or source
    return Path(source.name) if source.kind == "file" else None


def locate(source: CheckpointSource) -> tuple[Path, str | None]:
    """The file or folder of a source, downloaded if necessary, and its license if known. The file need not exist.

    Raises:
        CheckpointError: it can't be downloaded.
    """
    if source.entry is not None:
        return source.entry.asset or download(source.entry.url, source.entry.sha256), source.entry.license
    if source.kind == "url":
        return download(source.name), None
    if source.kind == "hub":
        return fetch(parse_hub_name(source.name)), None
    path = Path(source.name)
    return (home() / path.relative_to("~") if path.parts[:1] == ("~",) else path), None
