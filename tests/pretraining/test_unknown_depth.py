"""Unknown depth in the multimae objective: neither standardised nor learned."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from croco_bench.data.transforms.joint_crop import JointCrop, standardised
from croco_bench.pretraining import recipe as recipes
from croco_bench.pretraining.build import build
from croco_bench.pretraining.multimodal import MultimodalAutoencoder
from croco_bench.pretraining.sources import open_source


def sample(unknown: slice) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    depth = rng.integers(20_000, 40_000, (64, 64)).astype(np.uint16)
    depth[:, unknown] = 0
    classes = np.zeros((64, 64), np.uint8)
    return {"image": rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), "depth": depth, "semseg": classes}


def crop(unknown: int, of: slice) -> dict[str, Tensor]:
    whole = JointCrop(64, (1, 1), (1, 1), 0.0, unknown=unknown)
    return whole(sample(of), np.random.default_rng(0))


def test_unknown_pixels_leave_the_others_as_they_would_be_without_them() -> None:
    cut = crop(0, slice(0, 24))
    assert torch.equal(cut["depth_known"][0], torch.arange(64)[None].expand(64, -1) >= 24)
    assert not cut["depth"][0, :, :24].any()
    alone = standardised(sample(slice(0, 24))["depth"][:, 24:])
    assert np.allclose(cut["depth"][0, :, 24:], alone)
    assert abs(float(crop(-1, slice(0, 24))["depth"][0, :, :24].mean())) > 1  # as if it were a surface


def test_files_without_unknown_depth_give_what_they_gave() -> None:
    before, after = crop(-1, slice(0, 0)), crop(0, slice(0, 0))
    assert torch.equal(before["depth"], after["depth"]) and after["depth_known"].all()


def test_a_map_of_nothing_is_zero() -> None:
    cut = crop(0, slice(0, 64))
    assert not cut["depth"].any() and not cut["depth_known"].any()


@pytest.mark.parametrize("columns", [0, 20, 64])
def test_the_loss_by_hand(columns: int) -> None:
    model = build(recipes.load("mini", ["objective=multimae"]), seed=0)
    assert isinstance(model, MultimodalAutoencoder)
    cut = crop(0, slice(0, columns))
    visible = model.sample_mask(np.random.default_rng(1))["visible"]
    batch = {name: tensor[None] for name, tensor in {**cut, "visible": visible}.items()}
    with torch.no_grad():
        predicted = model.predict(batch)["depth"]
        found = model.losses(batch)["depth"]
    errors = []
    for patch in set(range(64, 128)) - set(visible.tolist()):
        row, column = divmod(patch - 64, 8)
        where = np.s_[0, 0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        known = batch["depth_known"][where]
        if known.any():
            errors.append(float((predicted[0, patch - 64, 0] - batch["depth"][where]).abs()[known].mean()))
    assert float(found) == pytest.approx(np.mean(errors) if errors else 0.0, rel=1e-5)


def test_the_setting_reaches_the_reader(tiny_data: Path) -> None:
    for value in (0, -1):
        recipe = recipes.load("mini", ["objective=multimae", f"multimae.unknown_depth={value}", "data.holdout=0"])
        source = open_source(recipe.data, build(recipe, 0), (64, 64), tiny_data)
        item = source.train_transform(source.train[0], np.random.default_rng(0))
        assert ("depth_known" in item) is (value == 0)
