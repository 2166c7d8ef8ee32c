"""The contract of `Head` as inherited tests.

class TestMyHead(HeadContract):
    name = "my-head"
    options = {"width": 16}
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from croco_bench import registry
from croco_bench.backbones import load_backbone
from croco_bench.config.load import options_of
from croco_bench.contracts import Features, FeatureSpec, Head, PairBackbone
from croco_bench.engine.network import Network
from croco_bench.errors import FitError
from croco_bench.testing.options import assert_frozen
from croco_bench.types import Size

_VIT = FeatureSpec(widths=(24,) * 4, encoder_depth=4, patch_size=16, image_size=(64, 96))
# Encoder alone; with a class token; encoder and narrower decoder; twelve blocks of small patches.
_SPECS = (
    _VIT,
    replace(_VIT, has_cls=True, image_size=(64, 64)),
    replace(_VIT, widths=(24,) * 4 + (12,) * 8),
    replace(_VIT, widths=(16,) * 12, encoder_depth=12, patch_size=8, image_size=(32, 48)),
)
# As of a ResNet: four stages of strides 4 to 32.
_PYRAMID = FeatureSpec(
    widths=(8, 12, 16, 24), encoder_depth=4, patch_size=32, image_size=(64, 96), strides=(4, 8, 16, 32)
)


class HeadContract:
    """Tests that every head passes. Subclasses are named `Test...` and set `name`.

    Attributes:
        name: the head's registered name.
        options: settings of small heads, for speed.
        specs: features to build heads for.
        unfit: an image size that the head refuses for patches of 16, and the next size that fits; None: any size fits.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    specs: ClassVar[tuple[FeatureSpec, ...]] = _SPECS
    unfit: ClassVar[tuple[Size, Size] | None] = None

    def head_type(self) -> type[Head]:
        """The registered class."""
        kind: type[Head] = registry.heads()[self.name].load()
        assert issubclass(kind, Head)
        return kind

    def build(self, spec: FeatureSpec, out_channels: int = 3) -> Head:
        """A head in eval mode, the same every time."""
        kind = self.head_type()
        torch.manual_seed(0)
        return kind(spec, out_channels, options_of(kind.Options, self.options, f"[head] of {self.name}")).eval()

    def test_options_are_a_frozen_dataclass_with_defaults(self) -> None:
        """A recipe may give the head's name alone, and nothing changes options later."""
        assert_frozen(self.head_type().Options)

    def test_outputs_have_the_promised_shape(self) -> None:
        """(B, out_channels, H, W), or (B, out_channels) of heads that aren't dense; any width, one image or several."""
        for spec in self.specs:
            for out_channels, images in ((1, 1), (5, 3)):
                head = self.build(spec, out_channels)
                with torch.no_grad():
                    output = head(_features(spec, images))
                size = spec.image_size if head.dense else ()
                assert output.shape == (images, out_channels, *size), (spec, output.shape)
                assert output.dtype == torch.float32 and output.isfinite().all()

    def test_a_pyramid_is_taken_or_refused(self) -> None:
        """Outputs of several resolutions (ResNet, Swin) give predictions like any others, or a `FitError`."""
        try:
            head = self.build(_PYRAMID)
        except FitError as error:
            assert "\n" not in str(error), error
            return
        features = _features(_PYRAMID, 2)
        with torch.no_grad():
            together, alone = head(features), head(_part(features, 1))
        assert together.shape == (2, 3, *(_PYRAMID.image_size if head.dense else ()))
        torch.testing.assert_close(alone, together[1:], rtol=1e-4, atol=1e-5)

    def test_evaluation_is_deterministic_and_treats_images_one_by_one(self) -> None:
        """Neither dropout nor the other images of a batch change a prediction."""
        for spec in self.specs:
            head, features = self.build(spec), _features(spec, 3)
            with torch.no_grad():
                together = head(features)
                assert torch.equal(head(features), together)
                for i in range(3):
                    torch.testing.assert_close(head(_part(features, i)), together[i : i + 1], rtol=1e-4, atol=1e-5)

    def test_hooks_are_all_that_is_read(self) -> None:
        """Other block outputs may be empty, which saves memory."""
        for spec in self.specs:
            head, features = self.build(spec), _features(spec, 2)
            if head.hooks is None:
                continue
            assert all(0 <= hook < len(spec.widths) for hook in head.hooks)
            tokens = [block if i in head.hooks else block.new_empty(2, 0) for i, block in enumerate(features.tokens)]
            with torch.no_grad():
                assert torch.equal(head(replace(features, tokens=tokens)), head(features))

    def test_gradients_reach_the_whole_backbone_and_the_whole_head(self) -> None:
        """A parameter without a gradient would stall distributed training."""
        for network, images in self.networks():
            outputs = network.train()(*images)
            weighted = outputs if isinstance(outputs, list) else [(1.0, outputs)]
            torch.autograd.backward(torch.stack([weight * output.square().mean() for weight, output in weighted]).sum())
            for name, parameter in network.named_parameters():
                if parameter.requires_grad:
                    assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            first = [parameter.grad for name, parameter in network.named_parameters() if "patch_embed" in name]
            assert first and all(gradient is not None and gradient.abs().max() > 0 for gradient in first)

    def networks(self) -> Iterator[tuple[Network, tuple[Tensor, ...]]]:
        """The head on a small backbone, with one view and with two, and a batch of images."""
        for views in (1, 2):
            backbone = load_backbone("random:mini-croco", image_size=64)
            assert isinstance(backbone, PairBackbone)
            spec = backbone.feature_spec() if views == 1 else backbone.pair_spec()
            images = torch.rand(views, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
            yield Network(backbone, self.build(spec), views=views), tuple(images)

    def test_auxiliary_outputs_have_the_shape_of_outputs_and_positive_weights(self) -> None:
        """They are trained with the same loss."""
        for spec in self.specs:
            head, features = self.build(spec), _features(spec, 2)
            with torch.no_grad():
                shape = head(features).shape
                for weight, output in head.train().auxiliary(features):
                    assert weight > 0 and output.shape == shape

    def test_the_state_is_complete(self) -> None:
        """Another head with this state, saved and read, gives the same outputs."""
        for spec in self.specs:
            head, features = self.build(spec), _features(spec, 2)
            for tensor in [*head.parameters(), *head.buffers()]:
                if tensor.is_floating_point():
                    tensor.data.uniform_(0.5, 1.5)
            file = io.BytesIO()
            torch.save(head.state_dict(), file)
            file.seek(0)
            other = self.build(spec)
            other.load_state_dict(torch.load(file, weights_only=True), strict=True)
            with torch.no_grad():
                assert torch.equal(other(features), head(features))

    def test_resolved_values_can_be_stored(self) -> None:
        """As JSON, in the result."""
        for spec in self.specs:
            resolved = self.build(spec).resolved()
            assert json.loads(json.dumps(resolved)) == resolved

    def test_a_size_that_does_not_fit_is_refused_with_the_next_that_does(self) -> None:
        """`FitError`, in one line, before anything is trained."""
        size, fitting = self.unfit or ((16, 16), (16, 16))
        if self.unfit is not None:
            try:
                self.build(replace(_VIT, image_size=size))
            except FitError as error:
                assert "x".join(map(str, fitting)) in str(error) and "\n" not in str(error), error
            else:
                raise AssertionError(f"{size} is accepted")
        self.build(replace(_VIT, image_size=fitting))


def _features(spec: FeatureSpec, images: int) -> Features:
    """Random tokens of the spec's sizes, the same every time."""
    generator = torch.Generator().manual_seed(1)
    grids = [spec.grid_of(block) for block in range(len(spec.widths))]
    tokens = [
        torch.randn(images, height * width, channels, generator=generator)
        for (height, width), channels in zip(grids, spec.widths, strict=True)
    ]
    cls = torch.randn(images, spec.widths[-1], generator=generator) if spec.has_cls else None
    return Features(tokens, spec.grid, cls, tuple(grids) if spec.is_pyramid else ())


def _part(features: Features, i: int) -> Features:
    """The features of image i."""
    cls = None if features.cls is None else features.cls[i : i + 1]
    return replace(features, tokens=[block[i : i + 1] for block in features.tokens], cls=cls)
