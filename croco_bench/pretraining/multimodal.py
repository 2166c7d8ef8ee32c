"""MultiMAE's objective (Bachmann 2022): predict hidden patches of colour, depth and classes from a few visible ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from croco_bench.backbones.networks.vit import ViT
from croco_bench.errors import FitError
from croco_bench.pretraining.adapters import ClassTokens, PatchTokens, SpatialAdapter, initialize_adapter
from croco_bench.pretraining.objective import Objective, Tensors

MODALITIES = ("rgb", "depth", "semseg")
# The second colour adapter, with target (patch - mean) / standard deviation.
NORMALIZED = "norm_rgb"


@dataclass(frozen=True)
class MultimodalOptions:
    """Settings of the objective; the defaults are MultiMAE's, for ViT-B at 224.

    Attributes:
        visible: number of visible tokens, all modalities together.
        concentration: of the symmetric Dirichlet distribution that the modalities' shares of `visible` are drawn from.
        classes: number of semantic classes.
        class_width: channels of a class's learned vector.
        semseg_stride: classes are read at every such pixel.
        decoder_width: channels of each output adapter.
        decoder_depth: blocks of each output adapter.
        decoder_heads: attention heads of each output adapter.
        normalised_rgb: predict colours a second time, with normalised patches as targets, as in the published
            pre-training.
        unknown_depth: value of depth files that stands for unknown depth, which isn't predicted; -1: there is none.
    """

    visible: PositiveInt = 98
    concentration: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    classes: PositiveInt = 133
    class_width: PositiveInt = 64
    semseg_stride: PositiveInt = 4
    decoder_width: PositiveInt = 256
    decoder_depth: NonNegativeInt = 2
    decoder_heads: PositiveInt = 8
    normalised_rgb: bool = True
    unknown_depth: Annotated[int, Field(ge=-1)] = 0


# For 64x64 images in patches of 8: a sixth of the tokens and 4x4 class ids a patch, as in the original.
MINI = MultimodalOptions(visible=32, classes=17, semseg_stride=2, decoder_width=96, decoder_depth=2, decoder_heads=3)


def sample_visible(count: int, visible: int, concentration: float, rng: np.random.Generator) -> Tensor:
    """Sorted indices (K,) int64 of `visible` tokens among those of all modalities, `count` tokens each.

    Each modality's share of K comes from a Dirichlet distribution; the rounded share (`count` at the most) is filled with
    random patches. Random tokens are then removed from the union, or added to it, until there are K.
    """
    shares = rng.dirichlet([concentration] * len(MODALITIES))
    budgets = np.rint(shares * visible).astype(int)
    tokens = np.concatenate([modality * count + rng.permutation(count)[:k] for modality, k in enumerate(budgets)])
    if len(tokens) > visible:
        tokens = rng.choice(tokens, visible, replace=False)
    elif len(tokens) < visible:
        others = np.setdiff1d(np.arange(len(MODALITIES) * count), tokens)
        tokens = np.concatenate([tokens, rng.choice(others, visible - len(tokens), replace=False)])
    return torch.from_numpy(np.sort(tokens).astype(np.int64))


class MultimodalAutoencoder(Objective):
    """Masked autoencoding of colour, depth and classes through one encoder.

    A batch has `view1` (B, 3, H, W) normalised, `depth` (B, 1, H, W) standardised, `semseg` (B, H, W) int64 below
    `options.classes`, and `visible` (B, K) from `sample_mask`; where depths are unknown also `depth_known` (B, 1, H, W) bool.
    """

    Options: ClassVar = MultimodalOptions
    views = 1
    deviations = (
        "only matrices decay; MultiMAE's pre-training decays all weights, biases, norms, tokens and task embeddings too",
        "depth of value multimae.unknown_depth (0) is unknown: it isn't predicted, and depths are standardised without it; "
        "MultiMAE knows no unknown depth",
    )

    def __init__(self, backbone: ViT, options: MultimodalOptions | None = None) -> None:
        """Random weights outside the backbone, from torch's global generator.

        Raises:
            FitError: the backbone isn't MultiMAE's, or patch size, stride, widths and token counts don't go together.
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
        """`visible` (K,): sorted indices into the concatenated tokens of colour, depth and classes."""
        return {"visible": sample_visible(self._count, self.options.visible, self.options.concentration, rng)}

    def forward(self, batch: Tensors) -> Tensor:
        """The sum of all modalities' losses, () float32."""
        return torch.stack(list(self.losses(batch).values())).sum()

    def losses(self, batch: Tensors) -> Tensors:
        """Each modality's loss, () float32."""
        return self.compare(self.predict(batch), batch)

    def predict(self, batch: Tensors) -> Tensors:
        """All patches of every modality, (B, N, channels, q, q), q pixels a side after the stride; classes as scores."""
        visible = batch["visible"]
        encoded = self._encode(batch, visible)
        patches = {}
        for name, adapter in self.output_adapters.items():
            if name == "semseg":  # scores of many classes need full precision
                with torch.autocast(encoded.device.type, enabled=False):
                    flat = adapter(encoded.float(), visible)
            else:
                flat = adapter(encoded, visible)
            patches[name] = flat.float().unflatten(-1, (-1, self._patch[name], self._patch[name]))
        return patches

    def _encode(self, batch: Tensors, visible: Tensor) -> Tensor:
        """The encoder on the visible tokens of all modalities: (B, P + K, C), prefix tokens first."""
        positions = self.backbone.positions
        color = self.backbone.embed(batch["view1"])
        depth = self.input_adapters["depth"](batch["depth"]) + positions
        classes = self.input_adapters["semseg"](self._subsample_ids(batch["semseg"])) + positions
        tokens = torch.cat([color, depth, classes], dim=1)
        index = visible[:, :, None].expand(-1, -1, tokens.shape[-1])
        return self.backbone.run_blocks(tokens.gather(1, index), None)[-1]

    def compare(self, predictions: Tensors, batch: Tensors) -> Tensors:
        """Losses of predicted patches: squared error of colour, absolute error of depth, cross-entropy of classes.

        Each is the mean over a sample's masked patches, then over the samples with masked patches. Pixels of unknown depth
        don't count, nor do patches without any other.
        """
        targets, masked = self._targets(batch), self._masked(batch["visible"])
        losses = {}
        for name, predicted in predictions.items():
            if name == "semseg":
                entropy = F.cross_entropy(predicted.flatten(0, 1), targets[name].flatten(0, 1)[:, 0], reduction="none")
                error = entropy.mean(dim=(1, 2)).view(predicted.shape[:2])
            elif name == "depth" and "depth_known" in batch:
                known = self._split(batch["depth_known"].float(), self._patch[name])
                absolute = F.l1_loss(predicted, targets[name], reduction="none") * known
                counts = known.sum(dim=(2, 3, 4))
                error = absolute.sum(dim=(2, 3, 4)) / counts.clamp(min=1)
                masked = {**masked, name: masked[name] & (counts > 0)}
            else:
                loss = F.l1_loss if name == "depth" else F.mse_loss
                error = loss(predicted, targets[name], reduction="none").mean(dim=(2, 3, 4))
            losses[name] = _mean_of_masked(error, masked["rgb" if name == NORMALIZED else name])
        return losses

    @torch.no_grad()
    def reconstruct(self, batch: Tensors) -> Tensors:
        """Images with visible patches as given, masked ones predicted.

        Returns:
            `view1` (B, 3, H, W) normalised, `depth` (B, 1, H, W) standardised, `semseg` (B, H, W) ids.
        """
        predictions, targets, masked = self.predict(batch), self._targets(batch), self._masked(batch["visible"])
        predictions["semseg"] = predictions["semseg"].argmax(dim=2, keepdim=True)
        images = {
            name: self._join(torch.where(masked[name][:, :, None, None, None], predictions[name], targets[name]))
            for name in MODALITIES
        }
        stride = self.options.semseg_stride
        ids = images["semseg"][:, 0].repeat_interleave(stride, dim=1).repeat_interleave(stride, dim=2)
        return {"view1": images["rgb"], "depth": images["depth"], "semseg": ids}

    def extra_state_dict(self) -> dict[str, Tensor]:
        """All weights outside the colour encoder, named as in MultiMAE's files."""
        table = self.backbone.positions
        assert table is not None
        state = {
            f"input_adapters.{name}.pos_emb": table.T.reshape(1, -1, *self.backbone.grid) for name in MODALITIES[1:]
        }
        for part in ("input_adapters", "output_adapters"):
            state |= {f"{part}.{name}": tensor for name, tensor in getattr(self, part).state_dict().items()}
        return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}

    def _subsample_ids(self, ids: Tensor) -> Tensor:
        """Ids (B, H, W) -> (B, H/s, W/s): the one in the middle of each s x s cell."""
        stride = self.options.semseg_stride
        return ids[:, stride // 2 :: stride, stride // 2 :: stride]

    def _targets(self, batch: Tensors) -> Tensors:
        """Each adapter's target, in patches (B, N, channels, q, q)."""
        images = {
            "rgb": batch["view1"],
            "depth": batch["depth"],
            "semseg": self._subsample_ids(batch["semseg"])[:, None],
        }
        targets = {name: self._split(images[name], self._patch[name]) for name in MODALITIES}
        variance, mean = torch.var_mean(targets["rgb"], dim=(2, 3, 4), keepdim=True)
        return {**targets, NORMALIZED: (targets["rgb"] - mean) / (variance + 1e-6).sqrt()}

    def _masked(self, visible: Tensor) -> Tensors:
        """Masks (B, N) bool of each modality, True for the patches that the encoder doesn't see."""
        masked = visible.new_ones(len(visible), len(MODALITIES) * self._count, dtype=torch.bool)
        parts = masked.scatter(1, visible, False).chunk(len(MODALITIES), dim=1)
        return dict(zip(MODALITIES, parts, strict=True))

    def _split(self, images: Tensor, size: int) -> Tensor:
        """(B, C, H, W) -> patches (B, N, C, size, size)."""
        rows, columns = self.backbone.grid
        patches = images.reshape(len(images), -1, rows, size, columns, size)
        return patches.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)

    def _join(self, patches: Tensor) -> Tensor:
        """The inverse of `_split`."""
        batch, _, channels, size, _ = patches.shape
        rows, columns = self.backbone.grid
        images = patches.reshape(batch, rows, columns, channels, size, size).permute(0, 3, 1, 4, 2, 5)
        return images.reshape(batch, channels, rows * size, columns * size)


def _mean_of_masked(error: Tensor, masked: Tensor) -> Tensor:
    """Patch errors (B, N) -> mean over each sample's masked patches, then over samples; 0 if no patch is masked."""
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
    if options.decoder_width % options.decoder_heads or options.decoder_width % 4:
        raise FitError(
            f"decoder_width = {options.decoder_width} must be a multiple of 4 and of decoder_heads = "
            f"{options.decoder_heads}"
        )
    if options.visible >= total:
        raise FitError(
            f"visible = {options.visible}: the {len(MODALITIES)} modalities have {total} tokens together, of which some "
            f"must be masked",
            f"a sixth would be {total // 6}",
        )
