"""Reads files of `torch.save`. Nothing in them is run: only tensors and a few harmless classes are unpickled."""

from __future__ import annotations

import argparse
import errno
import pathlib
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from croco_bench.errors import CheckpointError
from croco_bench.files import archive_fault
from croco_bench.numpy_objects import STAND_INS

# Classes in official files other than tensors. Unpickling them has no side effect.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    OrderedDict,
    *((STAND_INS[name], name) for name in STAND_INS if name.endswith((".dtype", ".scalar"))),
]


def _by_name() -> dict[str, Any]:
    """The harmless classes, and the functions of torch that make tensors, by their names in a pickle."""
    named = [one[::-1] for one in _HARMLESS if isinstance(one, tuple)]
    named += [(f"{one.__module__}.{one.__qualname__}", one) for one in _HARMLESS if not isinstance(one, tuple)]
    named += [
        (f"torch._utils.{name}", getattr(torch._utils, name)) for name in ("_rebuild_tensor_v2", "_rebuild_parameter")
    ]
    return dict(named)


_ALLOWED = _by_name()


class _Unpickler(pickle._Unpickler):
    """Knows the same classes as `torch.load(weights_only=True)`, and all protocols; torch's own knows 2 and 3 only.

    It is the unpickler in Python: that in C takes memory for as many objects as a damaged file numbers.
    """

    def find_class(self, module: str, name: str) -> Any:
        """The class or function; `UnpicklingError` for all that aren't allowed."""
        if (found := _ALLOWED.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name} isn't allowed")
        return found


class _Restricted:
    """Stands for the module `pickle` in `torch.load`."""

    __name__ = "restricted pickle"
    Unpickler = _Unpickler
    UnpicklingError = pickle.UnpicklingError


def read_torch(path: Path) -> Any:
    """The content of a file of `torch.save`, on the CPU.

    Raises:
        CheckpointError: the file is damaged, is another kind of archive, or would run code.
        OSError: the file can't be read.
    """
    if (kind := _foreign_archive(path)) is not None:
        what, advice = _ARCHIVES[kind]
        raise CheckpointError(f"{path} is an archive, but not one of torch.save{what}", advice)
    if fault := archive_fault(path):
        raise CheckpointError(f"{path} is truncated or damaged: {fault}", "copy or download it again")
    try:
        # torch warns on stderr about pickles of other versions; errors are raised below.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(_HARMLESS):
            return _load(path)
    except Exception as error:  # a damaged pickle can raise anything
        # EINVAL: torch sought a position before the file's start
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused and isinstance(error, pickle.UnpicklingError):
            raise CheckpointError(
                f"{path} wants to run code on loading ({refused.group(1)}), which is refused",
                "ask its authors for a file with tensors only, or convert it to .safetensors where you trust it",
            ) from error
        raise CheckpointError(f"{path} is truncated or damaged", "download it again") from error


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" not in str(error) or not zipfile.is_zipfile(path):
            raise
    # Pickle protocols 4 and 5. `_Unpickler` restricts them as weights_only does.
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_Restricted())


# What follows "is an archive, but not one of torch.save", and advice.
_ARCHIVES = {
    "script": (
        ": it is a TorchScript program, which holds code",
        "where you trust it, torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth') makes a file that is read",
    ),
    "export": (
        ": it is a program of torch.export, which holds code",
        "where you trust it, torch.save(torch.export.load(FILE).state_dict, 'weights.pth') makes a file that is read",
    ),
    "numpy": (": it holds arrays of numpy", "for one of Google's ViTs give timm:NAME, which has them converted"),
    "other": ("", "expected a file with a state dict"),
}


def _foreign_archive(path: Path) -> str | None:
    """The kind of a zip archive that isn't one of `torch.save`; None for files of `torch.save` and for other files."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError):  # torch finds out what is wrong with it
        return None
    if "data.pkl" in names:
        return "script" if "constants.pkl" in names else None
    if "archive_format" in names or any(name.endswith("exported_program.json") for name in names):
        return "export"
    return "numpy" if names and all(name.endswith(".npy") for name in names) else "other"
