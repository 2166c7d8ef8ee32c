"""What every pre-training objective is, and what masked image modelling has in common: masks, targets, the error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from croco_bench.backbones.networks.vit import ViT
from croco_bench.errors import UsageError

Batch = dict[str, Tensor]


class Objective(nn.Module, ABC):
    """A backbone, all that is needed beside it to learn, and a loss.

    A batch holds `view1` (B, 3, H, W), normalised as the backbone wants it, the mask that `sample_mask` made for every sample,
    and what else the objective learns from: `view2` (B, 3, H, W), or maps of other modalities.
    """

    Options: ClassVar[type[Any]]
    views: ClassVar[int]
    backbone: ViT
    options: Any

    @abstractmethod
    def sample_mask(self, rng: np.random.Generator) -> Batch:
        """The mask of one sample; a function of the sample's own generator, so that processes and workers change nothing."""

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """The batch's mean loss, a float32 scalar."""

    @abstractmethod
    def reconstruct(self, batch: Batch) -> Batch:
        """`view1` as predicted, (B, 3, H, W), normalised like the input: visible patches as given, the others filled in.

        Objectives with other modalities give those too.
        """

    @abstractmethod
    def extra_state_dict(self) -> dict[str, Tensor]:
        """All weights that aren't the backbone's, under the names of the authors' own files."""


def sample_visible(tokens: int, mask_ratio: float, rng: np.random.Generator) -> Tensor:
    """Which patches stay visible: sorted indices (K,), int(mask_ratio * tokens) of them being hidden (CroCo's floor).

    Raises:
        UsageError: nothing would be hidden, or nothing visible.
    """
    hidden = int(min(max(0.0, mask_ratio), 1.0) * tokens)  # in this order, not a number hides nothing
    if not 0 < hidden < tokens:
        raise UsageError(
            f"mask_ratio={mask_ratio:g} hides {hidden} of {tokens} patches", "choose one that leaves both kinds"
        )
    return torch.from_numpy(np.sort(rng.permutation(tokens)[hidden:]))


def patchify(images: Tensor, patch: int) -> Tensor:
    """(B, 3, H, W) -> (B, N, patch*patch*3), patches row-major, within a patch row, column, channel."""
    batch, channels, height, width = images.shape
    cells = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of `patchify` for a patch grid (h, w)."""
    cells = patches.reshape(len(patches), *grid, patch, patch, -1).permute(0, 5, 1, 3, 2, 4)
    return cells.reshape(len(patches), cells.shape[1], grid[0] * patch, grid[1] * patch)


def statistics(target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, N, 1) of each patch, as MAE and CroCo normalise: unbiased variance plus 1e-6."""
    return target.mean(-1, keepdim=True), (target.var(-1, keepdim=True) + 1e-6).sqrt()


def hidden_patches(visible: Tensor, tokens: int) -> Tensor:
    """(B, N) float: 1 where a patch is hidden, 0 where it is visible."""
    return torch.ones(len(visible), tokens, device=visible.device).scatter_(1, visible, 0.0)


def masked_error(predicted: Tensor, target: Tensor, visible: Tensor, *, normalise: bool) -> Tensor:
    """Mean squared error over the hidden patches of a batch, in float32 whatever the precision of `predicted`.

    Args:
        predicted: (B, N, p*p*3).
        target: patches of the same shape.
        visible: indices (B, K).
        normalise: compare with the patch's values less their mean, over their standard deviation.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        target = target.float()
        if normalise:
            mean, deviation = statistics(target)
            target = (target - mean) / deviation
        error = (predicted.float() - target).square().mean(-1)
        hidden = hidden_patches(visible, error.shape[1])
        return (error * hidden).sum() / hidden.sum()


def fill_in(predicted: Tensor, images: Tensor, visible: Tensor, patch: int, *, normalise: bool) -> Tensor:
    """Images (B, 3, H, W) whose hidden patches are replaced by the prediction.

    Predictions of normalised patches say nothing of a patch's mean and contrast: those are taken from the target.
    """
    target = patchify(images, patch)
    if normalise:
        mean, deviation = statistics(target)
        predicted = predicted * deviation + mean
    hidden = hidden_patches(visible, target.shape[1])[:, :, None].bool()
    whole = torch.where(hidden, predicted.to(target.dtype), target)
    return unpatchify(whole, patch, (images.shape[2] // patch, images.shape[3] // patch))


def scatter_tokens(tokens: Tensor, visible: Tensor, mask_token: Tensor, count: int) -> Tensor:
    """Tokens (B, K, C) put at their places `visible` (B, K) among `count`, `mask_token` (1, 1, C) everywhere else."""
    whole = mask_token.to(tokens.dtype).expand(len(tokens), count, -1)
    return whole.scatter(1, visible[:, :, None].expand_as(tokens), tokens)


@dataclass(frozen=True)
class MaskedOptions:
    """`mask_ratio`: share of patches that are hidden. `normalise`: predict patches normalised one by one."""

    mask_ratio: float = 0.75
    normalise: bool = True


class MaskedPixels(Objective):
    """Objectives that predict the colours of view 1's hidden patches."""

    options: MaskedOptions

    @abstractmethod
    def predict(self, batch: Batch) -> Tensor:
        """Every patch of view 1, (B, N, p*p*3), from what is visible."""

    def sample_mask(self, rng: np.random.Generator) -> Batch:
        """`visible` (K,): the patches of view 1 that stay."""
        grid = self.backbone.grid
        return {"visible": sample_visible(grid[0] * grid[1], self.options.mask_ratio, rng)}

    def forward(self, batch: Batch) -> Tensor:
        """See `Objective.forward`."""
        target = patchify(batch["view1"], self.backbone.patch_size)
        return masked_error(self.predict(batch), target, batch["visible"], normalise=self.options.normalise)

    def reconstruct(self, batch: Batch) -> Batch:
        """See `Objective.reconstruct`."""
        patch, normalise = self.backbone.patch_size, self.options.normalise
        images, visible = batch["view1"], batch["visible"]
        return {"view1": fill_in(self.predict(batch), images, visible, patch, normalise=normalise)}

    def extra_state_dict(self) -> dict[str, Tensor]:
        """See `Objective.extra_state_dict`."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("backbone.")}
