"""Checkpoints in several files: an index and the parts that it names, and folders that hold weights."""

from __future__ import annotations

import re
from pathlib import Path

from croco_bench.errors import CheckpointError
from croco_bench.files import parse_json

# Usual names in a folder, the preferred one first. On the Hugging Face hub they are tried in this order.
USUAL = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
# Files beside a checkpoint that describe its network, in the order in which they are believed.
DESCRIPTIONS = ("preprocessor_config.json", "open_clip_config.json", "config.json")
# The file that makes a folder a distributed checkpoint of torch.
METADATA = ".metadata"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_PART = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)")


def weights_in(folder: Path) -> Path:
    """The weights in a folder: a file or an index of a usual name, or the only file that looks like weights.

    Raises:
        CheckpointError: there is none, or there are several.
    """
    for name in USUAL:
        if (folder / name).is_file():
            return folder / name
    found = sorted(item.name for item in folder.iterdir() if looks_like_weights(item) and item.is_file())
    if len(found) == 1:
        return folder / found[0]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise CheckpointError(
            f"{folder} is a folder, not a checkpoint, and has several: {', '.join(found[:3])}{more}", "name one of them"
        )
    raise CheckpointError(
        f"{folder} is a folder, not a checkpoint, and none lies in it", "name a file such as .pth or .safetensors"
    )


def looks_like_weights(path: Path) -> bool:
    """Whether a file's name ends as those of weights do."""
    return path.suffix in _SUFFIXES


def names_in(index: Path) -> list[str]:
    """The names of the parts that an index lists, sorted.

    Raises:
        CheckpointError: it is no index, or a part lies outside its folder.
    """
    try:
        weight_map = parse_json(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted({str(name) for name in weight_map.values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index} is neither a torch nor a safetensors file, nor an index of such files",
            "expected .pth, .pt or .safetensors content, or JSON with a weight_map",
        ) from error
    if strange := [name for name in names if Path(name).name != name]:
        raise CheckpointError(f"{index} names {strange[0]!r}, which isn't a file beside it", "correct the index")
    return names


def parts_of(index: Path) -> list[Path]:
    """The files that an index lists, sorted by name.

    Raises:
        CheckpointError: it is no index, or a part is missing or lies outside its folder.
    """
    names = names_in(index)
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise CheckpointError(
            f"{index} names {len(names)} parts, of which {missing[0]} is missing", "download all parts into its folder"
        )
    return [index.parent / name for name in names]


def check_whole(path: Path) -> None:
    """Raises `CheckpointError` if a file's name says that it is one part of several."""
    if (match := _PART.fullmatch(path.name)) and int(match[2]) > 1:
        index = f"{match[1]}{match[3]}.index.json"
        raise CheckpointError(
            f"{path} is one of {int(match[2])} parts of a checkpoint", f"give {index} in its folder, or the folder"
        )
