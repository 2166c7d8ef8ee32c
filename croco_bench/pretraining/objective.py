"""The interface of pre-training objectives, and masks, targets and errors of masked image modelling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from croco_bench.backbones.networks.vit import ViT
from croco_bench.errors import UsageError

Tensors = dict[str, Tensor]


class Objective(nn.Module, ABC):
    """A backbone, the modules that only its training needs, and a loss.

    A batch holds `view1` (B, 3, H, W), normalised with the backbone's mean and deviation, the masks from `sample_mask`, and
    further inputs or targets: `view2` (B, 3, H, W), or maps of other modalities.

    Attributes:
        Options: frozen dataclass of the objective's settings.
        views: 2 if the objective learns from pairs, 1 if from single images.
        deviations: where training differs from its authors' code, whatever the recipe.
        backbone: the network that is kept.
        options: an instance of `Options`.
    """

    Options: ClassVar[type[Any]]
    views: ClassVar[int]
    deviations: ClassVar[tuple[str, ...]] = ()
    backbone: ViT
    options: Any

    @abstractmethod
    def sample_mask(self, rng: np.random.Generator) -> Tensors:
        """The random mask of one sample.

        `rng` belongs to the sample alone, so that the mask doesn't depend on processes and workers.
        """

    @abstractmethod
    def forward(self, batch: Tensors) -> Tensor:
        """The batch's mean loss, a float32 scalar."""

    @abstractmethod
    def reconstruct(self, batch: Tensors) -> Tensors:
        """`view1` (B, 3, H, W), normalised like the input: visible patches as given, hidden ones predicted.

        Objectives with other modalities return those too.
        """

    @abstractmethod
    def extra_state_dict(self) -> dict[str, Tensor]:
        """All weights outside the backbone, named as in the authors' files."""


def sample_visible(tokens: int, mask_ratio: float, rng: np.random.Generator) -> Tensor:
    """Sorted indices (K,) of the visible patches; int(mask_ratio * tokens) patches are hidden, rounded down as in CroCo.

    Raises:
        UsageError: nothing would be hidden, or nothing visible.
    """
    hidden = int(min(max(0.0, mask_ratio), 1.0) * tokens)  # max(0.0, nan) is 0.0, so NaN hides nothing
    if not 0 < hidden < tokens:
        raise UsageError(
            f"mask_ratio={mask_ratio:g} hides {hidden} of {tokens} patches", "choose one that leaves both kinds"
        )
    return torch.from_numpy(np.sort(rng.permutation(tokens)[hidden:]))


def patchify(images: Tensor, patch: int) -> Tensor:
    """(B, 3, H, W) -> (B, N, patch*patch*3): patches in row-major order, values ordered by row, column, channel."""
    batch, channels, height, width = images.shape
    patches = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of `patchify` for a patch grid (h, w)."""
    images = patches.reshape(len(patches), *grid, patch, patch, -1).permute(0, 5, 1, 3, 2, 4)
    return images.reshape(len(patches), images.shape[1], grid[0] * patch, grid[1] * patch)


def patch_statistics(target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, N, 1) of each patch, from the unbiased variance plus 1e-6, as in MAE and CroCo."""
    return target.mean(-1, keepdim=True), (target.var(-1, keepdim=True) + 1e-6).sqrt()


def hidden_patches(visible: Tensor, tokens: int) -> Tensor:
    """(B, N) float: 1 where a patch is hidden, 0 where it is visible."""
    return torch.ones(len(visible), tokens, device=visible.device).scatter_(1, visible, 0.0)


def masked_error(predicted: Tensor, target: Tensor, visible: Tensor, *, normalise: bool) -> Tensor:
    """Mean squared error over the hidden patches of a batch, in float32 also under mixed precision.

    Args:
        predicted: (B, N, p*p*3).
        target: patches of the same shape.
        visible: indices (B, K).
        normalise: the target is (value - patch mean) / patch standard deviation.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        target = target.float()
        if normalise:
            mean, deviation = patch_statistics(target)
            target = (target - mean) / deviation
        error = (predicted.float() - target).square().mean(-1)
        hidden = hidden_patches(visible, error.shape[1])
        return (error * hidden).sum() / hidden.sum()


def fill_in(predicted: Tensor, images: Tensor, visible: Tensor, patch: int, *, normalise: bool) -> Tensor:
    """Images (B, 3, H, W) with the hidden patches replaced by the prediction.

    Predictions of normalised patches lack the patch's mean and contrast, which are taken from the target.
    """
    target = patchify(images, patch)
    if normalise:
        mean, deviation = patch_statistics(target)
        predicted = predicted * deviation + mean
    hidden = hidden_patches(visible, target.shape[1])[:, :, None].bool()
    filled = torch.where(hidden, predicted.to(target.dtype), target)
    return unpatchify(filled, patch, (images.shape[2] // patch, images.shape[3] // patch))


def scatter_tokens(tokens: Tensor, visible: Tensor, mask_token: Tensor, count: int) -> Tensor:
    """A sequence (B, count, C) with `tokens` (B, K, C) at indices `visible` (B, K), `mask_token` (1, 1, C) elsewhere."""
    masked = mask_token.to(tokens.dtype).expand(len(tokens), count, -1)
    return masked.scatter(1, visible[:, :, None].expand_as(tokens), tokens)


@dataclass(frozen=True)
class MaskedOptions:
    """`mask_ratio`: share of hidden patches. `normalise`: each target patch has mean 0 and variance 1."""

    mask_ratio: float = 0.75
    normalise: bool = True


class MaskedPixels(Objective):
    """Objectives that predict the pixels of view 1's hidden patches."""

    options: MaskedOptions

    @abstractmethod
    def predict(self, batch: Tensors) -> Tensor:
        """All patches of view 1, (B, N, p*p*3)."""

    def sample_mask(self, rng: np.random.Generator) -> Tensors:
        """`visible` (K,): sorted indices of view 1's visible patches."""
        grid = self.backbone.grid
        return {"visible": sample_visible(grid[0] * grid[1], self.options.mask_ratio, rng)}

    def forward(self, batch: Tensors) -> Tensor:
        """See `Objective.forward`."""
        target = patchify(batch["view1"], self.backbone.patch_size)
        return masked_error(self.predict(batch), target, batch["visible"], normalise=self.options.normalise)

    def reconstruct(self, batch: Tensors) -> Tensors:
        """See `Objective.reconstruct`."""
        patch, normalise = self.backbone.patch_size, self.options.normalise
        images, visible = batch["view1"], batch["visible"]
        return {"view1": fill_in(self.predict(batch), images, visible, patch, normalise=normalise)}

    def extra_state_dict(self) -> dict[str, Tensor]:
        """See `Objective.extra_state_dict`."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("backbone.")}
