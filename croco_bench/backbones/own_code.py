"""Networks that other code than this project's builds: named by the user, announced by a distribution, or given as objects.

Code is imported only if the user names it (`python:MODULE:NAME`) or installed it with an entry point; never because a file
names it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from croco_bench import registry
from croco_bench.backbones.formats import RawCheckpoint, State
from croco_bench.backbones.formats.native import OWN
from croco_bench.contracts import Backbone, Origin
from croco_bench.errors import BenchError, CheckpointError, FitError, UsageError
from croco_bench.seeding import derive
from croco_bench.types import PositionKind, Size

_NEEDED = ("patch_size", "embed_dim", "depth", "image_size")
_HELP = "docs/own.md has a whole example, and croco_bench.testing.check_backbone says more"


def build(code: str, size: Size, name: str) -> Backbone:
    """The network of `python:MODULE:NAME`, `python:FILE.py:NAME` or of an announced name.

    Weights that its code draws at random depend on the name alone.

    Raises:
        UsageError: the code can't be imported, or fails.
        FitError: what it gives is no backbone, or one for another image size.
    """
    prefix, colon, target = code.partition(":")
    card = None if colon and prefix == "python" else registry.backbones()[code].card
    make = import_named(target) if card is None else registry.load_object(card.target)
    with torch.random.fork_rng(devices=[]):  # the caller's generator keeps its state
        torch.manual_seed(derive(0, "backbone", code))
        made = _call(make, code, size)
    checked = check(made, code)
    if tuple(checked.image_size) != size:
        raise _other_size(code, checked, size)
    return _complete(checked, code, name, card.license if card else None)


def adopt(given: object, size: Size | None, name: str | None) -> Backbone:
    """A `Backbone` made by the user, checked, in eval mode; blanks in its attributes are filled in.

    Raises:
        FitError: it is no backbone, or one for another image size.
    """
    kind = type(given)
    if isinstance(given, type) or (callable(given) and not isinstance(given, nn.Module)):
        raise FitError(
            f"{given!r} is a class or a function", "give an object: call it, with image_size if it takes one"
        )
    backbone = check(given, "this")
    if size is not None and tuple(backbone.image_size) != size:
        raise _other_size(kind.__name__, backbone, size)
    if not hasattr(backbone, "origin"):
        _complete(backbone, code_of(backbone), name or backbone.name or kind.__name__, None)
    backbone.name = name or backbone.name
    return backbone.eval()


def code_of(given: object) -> str:
    """The checkpoint string that names the class of an object."""
    return f"python:{type(given).__module__}:{type(given).__qualname__}"


def import_named(target: str) -> Any:
    """The object called MODULE:NAME or FILE.py:NAME. Modules are also looked for in the current folder.

    Raises:
        UsageError: the module can't be imported, or has no such name.
    """
    place, _, attribute = target.rpartition(":")
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    except Exception as error:  # a user's own code may fail in any way
        raise UsageError(f"{place} can't be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise UsageError(f"{place} has no {attribute}", "write python:MODULE:NAME of a class or a function")
    return getattr(module, attribute)


def _import_module(name: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _call(make: Any, code: str, size: Size) -> object:
    if not callable(make):
        raise UsageError(f"{code} is neither a class nor a function")
    try:
        return make(image_size=size) if _takes_size(make) else make()
    except BenchError:
        raise
    except Exception as error:  # a user's own code may fail in any way
        raise UsageError(f"{code} can't be built at {size[0]}x{size[1]}: {type(error).__name__}: {error}") from error


def _takes_size(make: Callable[..., Any]) -> bool:
    parameters = inspect.signature(make).parameters.values()
    return any(one.name == "image_size" or one.kind is one.VAR_KEYWORD for one in parameters)


def check(made: object, label: str) -> Backbone:
    """The object as a `Backbone` whose outputs for one black image have the announced sizes.

    Raises:
        FitError: it is none; the sentence says what is missing.
    """
    if not isinstance(made, Backbone):
        raise not_a_backbone(made, label)
    missing = [attribute for attribute in _NEEDED if not hasattr(made, attribute)]
    if missing:
        raise FitError(f"{label} doesn't set {', '.join(missing)}", _HELP)
    if made.position_kind not in (None, *get_args(PositionKind)):
        raise FitError(
            f"{label} sets position_kind to {made.position_kind!r}",
            f"set it to {', '.join(get_args(PositionKind))} or None",
        )
    complaint = _try(made)
    if complaint:
        raise FitError(f"{label} {complaint}", _HELP)
    return made


def not_a_backbone(made: object, label: str) -> FitError:
    """The error for another object, with what a backbone needs."""
    return FitError(
        f"{label} is a {type(made).__name__}, not a croco_bench.contracts.Backbone",
        f"subclass that: set {', '.join(_NEEDED)} and implement encode; {_HELP}",
    )


def _try(backbone: Backbone) -> str:
    """Encodes a black image; returns a complaint, or an empty string."""
    spec, training = backbone.feature_spec(), backbone.training
    steps = {spec.stride_of(block) for block in range(len(spec.widths))}
    if any(side % step for side in spec.image_size for step in steps):
        return f"can't cover {'x'.join(map(str, spec.image_size))} pixels with steps of {', '.join(map(str, sorted(steps)))}"
    device = next((parameter.device for parameter in backbone.parameters()), torch.device("cpu"))
    backbone.eval()
    try:
        with torch.no_grad():
            outputs, cls = backbone.encode_with_cls(torch.zeros(1, 3, *spec.image_size, device=device))
        found = [tuple(output.shape) for output in outputs]
    except Exception as error:  # a user's own code may fail in any way
        return f"can't encode images of {spec.image_size[0]}x{spec.image_size[1]}: {type(error).__name__}: {error}"
    finally:
        backbone.train(training)
    grids = [spec.grid_of(block) for block in range(len(spec.widths))]
    expected = [(1, height * width, channels) for (height, width), channels in zip(grids, spec.widths, strict=True)]
    if found != expected:
        return f"should give outputs (B, N, C) of {expected}, but gives {found}"
    if spec.has_cls and (cls is None or cls.shape != (1, spec.widths[-1])):
        return "has has_cls=True, but encode_with_cls returns no token (B, C)"
    return ""


def _other_size(label: str, backbone: Backbone, size: Size) -> FitError:
    own = "x".join(map(str, backbone.image_size))
    return FitError(
        f"{label} is for images of {own}, but {size[0]}x{size[1]} are asked for",
        f"build it with image_size={size}, or train at {own} (train.image_size)",
    )


def _complete(backbone: Backbone, code: str, name: str, license: str | None) -> Backbone:
    """Fills in what the code doesn't say; the weights are known by their own hash, as there is no file."""
    backbone.name, backbone.code = name, code
    if not hasattr(backbone, "origin"):
        backbone.origin = Origin(code, "python", weights_hash(backbone), license)
    return backbone.eval()


def weights_hash(module: nn.Module) -> str:
    """SHA-256 of names, shapes and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return digest.hexdigest()


def weights_in(raw: RawCheckpoint) -> tuple[State, tuple[str, ...]]:
    """The state of a backbone in a fine-tuned file of this project, or a state dict as it is; and notes."""
    if raw.extras.get("format") != OWN:
        return raw.state, ()
    state = {name.removeprefix("backbone."): one for name, one in raw.state.items() if name.startswith("backbone.")}
    return state, (f"fine-tuned on {raw.extras.get('task', 'an unnamed task')}",)


def needed(file: str, code: str) -> CheckpointError:
    """The error for a file that needs code which isn't installed as a backbone."""
    if code.startswith("python:"):
        return CheckpointError(
            f"{file} was fine-tuned from {code}, whose code isn't run because a file names it",
            f"name it yourself: {code}@{file}",
        )
    return CheckpointError(
        f"{file} was fine-tuned from {code!r}, a backbone that no installed distribution announces",
        "install the one that does, or name its code: python:MODULE:NAME@FILE",
    )
