"""An objective of pre-training: MAE's, with blurred images as targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import avg_pool2d

from croco_bench.pretraining.masked import MaskedAutoencoder
from croco_bench.pretraining.objective import MaskedOptions, Tensors, masked_error, patchify


@dataclass(frozen=True)
class BlurredOptions(MaskedOptions):
    """Settings of the objective.

    Attributes:
        radius: of the box blur, in pixels.
    """

    radius: int = 1


class BlurredAutoencoder(MaskedAutoencoder):
    """Predicts the hidden patches of the blurred image from the visible ones of the sharp image."""

    Options: ClassVar = BlurredOptions
    options: BlurredOptions

    def forward(self, batch: Tensors) -> Tensor:
        """See `Objective.forward`."""
        radius = self.options.radius
        blurred = avg_pool2d(batch["view1"], 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)
        target = patchify(blurred, self.backbone.patch_size)
        return masked_error(self.predict(batch), target, batch["visible"], normalise=self.options.normalise)
