"""The dense linear head: which blocks it reads, and that it is the linear heads of DINOv2 and DINOv3."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from croco_bench.config.load import options_of
from croco_bench.contracts import Features, FeatureSpec
from croco_bench.errors import FitError, UsageError
from croco_bench.heads.dense_linear import DenseLinear, DenseLinearOptions

PLAIN = FeatureSpec((6,) * 8, 8, 16, (32, 48))
PYRAMID = FeatureSpec((4, 6, 8, 10), 4, 32, (64, 96), strides=(4, 8, 16, 32))


def features(of: FeatureSpec, images: int = 3) -> Features:
    grids = [of.grid_of(block) for block in range(len(of.widths))]
    tokens = [torch.randn(images, h * w, width) for (h, w), width in zip(grids, of.widths, strict=True)]
    cls = torch.randn(images, of.widths[-1]) if of.has_cls else None
    return Features(tokens, of.grid, cls, tuple(grids) if of.is_pyramid else ())


def head(of: FeatureSpec = PLAIN, channels: int = 5, **options: Any) -> DenseLinear:
    return DenseLinear(of, channels, options_of(DenseLinearOptions, options, "[head]"))


@pytest.mark.parametrize(
    ("of", "layers", "taken"),
    [
        (PLAIN, "last", (7,)),
        (PLAIN, "four", (1, 3, 5, 7)),
        (PLAIN, [0, -1], (0, 7)),
        (replace(PLAIN, widths=(6,) * 12, encoder_depth=12), "four", (2, 5, 8, 11)),
        (PYRAMID, "four", (0, 1, 2, 3)),
        (PYRAMID, "last", (3,)),
    ],
)
def test_the_blocks_taken_are_said_and_read(of: FeatureSpec, layers: Any, taken: tuple[int, ...]) -> None:
    one, given = head(of, layers=layers), features(of)
    assert one.hooks == taken and one.resolved() == {"layers": list(taken)}
    for block in range(len(of.widths)):
        changed = [tokens + 1 if i == block else tokens for i, tokens in enumerate(given.tokens)]
        with torch.no_grad():
            before, after = one.eval()(given), one.eval()(replace(given, tokens=changed))
        assert torch.equal(before, after) == (block not in taken)


def reference(of: FeatureSpec, one: DenseLinear, given: Features, upsample: int) -> Tensor:
    """As the references compute: maps are resized and concatenated first, then normed and convolved."""
    maps = [given.tokens[i].transpose(1, 2).reshape(len(given.tokens[i]), -1, *of.grid) for i in one.hooks or ()]
    if given.cls is not None:
        maps.append(given.cls[:, :, None, None].expand(-1, -1, *of.grid))
    size = [side * upsample for side in of.grid]
    inputs = torch.cat([F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps], dim=1)
    output: Tensor = one.conv(one.norm(inputs))
    return output


@pytest.mark.parametrize("settings", [{"layers": "four"}, {"norm": False, "cls": True, "upsample": 4}])
def test_outputs_on_the_grid_are_those_of_resized_and_concatenated_maps(settings: dict[str, Any]) -> None:
    of = replace(PLAIN, has_cls="cls" in settings)
    one, given = head(of, **settings), features(of)
    if isinstance(one.norm, nn.BatchNorm2d):
        assert (one.norm.eps, one.norm.momentum) == (1e-5, 0.1)
        one(given)  # running statistics that aren't 0 and 1
    with torch.no_grad():
        found = one.eval().on_grid(given)
        expected = reference(of, one, given, settings.get("upsample", 1))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        whole = F.interpolate(found, size=of.image_size, mode="bilinear", align_corners=False)
        assert torch.equal(one(given), whole)


def test_first_weights_are_the_references() -> None:
    one = head(replace(PLAIN, widths=(512,) * 8), 64)
    assert float(one.conv.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
    assert one.conv.bias is not None and not one.conv.bias.any()


def test_auto_leaves_a_head_per_block_to_choose_from() -> None:
    torch.manual_seed(3)
    one = head(PLAIN, layers="auto")
    found = one.candidates()
    assert [candidate.hooks for candidate in found] == [(block,) for block in range(8)]
    torch.manual_seed(3)
    alone = head(PLAIN, layers=[2])
    assert all(torch.equal(found[2].state_dict()[name], value) for name, value in alone.state_dict().items())
    assert head(PLAIN).candidates()[0].hooks == (7,)


def test_the_blocks_follow_the_weights() -> None:
    chosen, given = head(PLAIN, layers=[2]), features(PLAIN)
    other = head(PLAIN, layers="auto")
    other.load_state_dict(chosen.state_dict())
    assert other.hooks == (2,)
    with torch.no_grad():
        assert torch.equal(other.eval()(given), chosen.eval()(given))


@pytest.mark.parametrize(
    ("of", "options", "said"),
    [
        (PLAIN, {"layers": [8]}, r"8 outputs; give indices from -8 to 7"),
        (PLAIN, {"layers": []}, r"should name some of the backbone's 8 outputs"),
        (PLAIN, {"layers": [1, -7]}, "names an output twice"),
        (replace(PLAIN, widths=(6,) * 3, encoder_depth=3), {"layers": "four"}, "needs four block outputs.*has 3"),
        (PLAIN, {"cls": True}, r"has none; take head\.cls=false"),
    ],
)
def test_what_does_not_fit_is_one_sentence(of: FeatureSpec, options: dict[str, Any], said: str) -> None:
    with pytest.raises(FitError, match=said) as caught:
        head(of, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"layers": "some"}, {"dropout": 1.0}, {"upsample": 0}])
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        head(PLAIN, **options)
