"""Optical flow on Sintel: units, passes, loss, splits, classical methods, submissions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from croco_bench.config.load import options_of
from croco_bench.config.recipe import load_recipe, names_of
from croco_bench.contracts import Evaluation, TaskData
from croco_bench.data.datasets.matching.sintel import BothPasses
from croco_bench.data.formats.flow import read_flo, read_kitti_flow
from croco_bench.data.mixtures.flow import open_mixture
from croco_bench.engine.dataloading import _collate_evaluation
from croco_bench.errors import BenchError, DataError, UsageError
from croco_bench.metrics.meter import stack
from croco_bench.runs.runner import run
from croco_bench.tasks.sintel_flow.pictures import flow_colors
from croco_bench.tasks.sintel_flow.submission import SERVERS, SubmissionMeter
from croco_bench.tasks.sintel_flow.task import HELD_OUT, SintelFlow, SintelFlowOptions
from croco_bench.types import Sample

SIZE = (32, 32)
CHAIRS = {"flyingchairs": 1.0}
# Neither the number of outputs nor pictures depend on the data.
NO_DATA: Any = None


def task_of(image_size: tuple[int, int] = SIZE, **options: Any) -> SintelFlow:
    return SintelFlow(options_of(SintelFlowOptions, {"train_on": {"sintel": 2.0}, **options}, "[task]"), image_size)


class Oracle(nn.Module):
    """Reads flow off the first image, whose red and green are what `tell` made of it; trusts itself more on the left."""

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        flow = (one[:, :2] - 0.5) * 40
        confidence = torch.linspace(-3, 3, one.shape[-1]).expand(len(one), 1, *one.shape[-2:])
        return torch.cat([flow, confidence], dim=1)


class Told:
    """Pairs in both passes with a flow that the first image tells in its colours: clean truly, final 4 px too far right."""

    dataset, split, miniature = "sintel", "train", True

    def __init__(self, count: int = 3, height: int = 40, width: int = 56) -> None:
        self.available, self.height, self.width = count, height, width

    def __len__(self) -> int:
        return self.available

    @property
    def groups(self) -> Sequence[str]:
        return ["one"] * self.available

    def __getitem__(self, index: int) -> Sample:
        ramp = np.linspace(0, 1, self.width)[None].repeat(self.height, 0)
        image = np.stack([100 + 50 * ramp, 120 + 10 * index + 0 * ramp, 0 * ramp], axis=2).round().astype(np.uint8)
        flow = ((image[:, :, :2] / 255 - 0.5) * 40).astype(np.float32)
        further = image + np.array([26, 0, 0], np.uint8)  # 26 / 255 * 40 = 4.078 px
        valid = np.ones(ramp.shape, np.bool_)
        valid[0] = False
        passes = {"clean": (image, image), "final": (further, further)}
        return {"passes": passes, "flow_px": flow, "valid": valid, "id": f"one/{index}"}

    def fingerprint(self) -> str:
        return "told"


def batch_of(evaluation: Evaluation, indices: Sequence[int]) -> tuple[dict[str, Any], list[Sample]]:
    prepared = [evaluation.prepare(evaluation.reader[index]) for index in indices]
    batch = _collate_evaluation([{**sample, "index": index} for index, sample in enumerate(prepared)])
    assert isinstance(batch, dict)
    return batch, prepared


def score(evaluation: Evaluation, network: nn.Module) -> dict[str, float]:
    batch, prepared = batch_of(evaluation, range(len(evaluation.reader)))
    with torch.inference_mode():
        found = evaluation.predict(network, batch)
    return evaluation.meter.reduce(
        stack([evaluation.meter.measure(*pair) for pair in zip(found, prepared, strict=True)])
    )


def test_each_pass_is_scored_by_its_own_images() -> None:
    clean, final = task_of(overlap=0.5).evaluations(TaskData(Told()))
    assert (clean.prefix, final.prefix) == ("clean", "final")
    assert score(clean, Oracle())["epe"] == pytest.approx(0, abs=1e-3)
    assert score(final, Oracle())["epe"] == pytest.approx(26 / 255 * 40, abs=1e-3)


@pytest.mark.parametrize("size", [(40, 56), (20, 56), (24, 30), (32, 32)])
def test_predictions_have_the_images_size_and_units(size: tuple[int, int]) -> None:
    """Images that a window doesn't fit in are enlarged; the oracle then reads the flow of the small image."""
    evaluation = task_of(overlap=0.5).evaluations(TaskData(Told(1, *size)))[0]
    batch, (sample,) = batch_of(evaluation, [0])
    with torch.inference_mode():
        (flow,) = evaluation.predict(Oracle(), batch)
    assert flow.shape == (*size, 2)
    factor = max(32 / size[0], 32 / size[1], 1.0)
    ratio = np.array([size[1] / round(size[1] * factor), size[0] / round(size[0] * factor)])
    np.testing.assert_allclose(flow, sample["flow_px"] * ratio, atol=0.25)


def test_batches_of_other_sizes_are_one_sentence() -> None:
    evaluation = task_of().evaluations(TaskData(Told(1)))[0]
    one, two = (evaluation.prepare(Told(1, *size)[0]) for size in ((40, 56), (40, 60)))
    error = _collate_evaluation([one, two])
    assert isinstance(error, DataError) and "differ in size" in str(error)


def test_loss_is_that_of_the_option_and_leaves_out_what_is_too_long() -> None:
    batch = {
        "flow_px": torch.tensor([[[[1.0, 500.0, 3.0]], [[0.0, 0.0, 4.0]]]]),
        "valid": torch.tensor([[[True, True, False]]]),
    }
    output = torch.zeros(1, 3, 1, 3)
    assert task_of(max_flow=400).loss(output, batch).item() == pytest.approx(1 / 2.125 + np.log(2.125))
    assert task_of(loss="free", max_flow=400).loss(output, batch).item() == pytest.approx(1)
    assert task_of(loss="l1").loss(output[:, :2], batch).item() == pytest.approx(501 / 4)
    assert (task_of().out_channels(NO_DATA), task_of(loss="l1").out_channels(NO_DATA)) == (3, 2)


def test_training_samples_batch_and_are_a_function_of_the_generator(tiny_data: Path) -> None:
    task = task_of(train_on=CHAIRS)
    reader = task.open(tiny_data / "sintel", seed=0).train
    samples = [task.augment(reader[index], np.random.default_rng(index)) for index in range(4)]
    batch = default_collate(samples)
    shapes = {key: (tuple(value.shape), value.dtype) for key, value in batch.items()}
    assert shapes == {
        **dict.fromkeys(("image1", "image2"), ((4, 3, *SIZE), torch.float32)),
        **{"flow_px": ((4, 2, *SIZE), torch.float32), "valid": ((4, *SIZE), torch.bool)},
    }
    again = task.augment(reader[0], np.random.default_rng(0))
    assert all(torch.equal(again[key], samples[0][key]) for key in again)
    assert torch.isfinite(task.loss(torch.randn(4, 3, *SIZE), batch))


def test_crops_alone_leave_colors_and_vectors(tiny_data: Path) -> None:
    task = task_of(train_on=CHAIRS, augment="crop")
    sample = task.open(tiny_data / "sintel", seed=0).train[0]
    found = task.augment(sample, np.random.default_rng(0))
    image, flow = (found["image1"] * 255).byte().permute(1, 2, 0).numpy(), found["flow_px"].permute(1, 2, 0).numpy()
    rooms = [sample["valid"].shape[axis] - SIZE[axis] + 1 for axis in (0, 1)]
    crops = [
        (slice(top, top + SIZE[0]), slice(left, left + SIZE[1])) for top in range(rooms[0]) for left in range(rooms[1])
    ]
    assert any(
        np.array_equal(image, sample["image1"][crop]) and np.array_equal(flow, sample["flow_px"][crop])
        for crop in crops
    )


def test_nothing_that_is_reported_or_selects_is_trained_on(tiny_data: Path) -> None:
    task = task_of()
    splits = task.open(tiny_data / "sintel", seed=0)
    scenes = {name: set(getattr(splits, name).groups) for name in ("train", "select", "test")}
    assert {group.partition("/")[2] for group in scenes["train"]} == {"alley_1"}
    assert scenes["select"] == {"temple_2", "temple_3"} and scenes["test"] == {"market_2"}
    # Two pairs of one scene in two passes, each twice; all select in both passes; each reported pair counts once.
    assert (len(splits.train), len(splits.select), len(splits.test)) == (8, 8, 2)
    swapped = task_of(report="subval").open(tiny_data / "sintel", seed=0)
    assert set(swapped.test.groups) == scenes["select"] and set(swapped.select.groups) == scenes["test"]
    assert len(set(HELD_OUT)) == 5 and not {*HELD_OUT} & {"temple_2", "temple_3"}


def test_without_sintel_all_of_it_is_reported_and_chairs_select(tiny_data: Path) -> None:
    task = task_of(train_on=CHAIRS)
    splits = task.open(tiny_data / "sintel", seed=0)
    assert (splits.train.dataset, splits.select.dataset, splits.select.split) == ("flyingchairs", "flyingchairs", "val")
    assert set(splits.test.groups) == {"alley_1", "market_2", "temple_2", "temple_3"} and splits.test.available == 8
    held_out = task_of(train_on=CHAIRS, report="held-out").open(tiny_data / "sintel", seed=0)
    assert set(held_out.test.groups) == {"market_2"} and len(held_out.select) == len(splits.select)
    evaluation = task.selection(splits.select)
    assert evaluation.prefix == "" and task.selection_metric in {metric.name for metric in evaluation.meter.metrics}


def test_without_a_part_to_select_by_one_is_carved_from_the_first(
    tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("croco_bench.data.mixtures.flow.SELECTION", {})
    train, select = open_mixture(tiny_data, CHAIRS, sintel_scenes=[], seed=0)
    assert select is not None and len(train) + len(select) == 12
    assert not {group.partition("/")[2] for group in train.groups} & set(select.groups)


def test_a_missing_dataset_is_a_sentence_that_leaves_it_out(tiny_data: Path) -> None:
    task = task_of(train_on={"sintel": 40.0, "flyingthings": 4.0, "flyingchairs": 4.0})
    words = r"flyingthings, which .* leave it out with --set 'task\.train_on=\{sintel = 40, flyingchairs = 4\}'"
    with pytest.raises(DataError, match=words) as caught:
        task.open(tiny_data / "sintel", seed=0)
    assert "\n" not in str(caught.value)


def test_scenes_that_are_missing_are_a_sentence(tiny_data: Path, tmp_path: Path) -> None:
    for kind in ("clean", "final", "flow", "occlusions", "invalid"):
        (tmp_path / "sintel" / "training" / kind).mkdir(parents=True)
        for scene in ("temple_2", "temple_3"):
            (tmp_path / "sintel" / "training" / kind / scene).symlink_to(
                tiny_data / "sintel" / "training" / kind / scene
            )
    with pytest.raises(DataError, match="has none of the scenes market_2, shaman_2"):
        task_of().open(tmp_path / "sintel", seed=0)
    with pytest.raises(DataError, match="holds no scene to train on"):
        task_of(report="subval").open(tmp_path / "sintel", seed=0)


def test_both_passes_are_one_reader(tiny_data: Path) -> None:
    reader = BothPasses(tiny_data / "sintel", "train", ["market_2"])
    sample = reader[1]
    clean, final = sample["passes"]["clean"], sample["passes"]["final"]
    assert not np.array_equal(clean[0], final[0]) and {"flow_px", "valid", "occluded", "invalid", "id"} <= set(sample)
    assert np.array_equal(clean[0], reader[0]["passes"]["clean"][1])
    assert (
        reader.split == "train (market_2)"
        and reader.fingerprint() != BothPasses(tiny_data / "sintel", "train").fingerprint()
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlap": 1.0}, r"overlap: .* less than or equal to 0\.98 \(given 1\.0\)"),
        ({"select_overlap": -0.1}, r"select_overlap: .* greater than or equal to 0 \(given -0\.1\)"),
        ({"beta": 0.0}, r"beta: .* greater than 0 \(given 0\.0\)"),
        ({"beta": 50.0}, r"beta: .* less than or equal to 40 \(given 50\.0\)"),
        ({"gamma": -5.0}, r"gamma: .* greater than 0 \(given -5\.0\)"),
        ({"windows": 0}, r"windows: .* greater than 0 \(given 0\)"),
        ({"max_flow": 0.0}, r"max_flow: .* greater than 0 \(given 0\.0\)"),
        ({"train_on": {}}, r"task\.train_on names no dataset"),
        ({"train_on": {"flyingchair": 1.0}}, "did you mean flyingchairs"),
        ({"train_on": {"sintel": 0.0}}, "leave sintel out instead"),
        ({"report": "all"}, "would score scenes that are trained on"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        task_of(**options)
    assert "\n" not in str(caught.value)


def test_classical_methods(tiny_data: Path) -> None:
    """A photograph-like texture that moves by (3, -2): the two of OpenCV see it, zero misses by its length."""
    texture = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (80, 100, 3)), (0, 0), 2)
    texture = ((texture - texture.min()) / np.ptp(texture) * 255).astype(np.uint8)
    one, two = texture[10:70, 10:90], texture[12:72, 7:87]
    batch = {
        name: torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None] / 255
        for name, image in (("image1", one), ("image2", two))
    }
    errors = {}
    methods = task_of().classical_methods()
    for name, method in methods.items():
        (flow,) = method.predict(batch)
        assert flow.shape == (60, 80, 2) and np.isfinite(flow).all()
        errors[name] = float(np.median(np.linalg.norm(flow - [3, -2], axis=2)))
    assert errors["zero"] == pytest.approx(np.hypot(3, 2))
    assert errors["dis"] < 0.5 and errors["farneback"] < 0.7
    evaluation = task_of().evaluations(TaskData(BothPasses(tiny_data / "sintel", "train")))[0]
    assert "window" in evaluation.citation and "window" not in methods["dis"].adapt(evaluation).citation


def test_panels_show_flow_in_the_same_colors(tiny_data: Path) -> None:
    evaluation = task_of().evaluations(TaskData(BothPasses(tiny_data / "sintel", "train")))[0]
    _, (sample,) = batch_of(evaluation, [0])
    panels = task_of().panels(NO_DATA, sample, sample["flow_px"])
    assert list(panels)[:2] == ["first image", "second image"] and len(panels) == 5
    assert all(panel.shape == (40, 56, 3) and panel.dtype == np.uint8 for panel in panels.values())
    _, _, guess, truth, _ = panels.values()
    same = (guess == truth).all(axis=2)
    assert same[:28].all() and not same[-5:, -5:].all()  # but for the legend


def test_colors_are_directions_and_lengths() -> None:
    flow = np.zeros((1, 5, 2), np.float32)
    flow[0, :, 0] = [5, 50, -5, 0, 2.5]
    right, beyond, left, still, half = flow_colors([flow], 5)[0][0].astype(int)
    assert (right == beyond).all() and (still == 255).all()
    assert right[0] > 200 > right[2] + 100  # red to the right
    assert left[0] < 100 < left[2]  # blue or green to the left
    assert right.sum() < half.sum() < still.sum()


def test_submissions_are_written_as_the_servers_want_them(tiny_data: Path, tmp_path: Path) -> None:
    task = task_of(submissions={"sintel": str(tmp_path / "out")})
    clean, final, submission = task.evaluations(task.open_test(tiny_data / "sintel"))
    assert (clean.prefix, final.prefix, submission.prefix) == ("clean", "final", "submission-sintel")
    assert score(submission, Oracle()) == {"written": len(submission.reader)}
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.flo"))
    scene = written[0].split("/")[1]
    assert {f"clean/{scene}/frame_0001.flo", f"final/{scene}/frame_0002.flo"} <= set(written)
    assert len(written) == len(submission.reader)
    flow, valid = read_flo(tmp_path / "out" / written[0])
    assert flow.shape == (40, 56, 2) and valid.all()
    for name, path in (("kitti2012", "000007_10.png"), ("kitti2015", "flow/000007_10.png")):
        vectors = np.full((4, 5, 2), [1.25, -900], np.float32)
        SubmissionMeter(SERVERS[name], tmp_path / name).measure(vectors, {"id": np.array("000007")})
        flow, valid = read_kitti_flow(tmp_path / name / path)
        assert valid.all() and flow[0, 0].tolist() == [1.25, -511]


def test_submissions_that_cannot_be_are_a_sentence(tiny_data: Path) -> None:
    with pytest.raises(UsageError, match="no benchmark that takes submissions of flow is called 'kitti'"):
        task_of(submissions={"kitti": "x"}).open_test(tiny_data / "sintel")
    with pytest.raises(DataError, match=r"of which task\.submissions wants predictions"):
        task_of(submissions={"kitti2015": "x"}).open_test(tiny_data / "sintel")


def test_every_recipe_fits_the_task() -> None:
    assert {"mini", "paper", "smoke", "frozen", "frozen-encoder"} <= set(names_of("sintel-flow"))
    for name in names_of("sintel-flow"):
        recipe = load_recipe("sintel-flow", name)
        task = SintelFlow(options_of(SintelFlowOptions, recipe.task, "task"), recipe.train.image_size)
        assert task.out_channels(NO_DATA) == (2 if recipe.task.get("loss") == "l1" else 3)
        protocol = recipe.protocol
        assert len([*protocol.deviations, *protocol.training_deviations]) >= (6 if name == "paper" else 1)
    paper = load_recipe("sintel-flow", "paper")
    assert paper.train.steps == 240 * 30_000 / paper.train.batch_size and paper.optim.warmup * 8 == 30_000


@pytest.mark.slow
def test_a_run_goes_through_and_again_from_its_weights(tiny_data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"recipe": "smoke", "data_root": tiny_data, "results": tmp_path, "device": "cpu"}
    result = run("sintel-flow", "random:mini-mae", **options)
    assert result is not None
    assert result.selected is not None and result.selected.metric == "epe"
    assert {"clean/epe", "final/epe", "last/clean/epe"} <= set(result.metrics)
    assert result.settings["resolved"]["task"]["windows"] == {"40x56": [2, 3]}
    assert result.dataset.images == 2 and result.dataset.split == "train (market_2)"
    weights = tmp_path / "smoke" / "sintel-flow" / result.model.name / "seed0" / "weights.safetensors"
    again = run("sintel-flow", weights, name="again", eval_only=True, **options)
    assert again is not None
    assert again.metrics["final/epe"].value == pytest.approx(result.metrics["final/epe"].value, rel=1e-6)
    with pytest.raises(BenchError, match="did you mean zero"):
        run("sintel-flow", "classical:zeros", **options)
