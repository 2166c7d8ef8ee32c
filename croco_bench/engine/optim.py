"""Parameter groups with layer-wise learning rates, timm optimisers, warm-up and cosine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import nn

from croco_bench.config.recipe import Optim
from croco_bench.engine.network import Network
from croco_bench.errors import FitError, UsageError

# Optimisers of torch, by timm's names, that have fused kernels.
_FUSED = ("adam", "adamw")
# Position tables and extra tokens, under this project's names and timm's.
_NOT_DECAYED = {"positions", "dec_positions", "prefix", "pos_embed", "cls_token", "reg_token", "mask_token"}


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: not to vectors (biases, norms), position tables and class, global or mask tokens."""
    return parameter.ndim > 1 and name.rpartition(".")[2] not in _NOT_DECAYED


def parameter_groups(network: Network, optim: Optim) -> list[dict[str, Any]]:
    """Groups by (depth, decayed or not). `lr_scale` is layer_decay^(distance to the head), as in BEiT, MAE and MultiMAE.

    Raises:
        FitError: layer-wise rates for a trained backbone that doesn't tell its layers apart.
    """
    if optim.layer_decay != 1 and network.frozen is not True and not network.backbone.has_layers:
        raise FitError(
            f"{network.backbone.name} doesn't say which layer a parameter is in, which "
            f"optim.layer_decay={optim.layer_decay:g} needs",
            "set optim.layer_decay=1, or implement layers and layer_of",
        )
    top = network.backbone.layers
    groups: dict[tuple[int, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        part, _, rest = name.partition(".")
        depth = network.backbone.layer_of(rest) if part == "backbone" else top
        groups[depth, is_decayed(name, parameter)].append(parameter)
    return [
        {
            "params": parameters,
            "lr_scale": optim.layer_decay ** (top - depth),
            "weight_decay": optim.weight_decay if decayed else 0.0,
        }
        for (depth, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def head_groups(heads: Iterable[tuple[nn.Module, float]], optim: Optim) -> list[dict[str, Any]]:
    """Groups of heads that are trained at once, each (head, highest rate) with its own rate."""
    groups: list[dict[str, Any]] = []
    for head, rate in heads:
        for decayed in (False, True):
            parameters = [one for name, one in head.named_parameters() if is_decayed(name, one) == decayed]
            if parameters:
                groups.append(
                    {"params": parameters, "lr": rate, "weight_decay": optim.weight_decay if decayed else 0.0}
                )
    return groups


def build_optimizer(
    network: Network, optim: Optim, groups: list[dict[str, Any]] | None = None
) -> torch.optim.Optimizer:
    """The timm optimiser called `optim.name` over `parameter_groups`, or over other groups of the network's parameters.

    Adam and AdamW change all weights in one kernel, which on a GPU also skips a step whose gradients overflow without asking
    the host.
    """
    arguments: dict[str, Any] = {"betas": optim.betas} if "adam" in optim.name.lower() else {"momentum": optim.betas[0]}
    if optim.name.lower() in _FUSED:
        arguments["fused"] = True
    groups = parameter_groups(network, optim) if groups is None else groups
    if optim.name.lower() == "lars":
        # As in MAE: rates are scaled by the norms of matrices, with or without decay, but not by those of vectors.
        groups = [{**group, "always_adapt": all(one.ndim > 1 for one in group["params"])} for group in groups]
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            groups, opt=optim.name, lr=optim.lr, weight_decay=0.0, **arguments
        )
    except (ValueError, TypeError, AssertionError) as error:
        raise UsageError(
            f"optim.name={optim.name!r} can't be built: {error}", "timm.optim.list_optimizers() has them all"
        ) from error
    return optimizer


class Schedule:
    """Linear warm-up from 0, then cosine to `min_lr` over `steps`. The rate depends on the step only.

    `steps` may be larger than the length of the training, which then ends before the cosine does, as CroCo's.
    `unit` is the number of steps in one of the recipe's, for the advice where the warm-up is too long.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, min_lr: float, steps: int, warmup: int, unit: int = 1
    ) -> None:
        require_warmup(steps, warmup, unit)
        self._optimizer = optimizer
        self._scheduler = CosineLRScheduler(
            optimizer,
            t_initial=steps - warmup,
            lr_min=min_lr,
            warmup_t=warmup,
            warmup_lr_init=0.0,
            warmup_prefix=True,
            t_in_epochs=False,
        )

    def set(self, step: int) -> float:
        """Sets every group's rate for `step` (0-based); returns the highest."""
        self._scheduler.step_update(step)
        return max(float(group["lr"]) for group in self._optimizer.param_groups)


def require_warmup(steps: int, warmup: int, unit: int = 1) -> None:
    """Refuses a warm-up that is as long as the training; for what is done before a `Schedule` is made.

    Raises:
        UsageError: it is; the advice has one that fits.
    """
    if warmup >= steps:
        fits = steps // 10 // unit
        raise UsageError(f"warm-up takes {warmup} of {steps} steps", f"--set optim.warmup={fits} fits, or train longer")
