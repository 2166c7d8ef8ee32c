"""MultiMAE's objective (Bachmann 2022): from a few visible patches of colour, depth and classes, predict all the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from croco_bench.backbones.networks.vit import ViT
from croco_bench.errors import FitError, UsageError
from croco_bench.pretraining.adapters import ClassTokens, PatchTokens, SpatialAdapter, initialize_adapter
from croco_bench.pretraining.objective import Objective

MODALITIES = ("rgb", "depth", "semseg")
# Target of a second colour adapter: every patch less its mean, over its standard deviation.
NORMALIZED = "norm_rgb"
Images = dict[str, Tensor]


@dataclass(frozen=True)
class MultimodalOptions:
    """Settings of the objective; the defaults are MultiMAE's, for ViT-B at 224.

    `visible` tokens are seen, of all modalities together; shares are drawn from a Dirichlet distribution of this
    `concentration`. Classes are read at every `semseg_stride`-th pixel. `normalised_rgb` adds a second prediction of
    colour, with normalised patches for targets, as MultiMAE's published pre-training does.
    """

    visible: int = 98
    concentration: float = 1.0
    classes: int = 133
    class_width: int = 64
    semseg_stride: int = 4
    decoder_width: int = 256
    decoder_depth: int = 2
    decoder_heads: int = 8
    normalised_rgb: bool = True

    def __post_init__(self) -> None:
        whole = {name: value for name, value in vars(self).items() if name not in {"concentration", "normalised_rgb"}}
        for name, value in whole.items():
            if value < (0 if name == "decoder_depth" else 1):
                raise UsageError(f"{name} = {value}: expected a larger whole number")
        if not self.concentration > 0:
            raise UsageError(f"concentration = {self.concentration}: expected a number above 0")
        if self.decoder_width % self.decoder_heads or self.decoder_width % 4:
            raise UsageError(
                f"decoder_width = {self.decoder_width} must be a multiple of 4 and of decoder_heads = "
                f"{self.decoder_heads}"
            )


# For 64x64 images in patches of 8: a sixth of the tokens and 4x4 class ids a patch, as in the original.
MINI = MultimodalOptions(visible=32, classes=17, semseg_stride=2, decoder_width=96, decoder_depth=2, decoder_heads=3)


def sample_visible(count: int, visible: int, concentration: float, rng: np.random.Generator) -> Tensor:
    """Which tokens of all modalities to show: `visible` sorted indices (K,) int64, each modality having `count`.

    Every modality's share of K is drawn, rounded, and filled with random patches, as far as it has as many; what is then
    too much or lacks is taken away or added at random.
    """
    shares = rng.dirichlet([concentration] * len(MODALITIES))
    budgets = np.rint(shares * visible).astype(int)
    chosen = np.concatenate([place * count + rng.permutation(count)[:k] for place, k in enumerate(budgets)])
    if len(chosen) > visible:
        chosen = rng.choice(chosen, visible, replace=False)
    elif len(chosen) < visible:
        rest = np.setdiff1d(np.arange(len(MODALITIES) * count), chosen)
        chosen = np.concatenate([chosen, rng.choice(rest, visible - len(chosen), replace=False)])
    return torch.from_numpy(np.sort(chosen).astype(np.int64))


class MultimodalAutoencoder(Objective):
    """Masked autoencoding of colour, depth and classes through one encoder.

    A batch has `view1` (B, 3, H, W) normalised, `depth` (B, 1, H, W) standardised, `semseg` (B, H, W) int64 below
    `options.classes`, and `visible` (B, K) from `sample_mask`.
    """

    Options: ClassVar = MultimodalOptions
    views = 1

    def __init__(self, backbone: ViT, options: MultimodalOptions | None = None) -> None:
        """Random weights beside the backbone's, from torch's global generator.

        Raises:
            FitError: the backbone isn't of MultiMAE's kind, or patch size, stride and token counts don't go together.
        """
        super().__init__()
        options = options or MultimodalOptions()
        self.backbone, self.options = backbone, options
        self._count = backbone.grid[0] * backbone.grid[1]
        _check_fit(backbone, options)
        size, stride, width = backbone.patch_size, options.semseg_stride, backbone.embed_dim
        self._patch = {"rgb": size, "depth": size, "semseg": size // stride, NORMALIZED: size}
        self.input_adapters = nn.ModuleDict(
            {
                "depth": PatchTokens(1, width, size),
                "semseg": ClassTokens(options.classes, options.class_width, width, self._patch["semseg"]),
            }
        )
        adapter = partial(
            SpatialAdapter,
            modalities=MODALITIES,
            grid=backbone.grid,
            encoder_width=width,
            width=options.decoder_width,
            depth=options.decoder_depth,
            heads=options.decoder_heads,
        )
        channels = {"rgb": 3, "depth": 1, "semseg": options.classes}
        outputs = {name: adapter(name, values=count * self._patch[name] ** 2) for name, count in channels.items()}
        if options.normalised_rgb:
            outputs[NORMALIZED] = adapter("rgb", values=3 * size**2)
        self.output_adapters = nn.ModuleDict(outputs)
        for adapters in (self.input_adapters, self.output_adapters):
            initialize_adapter(adapters)

    def sample_mask(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """The mask of one sample: `visible`, (K,) sorted indices into the tokens of colour, depth, classes in a row."""
        return {"visible": sample_visible(self._count, self.options.visible, self.options.concentration, rng)}

    def forward(self, batch: Images) -> Tensor:
        """The sum of all modalities' losses, () float32."""
        return torch.stack(list(self.losses(batch).values())).sum()

    def losses(self, batch: Images) -> Images:
        """Each modality's loss, () float32."""
        return self.compare(self.predict(batch), batch)

    def predict(self, batch: Images) -> Images:
        """Every modality's patches as the network sees them, (B, N, channels, q, q); classes as scores."""
        visible = batch["visible"]
        encoded = self._encode(batch, visible)
        patches = {}
        for name, adapter in self.output_adapters.items():
            if name == "semseg":  # scores of many classes: never in half precision
                with torch.autocast(encoded.device.type, enabled=False):
                    flat = adapter(encoded.float(), visible)
            else:
                flat = adapter(encoded, visible)
            patches[name] = flat.float().unflatten(-1, (-1, self._patch[name], self._patch[name]))
        return patches

    def _encode(self, batch: Images, visible: Tensor) -> Tensor:
        """The encoder on the visible tokens of all modalities: (B, P + K, C), prefix tokens first."""
        positions = self.backbone.positions
        color = self.backbone.embed(batch["view1"])
        depth = self.input_adapters["depth"](batch["depth"]) + positions
        classes = self.input_adapters["semseg"](self._coarse(batch["semseg"])) + positions
        everything = torch.cat([color, depth, classes], dim=1)
        index = visible[:, :, None].expand(-1, -1, everything.shape[-1])
        return self.backbone.run_blocks(everything.gather(1, index), None)[-1]

    def compare(self, predictions: Images, batch: Images) -> Images:
        """Losses of predicted patches: squared error of colour, absolute error of depth, cross-entropy of classes.

        Each is the mean over a sample's masked patches, then over the samples that have any.
        """
        targets, masked = self._targets(batch), self._masked(batch["visible"])
        losses = {}
        for name, predicted in predictions.items():
            if name == "semseg":
                wrong = F.cross_entropy(predicted.flatten(0, 1), targets[name].flatten(0, 1)[:, 0], reduction="none")
                error = wrong.mean(dim=(1, 2)).view(predicted.shape[:2])
            else:
                kind = F.l1_loss if name == "depth" else F.mse_loss
                error = kind(predicted, targets[name], reduction="none").mean(dim=(2, 3, 4))
            losses[name] = _mean_of_masked(error, masked["rgb" if name == NORMALIZED else name])
        return losses

    @torch.no_grad()
    def reconstruct(self, batch: Images) -> Images:
        """Pictures: visible patches as given, masked ones predicted.

        Returns:
            `view1` (B, 3, H, W) normalised, `depth` (B, 1, H, W) standardised, `semseg` (B, H, W) ids.
        """
        predictions, targets, masked = self.predict(batch), self._targets(batch), self._masked(batch["visible"])
        predictions["semseg"] = predictions["semseg"].argmax(dim=2, keepdim=True)
        whole = {
            name: self._joined(torch.where(masked[name][:, :, None, None, None], predictions[name], targets[name]))
            for name in MODALITIES
        }
        stride = self.options.semseg_stride
        ids = whole["semseg"][:, 0].repeat_interleave(stride, dim=1).repeat_interleave(stride, dim=2)
        return {"view1": whole["rgb"], "depth": whole["depth"], "semseg": ids}

    def extra_state_dict(self) -> dict[str, Tensor]:
        """All weights beside the colour encoder, under the names that MultiMAE's own files give them."""
        table = self.backbone.positions
        assert table is not None
        state = {
            f"input_adapters.{name}.pos_emb": table.T.reshape(1, -1, *self.backbone.grid) for name in MODALITIES[1:]
        }
        for part in ("input_adapters", "output_adapters"):
            state |= {f"{part}.{name}": tensor for name, tensor in getattr(self, part).state_dict().items()}
        return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}

    def _coarse(self, ids: Tensor) -> Tensor:
        """Every stride-th id (B, H, W) -> (B, H/s, W/s), from the middle of its cell."""
        stride = self.options.semseg_stride
        return ids[:, stride // 2 :: stride, stride // 2 :: stride]

    def _targets(self, batch: Images) -> Images:
        """What each adapter should predict, in patches (B, N, channels, q, q)."""
        images = {"rgb": batch["view1"], "depth": batch["depth"], "semseg": self._coarse(batch["semseg"])[:, None]}
        targets = {name: self._split(images[name], self._patch[name]) for name in MODALITIES}
        variance, mean = torch.var_mean(targets["rgb"], dim=(2, 3, 4), keepdim=True)
        return {**targets, NORMALIZED: (targets["rgb"] - mean) / (variance + 1e-6).sqrt()}

    def _masked(self, visible: Tensor) -> Images:
        """Which patches of each modality the encoder doesn't see, (B, N) bool."""
        everything = visible.new_ones(len(visible), len(MODALITIES) * self._count, dtype=torch.bool)
        parts = everything.scatter(1, visible, False).chunk(len(MODALITIES), dim=1)
        return dict(zip(MODALITIES, parts, strict=True))

    def _split(self, images: Tensor, size: int) -> Tensor:
        """(B, C, H, W) -> patches (B, N, C, size, size)."""
        rows, columns = self.backbone.grid
        cells = images.reshape(len(images), -1, rows, size, columns, size)
        return cells.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)

    def _joined(self, patches: Tensor) -> Tensor:
        """The inverse of `_split`."""
        batch, _, channels, size, _ = patches.shape
        rows, columns = self.backbone.grid
        cells = patches.reshape(batch, rows, columns, channels, size, size).permute(0, 3, 1, 4, 2, 5)
        return cells.reshape(batch, channels, rows * size, columns * size)


def _mean_of_masked(error: Tensor, masked: Tensor) -> Tensor:
    """Errors (B, N) of patches -> mean over each sample's masked ones, then over samples; 0 where nothing is masked."""
    counts = masked.sum(dim=1)
    means = (error * masked).sum(dim=1) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)


def _check_fit(backbone: ViT, options: MultimodalOptions) -> None:
    total = len(MODALITIES) * backbone.grid[0] * backbone.grid[1]
    if backbone.family != "multimae" or backbone.positions is None:
        raise FitError(
            f"{backbone.name} is of family {backbone.family}",
            "the multimae objective trains a network of family multimae, such as random:multimae-vitb",
        )
    if backbone.patch_size % options.semseg_stride:
        raise FitError(
            f"semseg_stride = {options.semseg_stride} must divide the patch size {backbone.patch_size} of {backbone.name}"
        )
    if options.visible >= total:
        raise FitError(
            f"visible = {options.visible}: the {len(MODALITIES)} modalities have {total} tokens together, of which some "
            f"must be masked",
            f"a sixth would be {total // 6}",
        )
