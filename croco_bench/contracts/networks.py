"""Backbones and their features."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from croco_bench.contracts.images import Fit, fit_to, to_rgb
from croco_bench.errors import FitError
from croco_bench.types import PositionKind, Size


@dataclass(frozen=True)
class FeatureSpec:
    """Sizes of a backbone's features, from which a head is built.

    Attributes:
        widths: channels of each block output, encoder blocks first.
        encoder_depth: number of encoder blocks; the others are decoder blocks.
        patch_size: side of a patch in pixels; of a pyramid, the stride of the last output.
        image_size: input size (H, W) in pixels.
        has_cls: `Features.cls` is there.
        strides: of a pyramid (ResNet, Swin), pixels between neighbouring positions of each output, finest first; empty: all
            outputs have the patch grid.
    """

    widths: tuple[int, ...]
    encoder_depth: int
    patch_size: int
    image_size: Size
    has_cls: bool = False
    strides: tuple[int, ...] = ()

    @property
    def grid(self) -> Size:
        """Patch grid (h, w); of a pyramid, the grid of the last output."""
        return self.grid_of(-1)

    @property
    def is_pyramid(self) -> bool:
        """Whether outputs differ in resolution."""
        return len(set(self.strides)) > 1

    @property
    def levels(self) -> tuple[int, ...]:
        """The last output of each resolution, finest first."""
        strides = [self.stride_of(block) for block in range(len(self.widths))]
        return tuple(i for i, stride in enumerate(strides) if stride not in strides[i + 1 :])

    def stride_of(self, block: int) -> int:
        """Pixels between neighbouring positions of an output."""
        return self.strides[block] if self.strides else self.patch_size

    def grid_of(self, block: int) -> Size:
        """Grid (h, w) of an output."""
        stride = self.stride_of(block)
        return self.image_size[0] // stride, self.image_size[1] // stride


@dataclass(frozen=True)
class Features:
    """Block outputs of one forward pass.

    Attributes:
        tokens: (B, N, widths[i]) per block, patch tokens only, N = h*w in row-major order.
        grid: patch grid (h, w); of a pyramid, the grid of the last output.
        cls: class (or global) token (B, C) after the last block and norm; None if the network has none, and for pairs.
        grids: of a pyramid, the grid (h, w) of each output; empty: all have `grid`.
    """

    tokens: Sequence[Tensor]
    grid: Size
    cls: Tensor | None = None
    grids: tuple[Size, ...] = ()

    def grid_of(self, block: int) -> Size:
        """Grid (h, w) of an output."""
        return self.grids[block] if self.grids else self.grid


@dataclass(frozen=True)
class Pretraining:
    """How a file of this project was pre-trained.

    Attributes:
        objective: `croco`, `mae` or `multimae`.
        images: images or pairs seen.
    """

    objective: str
    images: int


@dataclass(frozen=True)
class Origin:
    """Source of a network's weights.

    Attributes:
        source: file name, URL, or name of the checkpoint.
        format: name of the file format.
        sha256: of the file; of weights that are in no file, a hash of what they are made of.
        license: of the weights.
        notes: facts that a result has to list, such as a missing final norm.
        pretraining: of files that `croco-bench pretrain` wrote.
    """

    source: str
    format: str
    sha256: str | None = None
    license: str | None = None
    notes: tuple[str, ...] = ()
    pretraining: Pretraining | None = None

    @property
    def identity(self) -> str:
        """Tells these weights from others: the SHA-256 of their file, or the source if there is none."""
        return self.sha256 or self.source


class Backbone(nn.Module, ABC):
    """A pre-trained network. Subclasses set the attributes without a default and implement `encode`.

    Attributes:
        patch_size: side of a patch in pixels; of a pyramid, the stride of its last output.
        embed_dim: channels of the encoder's last output.
        depth: number of encoder outputs.
        image_size: input size (H, W) in pixels.
        name: the model's name in results; default: the class name.
        family: its pre-training method.
        binocular: there is a decoder for two views.
        has_cls: there is a class or global token.
        mean: of RGB values in [0, 1] in pre-training; `Network` normalises images.
        std: standard deviation of these values.
        widths: channels of each output; empty: all have `embed_dim`.
        strides: of a pyramid (ResNet, Swin), the stride of each output in pixels, finest first; empty: all have `patch_size`.
        position_kind: where a patch lies is `absolute`, a part of its token, or `rotary`, known to attention alone; None: the
            network doesn't say, or is no ViT.
        final_norm: the encoder's last norm comes from the checkpoint, doesn't exist (identity), or has initial values, as
            the network is random.
        origin: source of the weights.
        code: the checkpoint string that builds the network, if other code than this project's does.
    """

    patch_size: int
    embed_dim: int
    depth: int
    image_size: Size
    name: str = ""
    family: str = "other"
    binocular: bool = False
    has_cls: bool = False
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    widths: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    position_kind: PositionKind | None = None
    final_norm: Literal["checkpoint", "identity", "initialised"] = "checkpoint"
    origin: Origin
    code: str = ""

    def forward(self, images: Tensor) -> list[Tensor]:
        """The result of `encode`."""
        return self.encode(images)

    def features(self, image: object, *, fit: Fit = "resize") -> Tensor:
        """The last output for one image, as a map (h, w, C), without gradients, in evaluation mode.

        Args:
            image: a PIL image, an array (H, W, 3), or a tensor (3, H, W), of any size, with values from 0 to 255 in integers or
                from 0 to 1; the network's mean and deviation are applied here.
            fit: `resize` stretches the image to `image_size`; `pad` keeps its aspect ratio, pads it with the mean color at the
                right or below, and leaves the positions that only see padding out of the map.

        Raises:
            UsageError: it is no image, or has other values.
        """
        training, weight = self.training, next(self.parameters())
        placed, inner = fit_to(to_rgb(image), self.image_size, fit)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        normalised = ((placed - mean) / std).nan_to_num(nan=0.0)
        self.eval()
        try:
            with torch.no_grad():
                last = self.encode(normalised[None].to(weight.device, weight.dtype))[-1]
        finally:
            self.train(training)
        spec = self.feature_spec()
        rows, columns = (-(-side // spec.stride_of(-1)) for side in inner)
        return last[0].reshape(*spec.grid, -1)[:rows, :columns]

    def __repr__(self) -> str:
        """One line: `VisionTransformer(mae-vitb: mae, 12 blocks, 768 channels, patches of 16, images of 224 × 224)`."""
        height, width = self.image_size
        blocks = f"{self.depth} blocks{' and a decoder' if self.binocular else ''}, {self.embed_dim} channels"
        sizes = f"patches of {self.patch_size}, images of {height} × {width}"
        return f"{type(self).__name__}({self.name}: {self.family}, {blocks}, {sizes})"

    @abstractmethod
    def encode(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) -> outputs (B, N, C), finest first, the last one after the final norm if any."""

    def encode_with_cls(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """The result of `encode`, and the class token (B, C) after the last norm if `has_cls`."""
        return self.encode(images), None

    def feature_spec(self) -> FeatureSpec:
        """Sizes of the features of `encode`."""
        widths = self.widths or (self.embed_dim,) * self.depth
        return FeatureSpec(widths, self.depth, self.patch_size, self.image_size, self.has_cls, self.strides)

    def layer_of(self, parameter: str) -> int:
        """Layer of a parameter, for layer-wise learning rates; heads are layer `layers`.

        0 for patch embedding, tokens and positions; k+1 for block k; a final norm belongs to the last block. By default all
        parameters are one layer, and recipes with layer-wise rates refuse the network.
        """
        return 0

    @property
    def layers(self) -> int:
        """Number of layers that `layer_of` distinguishes."""
        return 1

    @property
    def has_layers(self) -> bool:
        """Whether `layer_of` tells layers apart."""
        return type(self).layer_of is not Backbone.layer_of

    def set_drop_path(self, rate: float) -> None:
        """Sets stochastic depth in the encoder: 0 at the first block, rising linearly to `rate` at the last.

        Raises:
            FitError: the network has none (the default), and the rate isn't 0.
        """
        if rate:
            raise FitError(f"{self.name} has no stochastic depth for optim.drop_path={rate:g}", "set optim.drop_path=0")

    def units(self) -> Sequence[nn.Module]:
        """The blocks that the network consists of for the most part, all decoders' as well; none where it doesn't say.

        Their activations can be left out, and each can be compiled.
        """
        return ()

    def metadata(self) -> dict[str, str]:
        """Metadata of a weight file: all that `load_backbone` needs, besides the weights, to build this network.

        By default: image size, origin, and the name of the code, which isn't in the file and has to be there to load it.
        """
        described = {"image_size": json.dumps(self.image_size), "origin": json.dumps(asdict(self.origin))}
        return {**described, "code": self.code} if self.code else described

    def drop_decoder(self) -> None:
        """Deletes modules that `encode` doesn't use, so that parameter counts, memory and optimiser state exclude them."""


class PairBackbone(Backbone):
    """A backbone with a decoder for two views."""

    binocular = True
    decoder_dim: int
    decoder_depth: int

    @abstractmethod
    def encode_pair(self, view1: Tensor, view2: Tensor) -> list[Tensor]:
        """Normalised (B, 3, H, W) twice -> encoder blocks of view 1 (B, N, C), then decoder blocks (B, N, Cdec).

        The last encoder block and the last decoder block have passed their norms.
        """

    def encode_both(self, view1: Tensor, view2: Tensor) -> list[Tensor]:
        """The result of `encode_pair` for (view1, view2) and (view2, view1), concatenated along the batch: (2B, N, C)."""
        return self.encode_pair(torch.cat([view1, view2]), torch.cat([view2, view1]))

    @abstractmethod
    def decode_pair(self, tokens1: Tensor, tokens2: Tensor) -> list[Tensor]:
        """The second half of `encode_pair`: last block outputs of both views -> decoder blocks (B, N, Cdec)."""

    def in_decoder(self, name: str) -> bool:
        """Whether a module or parameter of this network belongs to the decoder, by its name.

        Raises:
            FitError: the network doesn't say (the default), so that its encoder can't be frozen alone.
        """
        raise FitError(
            f"{self.name} doesn't say which parameters are its decoder's, which train.frozen=encoder needs",
            "implement in_decoder, or take train.frozen=true",
        )

    def decode_with_attention(self, tokens1: Tensor, tokens2: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The result of `decode_pair`, and each block's attention (B, N, M) from the tokens of view 1 to those of view 2.

        Attention is a mean over heads. By default there is none: an empty list.
        """
        return self.decode_pair(tokens1, tokens2), []

    def pair_spec(self) -> FeatureSpec:
        """Sizes of the features of `encode_pair`."""
        widths = (self.embed_dim,) * self.depth + (self.decoder_dim,) * self.decoder_depth
        return FeatureSpec(widths, self.depth, self.patch_size, self.image_size)
