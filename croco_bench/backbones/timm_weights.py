"""The weights of a file for a network that timm has by name: `timm:NAME@FILE`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

from croco_bench.backbones.formats import RawCheckpoint, State
from croco_bench.backbones.formats.wrappers import unwrapped_stages
from croco_bench.backbones.networks.timm_models import fit_state
from croco_bench.backbones.weights import differences
from croco_bench.errors import CheckpointError

# Classifiers, pooling and parts of pre-training, which encode no image. A network has them only as far as it needs them.
_NOT_NEEDED = re.compile(
    r"(.*\.)?(head\w*|fc|classifier|attn_pool|neck|fc_norm|norm|pre_logits|mask_token|relative_position_index)(\.|$)"
)


def weights_of_timm(model: nn.Module, name: str, raw: RawCheckpoint) -> tuple[State, tuple[str, ...]]:
    """Weights in the model's names, resampled to its image size by timm's own rules, and notes for the result.

    Args:
        model: made by timm.
        name: timm's name of the model.
        raw: names of timm, of the authors as far as timm converts them, or of a library that this project knows.

    Raises:
        CheckpointError: the file lacks weights of the model, or has weights that might belong to it.
    """
    own = model.state_dict()
    best: tuple[list[str], State, RawCheckpoint] | None = None
    for stage in _stages(raw):
        try:
            state = fit_state(model, dict(stage.state), name)
        except CheckpointError:
            continue
        needed = {key: tensor for key, tensor in state.items() if key in own or not _NOT_NEEDED.match(key)}
        complaints = differences(own, needed)
        if not complaints:
            left_out = sorted({key.partition(".")[0] for key in state if key not in needed})
            notes = (f"of the file, {', '.join(left_out)} left out",) if left_out else ()
            return needed, (*stage.notes[len(raw.notes) :], *notes)
        if best is None or len(complaints) < len(best[0]):
            best = complaints, needed, stage
    more = "" if best is None else f": it {', '.join(best[0][:2])}" + (" and more" if len(best[0]) > 2 else "")
    raise CheckpointError(
        f"{raw.source} doesn't hold the weights of timm's {name}{more}",
        "give the name that the weights were trained under, or the file alone if its format is known",
    )


def _stages(raw: RawCheckpoint) -> Iterator[RawCheckpoint]:
    """The file as it is, then with fewer and fewer additions to its names."""
    yield raw
    try:
        yield from unwrapped_stages(raw)
    except CheckpointError:  # weights outside a prefix: the caller says what the network lacks
        return
