"""Matches by tokens and by attention, true matches, and a whole run without training."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from croco_bench import load_backbone, run
from croco_bench.config.recipe import load_task_recipe, names_of
from croco_bench.errors import UsageError
from croco_bench.tasks.correspondence.classical import METHODS
from croco_bench.tasks.correspondence.matching import Candidates, by_attention, lengths, tokens_at
from croco_bench.tasks.correspondence.pictures import looked_for, most_central, with_point
from croco_bench.tasks.correspondence.read_outs import Matcher, PairFeatures, ReadOut
from croco_bench.tasks.correspondence.truth import grid_points, keypoints, reproject, sides_px, view_of
from croco_bench.types import Array

CPU = torch.device("cpu")
GRID = (6, 8)


def random_tokens(views: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2 * views, GRID[0] * GRID[1], 16, generator=generator).double()


def test_matches_are_the_nearest_of_the_enlarged_features() -> None:
    """As the cosine similarity with a map of features that torch enlarges; searched in two steps, most stay the same."""
    one, two = random_tokens(2).chunk(2)
    points, cells = torch.rand(2, 30, 2, generator=torch.Generator().manual_seed(1)).double(), (48, 64)
    queries = tokens_at(one, GRID, points)
    sampled = F.grid_sample(
        one.mT.reshape(2, 16, *GRID), (2 * points - 1)[:, None], padding_mode="border", align_corners=False
    )
    torch.testing.assert_close(queries, sampled[:, :, 0].mT)
    large = F.interpolate(two.mT.reshape(2, 16, *GRID), size=cells, mode="bilinear", align_corners=False)
    positions = [(torch.arange(side).double() + 0.5) / side for side in cells]
    torch.testing.assert_close(lengths(two, GRID, *positions), large.norm(dim=1))
    similar = torch.einsum("bpc,bcyx->bpyx", F.normalize(queries, dim=2), F.normalize(large, dim=1)).flatten(2)
    for step, at_least in ((1, 1.0), (4, 0.8)):
        x, y = (Candidates(cells, step, CPU).nearest(queries, two, GRID) * torch.tensor((64, 48))).long().unbind(dim=-1)
        # Values are compared, as all positions outside the outermost tokens are equally similar.
        reached = similar.gather(2, (y * 64 + x)[..., None])[..., 0]
        assert (reached > similar.amax(dim=2) - 1e-6).float().mean() >= at_least


def test_attention_matches_its_center_of_mass() -> None:
    attention = torch.zeros(1, 48, 48)
    attention[:, :, 2 * 8 + 3], attention[:, :, 2 * 8 + 4] = 0.6, 0.4
    found = by_attention(attention, GRID, torch.rand(1, 5, 2))
    torch.testing.assert_close(found, torch.tensor([(3.5 + 0.4) / 8, 2.5 / 6]).expand(1, 5, 2))
    corner = torch.zeros(1, 48, 48)
    corner[:, :, 0] = 1
    torch.testing.assert_close(by_attention(corner, GRID, torch.rand(1, 1, 2))[0, 0], torch.tensor([0.5 / 8, 0.5 / 6]))


def test_readings_follow_from_the_features() -> None:
    spec = load_backbone("random:mini-croco", image_size=64).feature_spec()
    tokens = [torch.randn(2, 64, 128) for _ in range(4)]
    alone = PairFeatures(spec, tokens)
    assert {read_out.kind for read_out in alone.read_outs()} == {"encoder"} and len(alone.read_outs()) == 4
    means = {"encoder": [block.mean(dim=0) for block in tokens]}
    maps = [torch.eye(64)[None], torch.eye(64).roll(8, 1)[None]]
    both = PairFeatures(spec, tokens, tokens[:2], maps, means)
    kinds = {"encoder": 4, "encoder-centered": 4, "decoder": 2, "attention": 3}
    assert {kind: sum(r.kind == kind for r in both.read_outs()) for kind in kinds} == kinds
    assert str(both.read_outs()[-1]) == "attention mean"
    first, second = both.tokens(ReadOut("encoder-centered", 1))
    torch.testing.assert_close(first, -second, rtol=0, atol=1e-6)
    assert first.dtype == both.map(ReadOut("attention", -1)).dtype == torch.float64


def test_matches_that_are_not_mutual_are_no_answer() -> None:
    spec = load_backbone("random:mini-croco", image_size=64).feature_spec()
    one = torch.randn(1, 64, 16, generator=torch.Generator().manual_seed(0))
    features = PairFeatures(spec, [torch.cat([one, one[:, torch.arange(64) // 8 * 8]])])
    points = torch.tensor([[[0.5 / 8, 2.5 / 8], [5.5 / 8, 2.5 / 8]]]).double()
    (all_of_them,) = Matcher(Candidates((64, 64), 2, CPU)).matches(features, points)
    (mutual,) = Matcher(Candidates((64, 64), 2, CPU), mutual=(0.1, 0.1)).matches(features, points)
    assert torch.isfinite(all_of_them).all()
    assert torch.isfinite(mutual[0, 0]).all() and torch.isnan(mutual[0, 1]).all()


def test_rounding_does_not_choose_among_tokens_that_are_much_alike() -> None:
    """Tokens of cosine similarities above 0.9999; three times as long, they are rounded otherwise and match as before."""
    spec = load_backbone("random:mini-croco", image_size=64).feature_spec()
    generator = torch.Generator().manual_seed(0)
    tokens = 1 + 0.003 * torch.randn(8, 64, 32, generator=generator)
    points = torch.rand(4, 50, 2, generator=generator).double()
    matcher = Matcher(Candidates((256, 256), 4, CPU))
    (found,), (again,) = (matcher.matches(PairFeatures(spec, [some]), points) for some in (tokens, 3 * tokens))
    torch.testing.assert_close(found, again, rtol=0, atol=0)


@pytest.mark.parametrize("size", [(64, 64), (48, 64), (64, 48)])
def test_points_lie_evenly_in_the_image(size: tuple[int, int]) -> None:
    points, (height, width) = grid_points(size, 8), sides_px(size)
    assert len(points) == (width // 32) * (height // 32) and min(height, width) == 256
    np.testing.assert_allclose(points.mean(axis=0), (width / 2, height / 2))
    assert points.min() > 0 and (points < (width, height)).all()


def a_view(image: Array, depth_m: Array) -> tuple[Array, Array, Array]:
    return image, depth_m, np.array([[60.0, 0, 39.5], [0, 60, 29.5], [0, 0, 1]])


def test_true_matches_of_a_wall_are_a_shift() -> None:
    """Seen from 0.2 m to the right, a wall at 2 m moves by f 0.2 / 2 to the left; what leaves the image has no match."""
    image = np.zeros((60, 80, 3), np.uint8)
    wall = np.full((60, 80), 2.0, np.float32)
    view = view_of(*a_view(image, wall), (60, 60))
    relative = np.eye(4)
    relative[0, 3] = 0.2
    points = grid_points((60, 60), 8)
    truth, surface = reproject(points, view, view, relative)
    shift = 60 * 256 / 60 * 0.2 / 2
    seen = np.isfinite(truth).all(axis=1)
    np.testing.assert_allclose(truth[seen], points[seen] - (shift, 0), atol=1e-9)
    assert (seen == (points[:, 0] > shift)).all() and np.allclose(surface[:, 2], 2)


def test_hidden_points_and_unknown_depth_have_no_match() -> None:
    image, wall = np.zeros((60, 80, 3), np.uint8), np.full((60, 80), 2.0, np.float32)
    screen = wall.copy()
    screen[:, :40] = 1.0
    holes = wall.copy()
    holes[30:] = np.nan
    points = grid_points((32, 32), 8)
    truth, _ = reproject(
        points, view_of(*a_view(image, holes), (32, 32)), view_of(*a_view(image, screen), (32, 32)), np.eye(4)
    )
    assert (np.isfinite(truth[:, 0]) == ((points[:, 0] > 128) & (points[:, 1] < 128))).all()


def test_keypoints_are_padded() -> None:
    flat = np.zeros((64, 64, 3), np.uint8)
    assert np.isnan(keypoints(flat, 5)).all()
    cv2.circle(flat, (40, 20), 8, (255, 255, 255), -1)
    found = keypoints(flat, 50)
    assert found.shape == (50, 2) and 0 < np.isfinite(found[:, 0]).sum() < 50


def test_the_most_central_visible_point_is_shown_and_nothing_where_there_is_none() -> None:
    points, middle = grid_points((64, 64), 8), np.array([128.0, 128.0])
    truth = points.copy()
    assert np.abs(points[most_central(points, truth, middle)] - middle).max() <= 16
    truth[:] = np.nan
    truth[3] = 0.0
    assert most_central(points, truth, middle) == 3
    nowhere = np.full_like(points, np.nan)
    image = torch.full((3, 64, 64), 0.5)
    sample = {"image1": image, "image2": image, "points": nowhere, "truth": nowhere}
    point = most_central(nowhere, nowhere, middle)
    assert len(np.unique(with_point(sample, point))) == 1
    assert looked_for(sample, np.zeros((4, 4)), point, nowhere[0]).shape == (256, 256, 3)


def test_classical_methods_follow_a_shift() -> None:
    rng = np.random.default_rng(0)
    wide = cv2.GaussianBlur(rng.integers(0, 255, (256, 300), dtype=np.uint8), (0, 0), 3)
    wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX)
    one, two = np.ascontiguousarray(wide[:, 20:276]), np.ascontiguousarray(wide[:, 12:268])
    points = grid_points((64, 64), 4)
    assert (METHODS["zero"](one, two, points) == points).all()
    for name in ("sift", "dis"):
        away = np.linalg.norm(METHODS[name](one, two, points) - points - (8, 0), axis=1)
        assert np.median(away) < 3, name


def test_a_run_reads_all_blocks_and_trains_nothing(tiny_data: Path, tmp_path: Path) -> None:
    result = run("correspondence", "mini-croco", recipe="smoke", data_root=tiny_data, results=tmp_path, device="cpu")
    assert result is not None and result.timing.images_per_s == 0 and result.cost is not None
    assert result.cost.trained_parameters == 0 and result.selected is not None and result.selected.step == 0
    chosen = result.settings["resolved"]["task"]["read_outs"]
    assert set(chosen) == {"headline", "encoder", "encoder-centered", "decoder", "decoder-centered", "attention"}
    assert {"recall10", "attention/recall10", "decoder-centered/recall10"} <= set(result.metrics)
    folder = tmp_path / "smoke/correspondence/mini-croco/seed0"
    assert (folder / "sheet.png").is_file() and not (folder / "weights.safetensors").exists()
    assert len((folder / "breakdown.csv").read_text().splitlines()) == 1 + 4 + 4 + 3 + 3 + 4
    json.dumps(result.settings)
    assert str(result.model.pretraining) == "croco of 1,024,000 images"


def test_scannet_is_scored_beside_with_errors_in_metres(tiny_data: Path, tmp_path: Path) -> None:
    result = run(
        "correspondence",
        "mini-mae",
        recipe="smoke",
        data_root=tiny_data,
        results=tmp_path,
        device="cpu",
        changes=['task.also=["scannet1500"]'],
    )
    assert result is not None
    assert {"scannet1500/recall10", "scannet1500/match_error_m", "scannet1500/encoder/auc20"} <= set(result.metrics)
    assert result.metrics["scannet1500/match_error_m"].unit == "m"


def test_nothing_is_scored_in_metres_where_the_scale_is_unknown(tiny_data: Path, tmp_path: Path) -> None:
    result = run(
        "correspondence",
        "classical:dis",
        recipe="smoke",
        data_root=tiny_data,
        results=tmp_path,
        device="cpu",
        changes=['task.also=["megadepth1500"]'],
    )
    assert result is not None
    found = {name.removeprefix("megadepth1500/") for name in result.metrics if name.startswith("megadepth1500/")}
    assert {"recall10", "match_error_px", "auc20"} <= found
    assert not {name for name in found if name.endswith(("_m", "cm"))}


def test_methods_without_learning_are_scored_on_the_same_points(tiny_data: Path, tmp_path: Path) -> None:
    result = run(
        "correspondence", "classical:zero", recipe="smoke", data_root=tiny_data, results=tmp_path, device="cpu"
    )
    assert result is not None and result.classical
    assert result.metrics["recall10_moved"].value == 0 and "encoder/recall10" not in result.metrics


def test_there_is_nothing_to_score_again(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trains nothing"):
        run("correspondence", "mini-mae", recipe="smoke", data_root=tiny_data, results=tmp_path, eval_only=True)
    with pytest.raises(UsageError, match="nothing can be frozen; leave frozen=True out"):
        run("correspondence", "mini-mae", recipe="smoke", data_root=tiny_data, results=tmp_path, frozen=True)


def test_recipes_are_without_head_and_optimizer() -> None:
    for name in names_of("correspondence"):
        recipe = load_task_recipe("correspondence", name)
        assert not {"head", "optim", "probe", "decoder"} & set(recipe.model_dump())
