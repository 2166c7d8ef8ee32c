"""Hierarchical networks of timm: sizes, timm's own numbers, layers, what is refused, and runs of the dense heads on them."""

import json
from pathlib import Path

import pytest
import timm
import torch

from croco_bench import load_backbone, run
from croco_bench.backbones.networks.timm_pyramid import TimmPyramid
from croco_bench.errors import FitError

# Convolutional, without and with a norm per stage; windows; tokens with a position table.
NAMES = ("resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "hiera_tiny_224")


def pyramid(name: str, size: tuple[int, int] = (64, 96)) -> TimmPyramid:
    backbone = load_backbone(f"random:{name}", image_size=size)
    assert isinstance(backbone, TimmPyramid)
    return backbone


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_timms_own_feature_extractor(name: str) -> None:
    backbone, images = pyramid(name, (64, 64)), torch.randn(2, 3, 64, 64)
    sized = {"img_size": (64, 64)} if name.startswith(("swin", "hiera")) else {}
    levels = (1, 2, 3, 4) if name == "resnet18" else (0, 1, 2, 3)
    # Without the norm behind the last stage, which timm's extractor leaves out.
    reference = timm.create_model(name, features_only=True, pretrained=False, out_indices=levels, **sized).eval()
    state = {key.removeprefix("model."): value for key, value in backbone.state_dict().items()}
    theirs = reference.state_dict()
    renamed = {key: state[_original(key, state)] for key in theirs}
    reference.load_state_dict(renamed)
    with torch.inference_mode():
        ours, expected = backbone.encode(images), reference(images)
    channels_last = name.startswith("swin")
    for tokens, image in zip(ours[: 3 if channels_last else 4], expected, strict=False):
        flat = image.flatten(1, 2) if channels_last else image.flatten(2).mT
        torch.testing.assert_close(tokens, flat, atol=1e-5, rtol=1e-5)


def _original(key: str, state: dict[str, torch.Tensor]) -> str:
    """The name of a weight in the whole network: the extractor puts _ for the dots of what it unwraps."""
    key = key.removeprefix("model.")
    renamed = (key, *(key.replace(f"{part}_", f"{part}.", 1) for part in ("stages", "stem", "layers")))
    return next(one for one in renamed if one in state)


@pytest.mark.parametrize("name", NAMES)
def test_the_spec_says_the_sizes_and_every_weight_learns(name: str) -> None:
    backbone = pyramid(name, (64, 64))
    spec, outputs = backbone.feature_spec(), backbone.encode(torch.randn(2, 3, 64, 64))
    assert spec.strides == (4, 8, 16, 32) and spec.is_pyramid and spec.levels == (0, 1, 2, 3)
    grids = [spec.grid_of(block) for block in range(4)]
    sizes = [(height * width, channels) for (height, width), channels in zip(grids, spec.widths, strict=True)]
    assert [tuple(one.shape[1:]) for one in outputs] == sizes
    torch.autograd.backward(torch.stack([one.square().mean() for one in outputs]).sum())
    still = [key for key, parameter in backbone.named_parameters() if parameter.grad is None]
    assert still == (["model.pos_embed"] if name.startswith("hiera") else [])  # fixed, as all position tables
    layers = {backbone.layer_of(key) for key, _ in backbone.named_parameters()}
    assert layers == set(range(backbone.layers)) and backbone.has_layers and backbone.layers > 4


def test_the_first_layers_are_the_stem_and_the_last_the_deepest_block() -> None:
    backbone = pyramid("resnet18")
    assert backbone.layer_of("model.conv1.weight") == 0
    assert backbone.layer_of("model.layer4.1.conv2.weight") == backbone.layers - 1


def test_drop_path_rises_over_all_stages_and_is_off_in_evaluation() -> None:
    backbone, images = pyramid("resnet18"), torch.randn(2, 3, 64, 96)
    before = backbone.encode(images)[-1]
    backbone.set_drop_path(0.5)
    dropped = [block.drop_path for block in backbone.model.modules() if hasattr(block, "drop_path")]
    rates = [layer.drop_prob for layer in dropped[1:]]
    assert rates == sorted(rates) and rates[-1] == 0.5
    assert torch.equal(backbone.encode(images)[-1], before)


def test_what_does_not_fit_is_refused_in_one_sentence() -> None:
    with pytest.raises(FitError, match=r"isn't a multiple of 32.*nearest that fits is 64x96"):
        pyramid("resnet18", (70, 100))
    with pytest.raises(FitError, match="vgg11 has no stochastic depth"):
        pyramid("vgg11").set_drop_path(0.1)
    with pytest.raises(FitError, match="was loaded for images of 64x96"):
        pyramid("resnet18").encode(torch.zeros(1, 3, 64, 64))


NARROW = {
    "dpt": ["head.features=8", "head.layer_widths=[8,8,8,8]"],
    "upernet": ["head.channels=8", "head.aux_channels=8"],
    "convnext": ["head.width=8"],
    "linear": [],
}
SHORT = ["train.image_size=64", "train.batch_size=2", "train.steps=2", "train.select_every=1", "optim.warmup=0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "head"),
    [("nyuv2-depth", "dpt"), ("ade20k-seg", "upernet"), ("ade20k-seg", "convnext"), ("imagenet-linear", "linear")],
)
def test_runs_train_and_are_scored_again_from_their_weights(
    task: str, head: str, tiny_data: Path, tmp_path: Path
) -> None:
    changes = [f"head={head}", *NARROW[head], *SHORT]
    changes += [] if head == "linear" else ["optim.layer_decay=0.9", "optim.drop_path=0.1"]
    where = {"recipe": "smoke", "data_root": tiny_data, "results": tmp_path, "changes": changes}
    result = run(task, "random:resnet18", **where)  # type: ignore[arg-type]
    assert result is not None and result.model.family == "timm"
    weights = next(tmp_path.rglob("weights.safetensors"))
    again = run(task, weights, name="again", eval_only=True, **where)  # type: ignore[arg-type]
    assert again is not None
    assert {k: v.value for k, v in again.metrics.items()} == {
        k: v.value for k, v in result.metrics.items() if k in again.metrics
    }


def test_pairs_are_refused_in_one_sentence(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(FitError, match="can't be given a decoder"):
        run("sintel-flow", "random:resnet18", recipe="smoke", data_root=tiny_data, results=tmp_path)


def test_the_description_in_weight_files_is_enough(tmp_path: Path) -> None:
    assert json.loads(pyramid("resnet18").metadata()["image_size"]) == [64, 96]
    assert pyramid("resnet18").metadata()["timm"] == "resnet18"
