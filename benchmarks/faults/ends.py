"""The end of a command: all files that it leaves, as digests of what must be equal from run to run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

# Clock times, speeds, the state of the checkout and the number of workers; everything else must be equal.
_TIMES = {"seconds", "cpu_seconds", "images_per_s", "eval_images_per_s", "timing", "started", "finished"}
_LEFT_OUT = _TIMES | {"git", "dirty", "workers", "command"}


def end_of(folder: Path) -> dict[str, str]:
    """Path below `folder` -> digest of the content, for every file there but notes of a sweep on its own course."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): _digest(path) for path in files if ".sweep" not in path.parts}


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """A short text for each file that is missing, left over or different."""
    texts = [f"missing: {name}" for name in expected.keys() - found.keys()]
    texts += [f"left over: {name}" for name in found.keys() - expected.keys()]
    texts += [f"differs: {name}" for name in expected.keys() & found.keys() if expected[name] != found[name]]
    return sorted(texts)


def _digest(path: Path) -> str:
    content = _READERS.get(path.suffix, Path.read_bytes)(path)
    digest = hashlib.sha256()
    _update(digest.update, content)
    return digest.hexdigest()


def _update(add: Callable[[bytes], None], value: Any) -> None:
    """Adds a nested value to a digest, without what is left out."""
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            if key not in _LEFT_OUT:
                add(f"{key!s}:".encode())
                _update(add, value[key])
    elif isinstance(value, list | tuple):
        add(f"[{len(value)}".encode())
        for item in value:
            _update(add, item)
    elif isinstance(value, torch.Tensor):
        # NumPy has no bfloat16.
        _update(add, value.detach().float().numpy() if value.is_floating_point() else value.detach().numpy())
        add(str(value.dtype).encode())
    elif isinstance(value, np.ndarray):
        add(f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    else:
        add(value if isinstance(value, bytes) else repr(value).encode())


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _pickle(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        metadata = {name: _parsed(text) for name, text in (file.metadata() or {}).items()}
        return {"metadata": metadata, "tensors": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118


def _parsed(text: str) -> Any:
    """A text that is JSON as the value it stands for, any other text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


_READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _json,
    ".jsonl": _lines,
    ".npz": _arrays,
    ".pt": _pickle,
    ".pth": _pickle,
    ".safetensors": _tensors,
}
