"""The contract of `Backbone` as inherited tests.

class TestMyNet(BackboneContract):
    code = "python:my_package.my_net:MyNet"
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from croco_bench.backbones import load_backbone
from croco_bench.backbones.own_code import weights_in
from croco_bench.backbones.save import save_finetuned
from croco_bench.backbones.weights import fill, read_checkpoint
from croco_bench.contracts import Backbone
from croco_bench.errors import FitError
from croco_bench.types import Size


class BackboneContract:
    """Tests that every backbone passes. Subclasses are named `Test...` and set `code`.

    Attributes:
        code: what `--ckpt` takes: `python:MODULE:NAME`, or the name of an installed backbone.
        image_size: that the backbone can be built for; small, for speed.
    """

    code: ClassVar[str]
    image_size: ClassVar[Size] = (64, 64)

    def build(self) -> Backbone:
        """A new backbone in eval mode, the same every time."""
        return load_backbone(self.code, image_size=self.image_size)

    def images(self, count: int) -> Tensor:
        """Normalised images (count, 3, H, W), the same every time."""
        return torch.randn(count, 3, *self.build().image_size, generator=torch.Generator().manual_seed(0))

    def test_outputs_have_the_announced_sizes(self) -> None:
        """`encode` gives one output (B, N, C) in float32 per entry of `widths`, or `depth` outputs of `embed_dim`."""
        backbone = self.build()
        spec = backbone.feature_spec()
        for count in (1, 3):
            with torch.no_grad():
                outputs, cls = backbone.encode_with_cls(self.images(count))
            grids = [spec.grid_of(block) for block in range(len(spec.widths))]
            expected = [(count, h * w, width) for (h, w), width in zip(grids, spec.widths, strict=True)]
            assert [tuple(output.shape) for output in outputs] == expected, (
                f"{[tuple(output.shape) for output in outputs]} where {expected} is announced"
            )
            assert all(output.dtype == torch.float32 and output.isfinite().all() for output in outputs)
            assert (cls is not None) == backbone.has_cls, "has_cls says otherwise than encode_with_cls"
            assert cls is None or cls.shape == (count, spec.widths[-1])

    def test_evaluation_is_deterministic_and_treats_images_one_by_one(self) -> None:
        """Neither dropout nor the other images of a batch change an output."""
        backbone, images = self.build(), self.images(3)
        with torch.no_grad():
            together, again = backbone.encode(images)[-1], backbone.encode(images)[-1]
            assert torch.equal(together, again)
            for i in range(3):
                alone = backbone.encode(images[i : i + 1])[-1]
                torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-3, atol=1e-4)

    def test_building_it_again_gives_the_same_weights(self) -> None:
        """An interrupted run could not go on otherwise."""
        one, two = self.build().state_dict(), self.build().state_dict()
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)

    def test_outputs_depend_on_the_image(self) -> None:
        """All of them."""
        with torch.no_grad():
            outputs = self.build().encode(self.images(2))
        assert all(not torch.allclose(output[0], output[1]) for output in outputs)

    def test_gradients_reach_all_parameters(self) -> None:
        """A parameter without a gradient would stall distributed training: delete it, or set `requires_grad` to False."""
        backbone = self.build().train()
        outputs, cls = backbone.encode_with_cls(self.images(2))
        total = torch.stack([one.square().mean() for one in (*outputs, *([] if cls is None else [cls]))]).sum()
        torch.autograd.backward(total)
        trained = [(name, one.grad) for name, one in backbone.named_parameters() if one.requires_grad]
        missing = [name for name, gradient in trained if gradient is None or not gradient.isfinite().all()]
        assert not missing, f"no gradient reaches {', '.join(missing[:5])}"

    def test_layers_are_numbered(self) -> None:
        """`layer_of` gives 0 to `layers` - 1, for layer-wise learning rates; recipes with such rates refuse others."""
        backbone = self.build()
        found = {backbone.layer_of(name) for name, _ in backbone.named_parameters()}
        assert min(found) >= 0 and max(found) < backbone.layers, f"layers {sorted(found)} of {backbone.layers}"

    def test_stochastic_depth_is_off_in_evaluation(self) -> None:
        """`set_drop_path` changes nothing there; a network without it refuses any rate but 0."""
        backbone, images = self.build(), self.images(1)
        with torch.no_grad():
            before = backbone.encode(images)[-1]
            backbone.set_drop_path(0.0)
            assert torch.equal(backbone.encode(images)[-1], before)
            try:
                backbone.set_drop_path(0.3)
            except FitError:
                return
            assert torch.equal(backbone.encode(images)[-1], before)

    def test_it_can_be_copied(self) -> None:
        """As `run` copies a network that it is given as an object."""
        backbone, images = self.build(), self.images(1)
        other = copy.deepcopy(backbone)
        with torch.no_grad():
            assert torch.equal(other.encode(images)[-1], backbone.encode(images)[-1])

    def test_weights_are_saved_and_read(self) -> None:
        """All that changes outputs is in the state dict."""
        backbone, images = self.build(), self.images(1)
        with torch.no_grad():
            for tensor in backbone.parameters():
                tensor.mul_(1.01)
        other = self.build()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.safetensors"
            save_finetuned(path, backbone, nn.Linear(1, 1), {"task": "none"})
            state, _ = weights_in(read_checkpoint(path))
        fill(other, state, "the file")
        with torch.no_grad():
            assert torch.equal(other.encode(images)[-1], backbone.encode(images)[-1])
