"""A pre-training, or a completion, that begins with the weights of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from croco_bench.backbones.load import load_backbone
from croco_bench.backbones.networks.architecture import Architecture
from croco_bench.backbones.networks.vit import ViT
from croco_bench.errors import FitError
from croco_bench.pretraining.checkpoint import PretrainingFile, read_pretraining
from croco_bench.pretraining.objective import Objective

_COMPARED = ("width", "depth", "heads", "hidden", "patch_size", "prefix_tokens", "positions", "final_norm", "decoder")


@dataclass(frozen=True)
class Start:
    """Where the first weights came from: a checkpoint, the hash of its file, and what it didn't have."""

    ckpt: str
    sha256: str | None
    notes: tuple[str, ...]


def start_from(objective: Objective, ckpt: str) -> Start:
    """Gives an objective the weights of a checkpoint; what the file lacks outside the backbone keeps its random weights.

    Raises:
        CheckpointError: the file can't be read.
        FitError: its network isn't the objective's.
    """
    target = objective.backbone
    backbone = load_backbone(ckpt, image_size=target.image_size)
    if not isinstance(backbone, ViT) or backbone.family != target.family:
        raise FitError(
            f"--init {ckpt} is of family {backbone.family}, but the objective trains one of family {target.family}",
            "give another checkpoint or another --objective",
        )
    _check_equal(ckpt, backbone.architecture, target.architecture)
    target.load_state_dict(backbone.state_dict())
    file = read_pretraining(ckpt)
    lacking = fill_extra(objective, file)
    notes = (f"{ckpt} has no {', '.join(lacking)}: random at the start",) if lacking else ()
    return Start(ckpt, file.sha256, notes)


def fill_extra(objective: Objective, file: PretrainingFile) -> list[str]:
    """Fills the weights outside the backbone; returns the names of those that the file lacks, which stay as they are."""
    wanted = {name: tensor for name, tensor in objective.state_dict().items() if not name.startswith("backbone.")}
    found = {
        name: file.weights[name]
        for name, tensor in wanted.items()
        if name in file.weights and file.weights[name].shape == tensor.shape
    }
    objective.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in found.items()}, strict=False)
    return sorted({name.partition(".")[0] for name in wanted.keys() - found.keys()})


def _check_equal(ckpt: str, given: Architecture, wanted: Architecture) -> None:
    for key in _COMPARED:
        one, other = getattr(given, key), getattr(wanted, key)
        if one != other:
            raise FitError(
                f"--init {ckpt}: {key} of its network is {one}, that of the recipe {other}",
                "choose the recipe that it was trained with, or change [model] with --set",
            )
