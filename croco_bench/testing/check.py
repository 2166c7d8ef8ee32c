"""One call each that says in words what a backbone, a head or a task of one's own lacks."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from croco_bench import registry
from croco_bench.backbones import load_backbone
from croco_bench.contracts import Backbone
from croco_bench.errors import BenchError
from croco_bench.testing.backbones import BackboneContract
from croco_bench.testing.heads import HeadContract
from croco_bench.testing.tasks import TaskContract
from croco_bench.testing.training_free import TrainingFreeContract
from croco_bench.types import Size


def check_backbone(backbone: str | Backbone, *, image_size: Size | None = None) -> None:
    """Checks shapes, determinism, layers, gradients, and saving and reading of a backbone.

    Args:
        backbone: what `--ckpt` takes (`python:MODULE:NAME`, the name of an installed backbone), or an object.
        image_size: to build it for; default: 64x64, or that of the object.

    Raises:
        BenchError: it can't be built, or lacks something; all that is wrong is listed.
    """
    if isinstance(backbone, str):
        load_backbone(backbone, image_size=image_size or BackboneContract.image_size)
        members: dict[str, Any] = {"code": backbone, "image_size": image_size or BackboneContract.image_size}
    else:
        whole = load_backbone(backbone, image_size=image_size)
        members = {"build": lambda self: _copy(whole), "image_size": whole.image_size}
    _check(type("Checked", (BackboneContract,), members)(), str(getattr(backbone, "name", backbone)))


def check_head(name: str, *, options: Mapping[str, Any] | None = None) -> None:
    """Checks a registered head: shapes for several backbones and a pyramid, gradients, state, options.

    Args:
        name: its registered name.
        options: settings that make it small, for speed.

    Raises:
        BenchError: all that is wrong.
    """
    _check(type("Checked", (HeadContract,), {"name": name, "options": options or {}})(), name)


def check_task(
    name: str, data_root: str | Path, *, options: Mapping[str, Any] | None = None, image_size: Size = (32, 32)
) -> None:
    """Checks a registered task on its dataset: splits, samples, loss, scores, pictures.

    Args:
        name: its registered name.
        data_root: the folder that holds its dataset's folder; a tiny miniature will do.
        options: settings that suit this dataset.
        image_size: of the network's input, multiples of 16.

    Raises:
        BenchError: all that is wrong.
    """
    members = {"name": name, "options": options or {}, "image_size": image_size}
    contract = TrainingFreeContract if registry.tasks()[name].card.training_free else TaskContract
    _check(type("Checked", (contract,), members)(), name, Path(data_root))


def _copy(backbone: Backbone) -> Backbone:
    return deepcopy(backbone).eval()


def _check(contract: Any, name: str, *arguments: object) -> None:
    """Runs all tests of a contract; those that take a data root get it."""
    wrong: list[str] = []
    for test in sorted(member for member in dir(contract) if member.startswith("test_")):
        method = getattr(contract, test)
        wanted = method.__code__.co_argcount - 1
        try:
            method(*arguments[:wanted])
        except Exception as error:  # foreign code may fail in any way
            rule, why = test.removeprefix("test_").replace("_", " "), str(error).strip().partition("\n")[0]
            wrong.append(f"({len(wrong) + 1}) not so: {rule}" + (f" [{type(error).__name__}: {why}]" if why else ""))
    if wrong:
        raise BenchError(f"{name} breaks {len(wrong)} of the rules: {'; '.join(wrong)}")
