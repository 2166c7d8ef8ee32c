"""The eight regressions: what networks are shown, how they are scored, and that they run."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from croco_bench import registry, run
from croco_bench.cli import main
from croco_bench.config.load import options_of
from croco_bench.config.recipe import load_recipe, names_of
from croco_bench.contracts import Task
from croco_bench.data.datasets.taskonomy import DOMAINS
from croco_bench.errors import DataError, UsageError
from croco_bench.metrics.dense import DenseMeter
from croco_bench.metrics.meter import stack
from croco_bench.runs import runner
from croco_bench.tasks.taskonomy import TaskonomyOptions

NAMES = [f"taskonomy-{domain}" for domain in sorted(DOMAINS)]
# Neither the number of outputs nor pictures depend on the data.
NO_DATA: Any = None


def task_of(name: str, size: int = 32) -> Any:
    kind: type[Task] = registry.tasks()[name].load()
    return kind(kind.Options(), (size, size))


def test_eight_tasks_share_recipes_and_a_name() -> None:
    assert registry.members("taskonomy") == NAMES
    assert all({"mini", "paper", "smoke", "dpt-frozen"} <= set(names_of(name)) for name in NAMES)
    assert load_recipe("taskonomy-normals", "paper").optim.lr == 3e-4
    assert [task_of(name).out_channels(NO_DATA) for name in NAMES] == [2, 1, 1, 1, 1, 3, 1, 1]
    assert len(load_recipe("taskonomy-normals", "paper").protocol.deviations) >= 4
    with pytest.raises(UsageError, match=r"group of 8 tasks; name one: taskonomy-curvature"):
        run("taskonomy", "random:mini-mae", recipe="smoke")
    for name in ("train_rows", "val_rows"):
        with pytest.raises(UsageError, match=rf"{name}: .* greater than 0 \(given 0\)"):
            options_of(TaskonomyOptions, {name: 0}, "[task]")


def sample(size: int = 37) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    return {
        "image": draw.integers(0, 256, (size, size, 3), dtype=np.uint8),
        "target": draw.random((size, size, 3)).astype(np.float32),
        "valid": np.ones((size, size), dtype=np.bool_),
    }


@pytest.mark.parametrize("size", [(37, 32), (32, 64), (48, 32), (48, 36), (2, 15)])
def test_images_and_targets_are_resized_as_pillow_does(size: tuple[int, int]) -> None:
    raw, wanted = sample(size[0]), size[1]
    ready = task_of("taskonomy-normals", wanted).augment(raw, np.random.default_rng(1))
    image = np.array(Image.fromarray(raw["image"]).resize((wanted, wanted), Image.Resampling.BILINEAR))
    assert np.array_equal((ready["image"] * 255).round().byte().permute(1, 2, 0).numpy(), image)
    for channel in range(3):
        plane = Image.fromarray(raw["target"][:, :, channel])
        expected = np.array(plane.resize((wanted, wanted), Image.Resampling.NEAREST))
        assert np.array_equal(ready["target"][:, :, channel], expected)


def test_a_block_with_an_invalid_pixel_is_invalid_after_the_resize() -> None:
    raw = sample(64)
    raw["valid"][11, 21] = False  # pixel (5, 10) of 32: the block of rows 4 to 7, columns 8 to 11
    ready = task_of("taskonomy-normals", 32).augment(raw, np.random.default_rng(0))
    expected = np.ones((32, 32), dtype=np.bool_)
    expected[4:8, 8:12] = False
    assert np.array_equal(ready["valid"], expected)


def test_edges_are_softened_for_occlusion_only() -> None:
    raw = sample(32)
    raw["target"] = np.zeros((32, 32, 1), dtype=np.float32)
    raw["target"][8, 8] = 1
    plain, soft = (
        task_of(f"taskonomy-{name}").augment(raw, np.random.default_rng(0)) for name in ("depth", "occlusion")
    )
    assert plain["target"][8, 8, 0] == 1
    assert 0.1 < soft["target"][8, 8, 0] < 0.5 and soft["target"][8, 9, 0] > 0.05


def test_the_loss_counts_valid_pixels_and_channels() -> None:
    task = task_of("taskonomy-curvature", 2)
    valid = torch.tensor([[[True, False], [True, True]]])
    batch = {"target": torch.zeros(1, 2, 2, 2), "valid": valid}
    output = torch.tensor([[[[1.0, 100.0], [0.0, 0.0]], [[0.5, 100.0], [0.0, -1.5]]]], requires_grad=True)
    assert task.loss(output, batch).item() == pytest.approx((1.0 + 0.5 + 1.5) / 6)
    nothing = task.loss(output, {**batch, "valid": torch.zeros_like(valid)})
    nothing.backward()
    assert nothing.item() == 0


def test_the_meter_is_a_mean_over_images_that_have_valid_pixels() -> None:
    meter = DenseMeter()
    truth = {"target": np.zeros((2, 2, 1), dtype=np.float32), "valid": np.ones((2, 2), dtype=np.bool_)}
    one = meter.measure(np.full((2, 2, 1), 0.25), truth)
    half = meter.measure(
        np.array([[[1.0], [5.0]], [[5.0], [5.0]]]), {**truth, "valid": np.eye(2, dtype=np.bool_)[:, :] > 2}
    )
    two = meter.measure(
        np.array([[[1.0], [5.0]], [[5.0], [0.0]]]), {**truth, "valid": np.array([[True, False], [False, True]])}
    )
    assert (one["l1"], two["l1"], two["valid_pixels"]) == (0.25, 0.5, 2.0)
    assert np.isnan(half["l1"])
    assert meter.reduce(stack([one, half, two]))["l1"] == pytest.approx(0.375)


@pytest.mark.slow
def test_a_run_from_the_files_to_the_pictures(tiny_data: Path, tmp_path: Path) -> None:
    for name in ("taskonomy-curvature", "taskonomy-normals"):
        result = run(name, "random:mini-mae", recipe="smoke", data_root=tiny_data, results=tmp_path, device="cpu")
        assert result is not None
        assert 0 < result.metrics["l1"].value < 1
        assert result.dataset.images == 6
        assert (tmp_path / "smoke" / name / "random-mini-mae" / "seed0" / "sheet.png").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_pictures_show_every_domain(name: str) -> None:
    task = task_of(name)
    raw = {**sample(32), "target": sample(32)["target"][:, :, : task.out_channels(NO_DATA)]}
    raw["valid"][:16] = False
    ready = task.augment(raw, np.random.default_rng(0))
    panels = task.panels(NO_DATA, ready, ready["target"] + 0.1)
    assert [picture.shape for picture in panels.values()] == [(32, 32, 3)] * 4
    assert all(picture.dtype == np.uint8 for picture in panels.values())
    truth = panels["ground truth"]
    assert len(np.unique(truth[:16].reshape(-1, 3), axis=0)) == 1 < len(np.unique(truth[16:].reshape(-1, 3), axis=0))


def command(monkeypatch: pytest.MonkeyPatch, failing: Mapping[str, Exception]) -> tuple[list[str], int]:
    """Tasks that `croco-bench run taskonomy` ran, and its exit code; nothing is trained."""
    ran: list[str] = []

    def fake(task: str, *_: Any, **__: Any) -> None:
        ran.append(task)
        if task in failing:
            raise failing[task]

    monkeypatch.setattr(runner, "run", fake)
    monkeypatch.setattr(sys, "argv", ["croco-bench", "run", "taskonomy", "--ckpt", "random:mini-mae"])
    try:
        main.main()
    except SystemExit as leave:
        return ran, int(leave.code or 0)
    return ran, 0


def test_a_group_runs_on_after_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert command(monkeypatch, {}) == (NAMES, 0)
    broken = {NAMES[1]: DataError("no depth"), NAMES[2]: DataError("no files"), NAMES[5]: DataError("no files")}
    assert command(monkeypatch, broken) == (NAMES, 1)
    told = "3 of 8 tasks failed: taskonomy-depth: no depth; taskonomy-edges, taskonomy-normals: no files"
    assert told in capsys.readouterr().err


def test_a_group_stops_where_going_on_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert command(monkeypatch, {NAMES[0]: UsageError("no such recipe")}) == (NAMES[:1], 2)
    monkeypatch.setenv("RANK", "1")
    assert command(monkeypatch, {NAMES[1]: DataError("no depth")}) == (NAMES[:2], 1)
