"""Objectives: masks, targets and errors against slow, independent versions; what may be looked at; check and schedule."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from croco_bench.backbones.networks import attention
from croco_bench.backbones.networks.attention import rope_tables, rotate
from croco_bench.backbones.networks.blocks import CrossBlock
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.engine.optim import Schedule
from croco_bench.errors import FitError, UsageError
from croco_bench.pretraining import recipe as recipes
from croco_bench.pretraining.build import architecture_of, build
from croco_bench.pretraining.completion import CrossViewCompletion
from croco_bench.pretraining.objective import (
    MaskedPixels,
    Objective,
    fill_in,
    hidden_patches,
    masked_error,
    patchify,
    sample_visible,
    unpatchify,
)
from croco_bench.pretraining.sources import PretrainSource
from croco_bench.pretraining.validation import Validation

SIZES = {
    "model": {"width": 32, "depth": 2, "heads": 2, "decoder_width": 32, "decoder_depth": 2, "decoder_heads": 2},
    "train": {"image_size": 32},
}
TINY = [f"{table}.{key}={value}" for table, settings in SIZES.items() for key, value in settings.items()]
KINDS = {"cross": ["objective=croco"], "cat": ["objective=croco", "decoder=cat"], "mae": ["objective=mae"]}


def tiny(kind: str, *changes: str) -> MaskedPixels:
    objective = build(recipes.load("mini", [*TINY, *KINDS[kind], *changes]), seed=0)
    assert isinstance(objective, MaskedPixels)
    return objective


def batch_for(objective: Objective, count: int = 2) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    size = objective.backbone.image_size
    visible = torch.stack([objective.sample_mask(np.random.default_rng(item))["visible"] for item in range(count)])
    views = {f"view{number}": torch.randn(count, 3, *size, generator=rng) for number in (1, 2)}
    return {**views, "visible": visible}


@pytest.mark.parametrize(("tokens", "ratio", "shown"), [(196, 0.9, 20), (196, 0.75, 49), (64, 0.9, 7), (64, 0.75, 16)])
def test_the_floor_of_the_mask(tokens: int, ratio: float, shown: int) -> None:
    visible = sample_visible(tokens, ratio, np.random.default_rng(0))
    assert len(set(visible.tolist())) == len(visible) == shown
    assert visible.tolist() == sorted(visible.tolist())
    assert torch.equal(visible, sample_visible(tokens, ratio, np.random.default_rng(0)))
    assert not torch.equal(visible, sample_visible(tokens, ratio, np.random.default_rng(1)))


def test_every_patch_is_hidden_as_often_as_any_other() -> None:
    counts = np.zeros(64)
    for seed in range(2000):
        counts[sample_visible(64, 0.75, np.random.default_rng(seed)).numpy()] += 1
    assert np.abs(counts / 2000 - 0.25).max() < 0.05


@pytest.mark.parametrize("ratio", [0.0, 0.001, 0.9999, 1.0])
def test_masks_that_hide_all_or_nothing_are_refused(ratio: float) -> None:
    if ratio == 0.9999:  # 63 of 64 hidden is a mask still
        assert len(sample_visible(64, ratio, np.random.default_rng(0))) == 1
        return
    with pytest.raises(UsageError, match="leaves both kinds"):
        sample_visible(64, ratio, np.random.default_rng(0))


def test_patches_are_row_column_channel() -> None:
    images = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    for row, column, y, x, channel in [(0, 0, 0, 1, 2), (1, 2, 1, 0, 0), (0, 1, 1, 1, 1)]:
        value = images[1, channel, 2 * row + y, 2 * column + x]
        assert patches[1, 3 * row + column, 6 * y + 3 * x + channel] == value
    assert torch.equal(unpatchify(patches, 2, (2, 3)), images)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_error_pixel_by_pixel(normalise: bool) -> None:
    rng = np.random.default_rng(0)
    images, predicted = rng.normal(size=(2, 3, 8, 8)), rng.normal(size=(2, 4, 48))
    visible = [[0], [3]]
    errors = []
    for item in range(2):
        for patch in range(4):
            if patch in visible[item]:
                continue
            top, left = 4 * (patch // 2), 4 * (patch % 2)
            values = [images[item, c, top + y, left + x] for y in range(4) for x in range(4) for c in range(3)]
            if normalise:
                mean = sum(values) / 48
                variance = sum((value - mean) ** 2 for value in values) / 47
                values = [(value - mean) / (variance + 1e-6) ** 0.5 for value in values]
            errors.append(sum((p - v) ** 2 for p, v in zip(predicted[item, patch], values, strict=True)) / 48)
    ours = masked_error(
        torch.tensor(predicted), patchify(torch.tensor(images), 4), torch.tensor(visible), normalise=normalise
    )
    assert float(ours) == pytest.approx(sum(errors) / len(errors), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_pixels_are_not_looked_at(kind: str) -> None:
    objective = tiny(kind).eval()
    batch = batch_for(objective)
    patch = objective.backbone.patch_size
    hidden = hidden_patches(batch["visible"], 16)[:, :, None]
    changed = unpatchify(patchify(batch["view1"], patch) * (1 - hidden) + 7 * hidden, patch, (4, 4))
    with torch.no_grad():
        before, after = objective.predict(batch), objective.predict({**batch, "view1": changed})
        other = objective.predict({**batch, "view2": batch["view2"].flip(0)})
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)
    assert (kind == "mae") == torch.equal(before, other)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind: str) -> None:
    objective = tiny(kind)
    objective(batch_for(objective)).backward()
    still = [name for name, weight in objective.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A key's bias moves all scores of a query alike under absolute positions; of the last cat block, view 2 isn't read.
    assert [name for name in still if "bias" not in name] == []


@pytest.mark.parametrize("kind", KINDS)
def test_visible_patches_are_kept(kind: str) -> None:
    objective = tiny(kind).eval()
    batch = batch_for(objective)
    with torch.no_grad():
        whole = patchify(objective.reconstruct(batch)["view1"], 8)
    shown = batch["visible"][:, :, None].expand(-1, -1, 192)
    assert torch.equal(whole.gather(1, shown), patchify(batch["view1"], 8).gather(1, shown))
    assert not torch.equal(whole, patchify(batch["view1"], 8))


def test_a_perfect_prediction_gives_the_image_back() -> None:
    images = torch.randn(2, 3, 16, 16)
    target = patchify(images, 8)
    mean, deviation = target.mean(-1, keepdim=True), (target.var(-1, keepdim=True) + 1e-6).sqrt()
    visible = torch.tensor([[1], [2]])
    normalized = (target - mean) / deviation
    torch.testing.assert_close(fill_in(normalized, images, visible, 8, normalise=True), images, atol=1e-5, rtol=0)
    assert torch.equal(fill_in(target, images, visible, 8, normalise=False), images)
    assert float(masked_error(normalized, target, visible, normalise=True)) < 1e-10


def made_by_formula(positions: str, normalise: bool) -> tuple[CrossViewCompletion, dict[str, Tensor]]:
    """A network and a batch without a random number, so that other code can be given the very same."""
    changes = [f"model.positions={positions}", f"croco.normalise={str(normalise).lower()}", "croco.matching_start=0"]
    objective = tiny("cross", *changes)
    assert isinstance(objective, CrossViewCompletion)
    for i, weight in enumerate(objective.parameters()):
        waves = torch.sin(0.7 * torch.arange(weight.numel()) + i).reshape(weight.shape)
        weight.data = 0.2 * waves + (1 if weight.ndim == 1 else 0)
    image = torch.arange(2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
    visible = torch.tensor([[0, 5, 9], [2, 3, 14]])
    return objective, {"view1": torch.sin(0.3 * image), "view2": torch.cos(0.11 * image), "visible": visible}


@pytest.mark.parametrize(
    ("positions", "normalise", "loss"),
    [("cosine", True, 2.1675487), ("cosine", False, 1.6636870), ("rope", True, 2.1424959), ("rope", False, 1.6386364)],
)
def test_the_loss_is_that_of_the_authors_code(positions: str, normalise: bool, loss: float) -> None:
    """The numbers came out of naver/croco's network and criterion, given this network's official file and this mask."""
    objective, batch = made_by_formula(positions, normalise)
    with torch.no_grad():
        assert float(objective(batch)) == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize(
    ("recipe", "changes", "count"),
    [
        ("croco-v1", [], 120_076_288),
        ("croco-v1", ["decoder=cat"], 111_654_912),
        ("croco-v2-vitb-small", [], 120_076_288),
        ("croco-v2-vitb-base", [], 200_269_824),
        ("croco-v2-vitl-base", [], 417_918_720),
    ],
)
def test_parameter_counts_of_the_published_networks(recipe: str, changes: list[str], count: int) -> None:
    with torch.device("meta"):
        loaded = recipes.load(recipe, changes)
        backbone = CroCo(architecture_of(loaded), loaded.train.image_size, Any, "counted")  # type: ignore[arg-type]
        objective = CrossViewCompletion(backbone, CrossViewCompletion.Options())
    assert sum(weight.numel() for weight in objective.parameters()) == count


def test_matching_start_biases_attention_to_the_own_position() -> None:
    """Equal constant queries and keys score highest where positions agree, and the biases are those constants."""
    objective = tiny("cross", "croco.matching_start=1.0")
    assert isinstance(objective, CrossViewCompletion)
    for block in objective.backbone.dec_blocks:
        assert isinstance(block, CrossBlock)
        assert set(block.cross_attn.projq.bias.tolist()) == set(block.cross_attn.projk.bias.tolist()) == {1.0}
    rope = rope_tables((4, 4), 16, 100.0)
    ones = rotate(torch.ones(1, 1, 16, 16), rope)
    assert torch.equal((ones @ ones.transpose(-2, -1))[0, 0].argmax(dim=-1), torch.arange(16))
    plain = tiny("cross", "croco.matching_start=0.0")
    biases = [weight for name, weight in plain.named_parameters() if name.endswith("projq.bias")]
    assert biases
    assert not any(bias.any() for bias in biases)


@pytest.mark.parametrize("decoder", ["cross", "cat"])
def test_attention_prefers_the_own_position(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the whole network at its start: the share of attention to view 2 that goes to a query's own position."""

    def share(bias: float) -> float:
        objective = build(recipes.load("mini", [f"decoder={decoder}", f"croco.matching_start={bias}"]), seed=0).eval()
        seen = list[tuple[Tensor, Tensor]]()

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            seen.append((query, key))
            return F.scaled_dot_product_attention(query, key, value)

        monkeypatch.setattr(attention, "attend", attend)
        with torch.no_grad():
            objective.reconstruct(batch_for(objective, 4))
        query, key = seen[-1]  # the last block's look at view 2, or at both views of which view 2 is the second half
        weights = (query[:, :, :64] @ key[:, :, -64:].transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(dim=-1)
        return float(weights.diagonal(dim1=-2, dim2=-1).mean())

    shares = [64 * share(bias) for bias in (0.0, 1.0, 3.0)]
    assert shares[0] == pytest.approx(1, abs=0.25)
    assert 2 < shares[1] < shares[2]
    assert shares[2] > 10


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (["model.heads=3"], UsageError),
        (["train.image_size=36"], FitError),
        (["croco.mask=0.5"], UsageError),
        (["croco.mask_ratio=high"], UsageError),
        (["model.positions=cosine"], UsageError),
        (["objective=mae", "train.image_size=[32,40]"], FitError),
        (["model.widht=3"], UsageError),
        (["train.shard=true", "train.ema=0.9"], UsageError),
        (["train.shard=true", "train.compile=all"], UsageError),
        (["train.schedule=3"], UsageError),
        (["data.weights=[1.0, 2.0]"], UsageError),
        (["objective=dino"], UsageError),
        (["objective=mae", "decoder=cat"], UsageError),
    ],
)
def test_wrong_settings_are_one_sentence(changes: list[str], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        build(recipes.load("mini", [*TINY, *changes]), seed=0)
    assert "\n" not in str(caught.value)


class Scenes(Objective):
    """Its error is the share of pairs whose views are of one scene."""

    backbone: Any = None

    def sample_mask(self, rng: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def reconstruct(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        raise NotImplementedError

    def extra_state_dict(self) -> dict[str, Tensor]:
        raise NotImplementedError

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return (batch["view1"] == batch["view2"]).float().mean()


class OneLargeScene:
    """Seven pairs of one scene, then one each of two others."""

    dataset, split, miniature, available = "scenes", "train", False, 9
    groups = tuple("aaaaaaabc")

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> dict[str, Any]:
        scene = torch.tensor(ord(self.groups[index]))
        return {"view1": scene, "view2": scene}

    def fingerprint(self) -> str:
        return "scenes"


def test_the_wrong_reference_view_is_of_another_scene() -> None:
    reader = OneLargeScene()
    source = PretrainSource(reader, reader, lambda sample, _: sample, lambda sample, _: sample)
    scores = Validation(source, batch_size=4, accelerator=Accelerator(cpu=True)).scores(Scenes())
    assert scores == {"held_out": 1.0}  # and none of the wrong ones is of the same scene


class OneScene(OneLargeScene):
    groups = tuple("aaaaaaaaa")


def test_no_ratio_is_made_up_where_all_pairs_are_of_one_scene() -> None:
    reader = OneScene()
    source = PretrainSource(reader, reader, lambda sample, _: sample, lambda sample, _: sample)
    scores = Validation(source, batch_size=4, accelerator=Accelerator(cpu=True)).scores(Scenes())
    assert scores == {"held_out": 1.0}


@pytest.mark.parametrize(("name", "share"), [("croco-v1", 0.5413), ("croco-v2-vitl-base", 0.5396)])
def test_published_schedules_stop_half_way(name: str, share: float) -> None:
    recipe = recipes.load(name)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    assert recipe.lr == pytest.approx(3e-4 if "vitl" in name else 1.5e-4)
    schedule = Schedule(optimizer, min_lr=0.0, steps=10 * recipe.train.schedule, warmup=10 * recipe.optim.warmup)
    assert recipe.train.epochs
    assert schedule.set(10 * recipe.train.epochs) / recipe.lr == pytest.approx(share, abs=1e-4)
