"""The task relative-pose: what it learns from, what it predicts and how that is scored."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import roma
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.utils.data import default_collate

from croco_bench import load_backbone
from croco_bench.config.load import options_of
from croco_bench.config.recipe import load_recipe, names_of
from croco_bench.contracts import Evaluation, PairBackbone, TaskData
from croco_bench.engine.network import Network
from croco_bench.errors import DataError
from croco_bench.heads.pose import Pose, PoseOptions
from croco_bench.metrics.meter import stack
from croco_bench.tasks.relative_pose.task import RelativePose, RelativePoseOptions
from croco_bench.types import Array, Sample

SIZE = (24, 32)
# The number of outputs doesn't depend on the data.
NO_DATA: Any = None


class Cameras:
    """Queries with K references each (or pairs), every image with its camera-to-world pose in a few of its pixels."""

    dataset, split, miniature = "7scenes", "test", True

    def __init__(self, count: int = 6, views: int | None = 3, size: tuple[int, int] = (48, 64)) -> None:
        self.available, self.views, self.size = count, views, size

    def __len__(self) -> int:
        return self.available

    @property
    def groups(self) -> Sequence[str]:
        return [f"room-{index % 2}" for index in range(self.available)]

    def fingerprint(self) -> str:
        return "cameras"

    def pose(self, index: int) -> Array:
        rng = np.random.default_rng(index)
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(rng.normal(0, 0.4, 3)).as_matrix()
        pose[:3, 3] = rng.uniform(-1, 1, 3)
        return pose

    def image(self, index: int) -> Array:
        """All of one shade, which names the camera."""
        return np.full((*self.size, 3), index, np.uint8)

    def __getitem__(self, index: int) -> Sample:
        K = np.array([[50.0, 0, self.size[1] / 2], [0, 50.0, self.size[0] / 2], [0, 0, 1]])
        references = [100 + 10 * index + view for view in range(self.views or 1)]
        images, poses = (np.stack([one(view) for view in references]) for one in (self.image, self.pose))
        sample = {"image1": images, "K1": np.stack([K] * len(references)), "cam2world1": poses}
        if self.views is None:
            sample = {key: value[0] for key, value in sample.items()}
        sample |= {"image2": self.image(index), "K2": K, "cam2world2": self.pose(index)}
        relative = np.linalg.inv(sample["cam2world1"]) @ sample["cam2world2"]
        return {**sample, "relative": relative, "scene": self.groups[index], "id": f"{index}"}


class Oracle(nn.Module):
    """Knows each image's camera by its shade and says the exact motion, in the task's numbers."""

    def __init__(self, task: RelativePose, cameras: Cameras) -> None:
        super().__init__()
        self.task, self.cameras = task, cameras

    def pairs(self, images: Tensor, first: Sequence[int], second: Sequence[int], *, at_once: int) -> Tensor:
        assert images.shape[1:] == (3, *SIZE) and at_once > 0
        poses = [torch.from_numpy(self.cameras.pose(round(float(image.mean()) * 255))) for image in images]
        motions = torch.stack(
            [torch.linalg.inv(poses[one]) @ poses[two] for one, two in zip(first, second, strict=True)]
        )
        return encoded(self.task, motions)


def encoded(task: RelativePose, motions: Tensor) -> Tensor:
    """The network output (B, out_channels) that stands for motions (B, 4, 4)."""
    rotation, translation = motions[:, :3, :3].float(), motions[:, :3, 3].float()
    numbers = {
        "svd9": (rotation - torch.eye(3)).flatten(1),
        "r6d": rotation[:, :, :2].mT.flatten(1) - torch.eye(3)[:2].flatten(),
        "quaternion": roma.rotmat_to_unitquat(rotation) - torch.tensor([0.0, 0, 0, 1]),
    }
    return torch.cat([numbers[task.options.rotation], translation / task.state["scale_m"]], dim=1)


def task_of(image_size: tuple[int, int] = SIZE, **options: Any) -> RelativePose:
    return RelativePose(options_of(RelativePoseOptions, {"neighbours": 3, **options}, "[task]"), image_size)


def score(evaluation: Evaluation, network: nn.Module, predict: Any = None) -> dict[str, float]:
    """All images in batches, put together as the engine does."""
    rows, reader = [], evaluation.reader
    for start in range(0, len(reader), evaluation.batch_size):
        chosen = range(start, min(start + evaluation.batch_size, len(reader)))
        samples = [evaluation.prepare(reader[index]) for index in chosen]
        batch = {
            key: torch.stack([sample[key] for sample in samples])
            if key.startswith("image")
            else [s[key] for s in samples]
            for key in samples[0]
        }
        with torch.inference_mode():
            found = predict(batch) if predict else evaluation.predict(network, batch)
        rows += [evaluation.meter.measure(one, sample) for one, sample in zip(found, samples, strict=True)]
    return evaluation.meter.reduce(stack(rows))


EVERY_WAY = pytest.mark.parametrize(
    ("rotation", "translation"),
    [("svd9", "metric"), ("r6d", "metric"), ("quaternion", "metric"), ("svd9", "direction"), ("r6d", "direction")],
)


@EVERY_WAY
def test_an_oracle_is_perfect_as_locator_and_pair_by_pair(rotation: str, translation: str) -> None:
    task = task_of(rotation=rotation, translation=translation)
    task.state = {"scale_m": 0.7 if translation == "metric" else 1.0}
    located = score(task.evaluations(TaskData(Cameras()))[0], Oracle(task, Cameras()))
    assert located["translation_m"] < 1e-4 and located["rotation_deg"] < 0.01
    assert located["success_5cm_5deg"] == 100
    pairs = Cameras(views=None)
    selected = score(task.selection(pairs), Oracle(task, pairs))
    assert selected["pair_rotation_deg"] < 0.01 and selected["auc20"] > 99.9
    assert task.selection_metric in selected
    assert ("pair_translation_m" in selected) == (translation == "metric")


def test_meters_need_one_view_and_directions_two() -> None:
    """A single direction leaves the distance open."""
    for translation, right in (("metric", True), ("direction", False)):
        task = task_of(translation=translation, neighbours=1)
        scores = score(task.evaluations(TaskData(Cameras(views=1)))[0], Oracle(task, Cameras(views=1)))
        assert (scores["translation_m"] < 1e-4) == right
        assert scores["rotation_deg"] < 0.01


@EVERY_WAY
def test_both_orders_are_supervised(rotation: str, translation: str) -> None:
    """The loss is the mean of two, that of the motion and that of its inverse; zero for exact answers alone."""
    task, pairs = task_of(rotation=rotation, translation=translation, translation_weight=2.0), Cameras(views=None)
    task.state = {"scale_m": 0.7 if translation == "metric" else 1.0}
    forth = torch.from_numpy(np.stack([pairs[index]["relative"] for index in range(4)])).float()
    back = torch.linalg.inv(forth)
    exact = torch.cat([encoded(task, forth), encoded(task, back)])
    assert task.loss(exact, {"relative": forth}) < 2e-3
    assert task.loss(exact.roll(4, 0), {"relative": forth}) > 0.3
    noisy = exact + 0.3 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(0))
    halves = [one_order(task, noisy[:4], forth), one_order(task, noisy[4:], back)]
    torch.testing.assert_close(task.loss(noisy, {"relative": forth}), (halves[0] + halves[1]) / 2)


def one_order(task: RelativePose, output: Tensor, truth: Tensor) -> Tensor:
    """The loss of one order, by arc cosines."""
    poses, scale = task.to_poses(output), task.state["scale_m"]
    between = poses[:, :3, :3].mT @ truth[:, :3, :3]
    turned = ((between.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).acos()
    true, found = truth[:, :3, 3], poses[:, :3, 3]
    if task.options.translation == "metric":
        moved = (found - true).norm(dim=1) / scale
    else:
        moved = ((found * true).sum(1) / true.norm(dim=1)).acos()
    total: Tensor = (turned + task.options.translation_weight * moved).mean()
    return total


def test_the_engine_gives_the_loss_both_orders() -> None:
    torch.manual_seed(0)
    backbone, task = load_backbone("random:mini-croco", image_size=32), task_of((32, 32))
    assert isinstance(backbone, PairBackbone)
    head = Pose(backbone.pair_spec(), task.out_channels(NO_DATA), PoseOptions(width=16))
    network = Network(backbone, head, views=2, symmetric=task.symmetric)
    one, two = torch.rand(2, 3, 3, 32, 32)
    relative = torch.from_numpy(np.stack([Cameras(views=None)[index]["relative"] for index in range(3)])).float()
    trained = task.loss(network.train()(one, two), {"relative": relative})
    with torch.no_grad():
        forth, back = network.eval()(one, two), network(two, one)
    parts = one_order(task, forth, relative), one_order(task, back, torch.linalg.inv(relative))
    torch.testing.assert_close(trained.detach(), sum(parts) / 2, rtol=1e-4, atol=1e-5)


def test_pairs_without_a_baseline_teach_rotation_only() -> None:
    task = task_of(translation="direction")
    turn = torch.eye(4).repeat(2, 1, 1)
    turn[0, :3, :3] = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.2, 0.0]))
    turn[1, :3, 3] = torch.tensor([0.0, 0.0, 2.0])
    output = torch.zeros(4, 12)
    output[:, 9] = 1.0  # along x, a quarter turn from z
    output.requires_grad_()
    loss = task.loss(output, {"relative": turn})
    assert loss.item() == pytest.approx(0.2 / 2 + np.pi / 2, abs=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None and torch.isfinite(output.grad).all()
    assert not output.grad[[0, 2], 9:].any() and output.grad[[1, 3], 9:].any()
    still = {"relative": torch.eye(4).repeat(2, 1, 1)}
    assert task.loss(output, still).item() == 0


@pytest.mark.parametrize("color", [True, False])
def test_augmentation_changes_colors_only_and_each_views_own(color: bool) -> None:
    task, sample = task_of(color=color), Cameras(views=None)[3]
    sample["image2"] = sample["image1"].copy()
    before = sample["image1"].copy()
    one, two, other = (task.augment(sample, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert torch.equal(one["image1"], other["image1"]) != color
    assert torch.equal(one["image1"], one["image2"]) != color
    assert one["image1"].shape == (3, *SIZE) and one["relative"].dtype == torch.float32
    np.testing.assert_allclose(one["relative"], sample["relative"], rtol=1e-6)
    np.testing.assert_array_equal(sample["image1"], before)
    assert set(default_collate([one, other])) == {"image1", "image2", "relative"}


def test_translations_are_in_units_of_the_training_splits_baseline() -> None:
    task, pairs = task_of(), Cameras(views=None)
    task.measure_state(pairs)
    lengths = [np.linalg.norm(pairs[index]["relative"][:3, 3]) for index in range(len(pairs))]
    assert task.state == {"scale_m": pytest.approx(float(np.mean(lengths)))}
    poses = task.to_poses(torch.tensor([[0.0] * 9 + [0, 0, 2.0]]))
    np.testing.assert_allclose(poses[0, :3, 3], [0, 0, 2 * float(np.mean(lengths))], rtol=1e-6)
    plain = task_of(translation="direction")
    plain.measure_state(pairs)
    assert plain.state == {"scale_m": 1.0}


def test_a_camera_that_stands_still_is_one_sentence() -> None:
    class Still(Cameras):
        def pose(self, index: int) -> Array:
            return np.eye(4)

    with pytest.raises(DataError, match="all training pairs stand at one place") as caught:
        task_of().measure_state(Still(views=None))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("translation", ["metric", "direction"])
def test_no_motion_is_scored_in_meters_and_matches_by_lines(translation: str) -> None:
    task = task_of(translation=translation)
    plain = task.evaluations(TaskData(Cameras()))[0]
    methods = task.classical_methods()
    assert set(methods) == {"identity", "sift-opencv", "sift-poselib"}
    identity = methods["identity"]
    scores = score(identity.adapt(plain), nn.Identity(), identity.predict)
    expected = [np.linalg.norm(Cameras().pose(index)[:3, 3]) for index in range(6)]
    assert 0.1 < scores["translation_m"] < 2 * max(expected) and "pair_translation_m" in scores
    for name in ("sift-opencv", "sift-poselib"):
        found = methods[name].adapt(plain)
        sample = found.prepare(Cameras()[0])
        assert sample["image1"].shape == (3, 3, 48, 64) and found.batch_size == 1
        assert not sample["metres"] and "lines" in found.citation and "native size" in found.deviations[-1]
        failed = score(found, nn.Identity(), methods[name].predict)
        assert failed["failed_pairs"] == 100 and np.isinf(failed["translation_m"])
    pairs = identity.adapt(task.selection(Cameras(views=None)))
    assert score(pairs, nn.Identity(), identity.predict)["pair_rotation_deg"] > 1


def test_a_few_pairs_can_be_learned_by_heart() -> None:
    torch.manual_seed(0)
    backbone, task = load_backbone("random:mini-croco", image_size=32), task_of((32, 32))
    assert isinstance(backbone, PairBackbone)
    head = Pose(backbone.pair_spec(), task.out_channels(NO_DATA), PoseOptions(width=64))
    network = Network(backbone, head, views=2, symmetric=True).train()
    pairs = Cameras(views=None)
    relative = torch.from_numpy(np.stack([pairs[index]["relative"] for index in range(4)])).float()
    task.state = {"scale_m": float(relative[:, :3, 3].norm(dim=1).mean())}
    one, two = torch.rand(2, 4, 3, 32, 32)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = task.loss(network(one, two), {"relative": relative})
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1 and np.mean(losses[-5:]) < 0.25 * losses[0]


def test_every_recipe_fits_the_task() -> None:
    assert {"mini", "paper", "smoke", "frozen", "frozen-encoder"} <= set(names_of("relative-pose"))
    for name in names_of("relative-pose"):
        recipe = load_recipe("relative-pose", name)
        options = options_of(RelativePoseOptions, recipe.task, "task")
        assert RelativePose(options, recipe.train.image_size).out_channels(NO_DATA) == 12
        protocol = recipe.protocol
        assert len([*protocol.deviations, *protocol.training_deviations]) >= (6 if name == "paper" else 1)
        quaternions = RelativePose(replace(options, rotation="quaternion"), recipe.train.image_size)
        assert quaternions.out_channels(NO_DATA) == 7
