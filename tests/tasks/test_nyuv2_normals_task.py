"""Surface normals on NYUv2: losses, unit vectors, both protocols, flips."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from croco_bench import run
from croco_bench.config.recipe import names_of
from croco_bench.contracts import Evaluation, TaskData
from croco_bench.metrics.meter import stack
from croco_bench.tables.published_grids import class_of_run
from croco_bench.tasks.nyuv2_normals import NYUv2Normals, NYUv2NormalsOptions
from croco_bench.types import Sample


class Slopes:
    """Normals that lean to the right of the image more and more; the image encodes them."""

    dataset, miniature, split = "nyuv2_normals", True, "test"
    groups: Sequence[str] = ("a", "b", "c")
    available = 3

    def __len__(self) -> int:
        return self.available

    def __getitem__(self, index: int) -> Sample:
        angles = np.tile(np.linspace(-1, 1, 64), (48, 1)) * (1 + index) / 4
        normals = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], axis=2).astype(np.float32)
        image = np.rint(255 * (normals + 1) / 2).astype(np.uint8)
        return {"image": image, "normals": normals, "valid": angles > -0.9, "id": str(index)}

    def fingerprint(self) -> str:
        return "slopes"


class Oracle(nn.Module):
    """Reads normals off the image; vectors of any length, and a concentration."""

    def forward(self, images: Tensor) -> Tensor:
        normals = 2 * images - 1
        return torch.cat([normals, torch.ones_like(normals[:, :1])], dim=1)


def task_of(**options: Any) -> NYUv2Normals:
    return NYUv2Normals(NYUv2NormalsOptions(**options), (32, 32))


def score(evaluation: Evaluation, network: nn.Module) -> dict[str, float]:
    rows = []
    for index in range(len(evaluation.reader)):
        sample = evaluation.prepare(evaluation.reader[index])
        batch = {key: value[None] if key == "image" else [value] for key, value in sample.items()}
        (prediction,) = evaluation.predict(network, batch)
        assert prediction.shape == sample["normals"].shape
        rows.append(evaluation.meter.measure(prediction, sample))
    return evaluation.meter.reduce(stack(rows))


@pytest.mark.parametrize("truth", ["geonet", "ladicky"])
def test_an_oracle_is_nearly_perfect_under_every_protocol(truth: Any) -> None:
    evaluations = task_of(truth=truth).evaluations(TaskData(Slopes()))
    assert [evaluation.prefix for evaluation in evaluations] == ["", "center"]
    named = {"geonet": "GeoNet", "ladicky": "Ladicky"}[truth]
    for evaluation in [*evaluations, task_of().selection(Slopes())]:
        scores = score(evaluation, Oracle())
        assert scores["mean_deg"] < 1.5 and scores["within5"] == 100
    assert all(named in evaluation.citation for evaluation in evaluations)


def batch_of(normals: list[list[float]], valid: list[bool]) -> dict[str, Tensor]:
    return {"normals": torch.tensor([[normals]]), "valid": torch.tensor([[valid]])}


def output_of(*vectors: list[float]) -> Tensor:
    return torch.tensor(vectors).T[None, :, None].clone().requires_grad_()


def test_losses_by_hand() -> None:
    """Right angles, 60 degrees, and a pixel that isn't valid; lengths don't matter."""
    batch = batch_of([[0.0, 0, 1], [0, 0, 1], [math.nan] * 3], [True, True, False])
    output = output_of([3.0, 0, 0], [2 * math.sin(math.pi / 3), 0, 2 * math.cos(math.pi / 3)], [1, 1, 1])
    assert task_of(loss="cosine").loss(output, batch).item() == pytest.approx((1 + 0.5) / 2)
    loss = task_of(loss="angular").loss(output, batch)
    assert loss.item() == pytest.approx((math.pi / 2 + math.pi / 3) / 2, rel=1e-5)
    torch.autograd.backward(loss)
    assert output.grad is not None and output.grad.isfinite().all() and not output.grad[..., 2].any()


def test_the_likelihood_of_an_angle_by_hand() -> None:
    """ln(1 + exp(-pi k)) - ln(k^2 + 1) + k a, as Bae et al. define it; its mass over the sphere is one."""
    task = task_of(loss="uncertainty")
    for kappa in (0.2, 3.0):
        output = output_of([1.0, 0, 0, kappa])
        loss = task.loss(output, batch_of([[0.0, 0, 1]], [True])).item()
        expected = math.log(1 + math.exp(-math.pi * kappa)) - math.log(kappa**2 + 1) + kappa * math.pi / 2
        assert loss == pytest.approx(expected, rel=1e-5)
        angles = np.linspace(0, math.pi, 200_001)
        density = (kappa**2 + 1) * np.exp(-kappa * angles) / (2 * math.pi * (1 + math.exp(-kappa * math.pi)))
        mass = np.trapezoid(density * 2 * math.pi * np.sin(angles), angles)
        assert mass == pytest.approx(1, rel=1e-6)


def test_right_and_opposite_predictions_have_finite_gradients() -> None:
    output = output_of([0.0, 0, 1, 1], [0, 0, -1, 1])
    torch.autograd.backward(task_of().loss(output, batch_of([[0.0, 0, 1]] * 2, [True, True])))
    assert output.grad is not None and output.grad.isfinite().all()


def test_a_batch_without_a_valid_pixel_costs_nothing_but_has_a_gradient() -> None:
    output = output_of([1.0, 0, 0, 1])
    loss = task_of().loss(output, batch_of([[0.0, 0, 1]], [False]))
    torch.autograd.backward(loss)
    assert loss.item() == 0 and output.grad is not None and not output.grad.any()


def test_decoded_outputs_are_unit_vectors_and_a_positive_concentration() -> None:
    decoded = task_of().decode(10 * torch.randn(2, 4, 5, 6))
    torch.testing.assert_close(decoded[:, :3].norm(dim=1), torch.ones(2, 5, 6))
    assert (decoded[:, 3] > 0).all()
    assert task_of(loss="angular").decode(torch.randn(2, 3, 5, 6)).shape == (2, 3, 5, 6)


def test_flipped_normals_still_fit_the_image() -> None:
    """The image encodes them, so that a flip of the image alone would leave the wrong sign."""
    task, reader, signs = task_of(color=False), Slopes(), set()
    for seed in range(8):
        ready = task.augment(reader[0], np.random.default_rng(seed))
        shown = 2 * ready["image"].permute(1, 2, 0).numpy() - 1
        # Flipped pixels of the image lean to where they were; their normals to the other side.
        same = np.abs(shown[..., 0] - ready["normals"][..., 0]).mean()
        mirrored = np.abs(shown[..., 0] + ready["normals"][..., 0]).mean()
        signs.add(bool(same < 0.05))
        assert min(same, mirrored) < 0.05
    assert signs == {True, False}


def test_recipes_and_their_classes(tiny_data: Path, tmp_path: Path) -> None:
    assert {"dpt-frozen", "dpt-frozen-mini", "linear", "linear-mini", "mini", "paper", "smoke"} == set(
        names_of("nyuv2-normals")
    )
    options: Any = {"data_root": tiny_data, "device": "cpu", "changes": ["train.steps=2", "train.select_every=1"]}
    options["changes"] += ["train.image_size=32", "train.batch_size=4", "train.workers=0", "optim.warmup=0"]
    frozen = run("nyuv2-normals", "mini-mae", recipe="linear-mini", results=tmp_path, **options)
    assert frozen is not None and class_of_run(frozen) == "frozen-linear"
    assert {"mean_deg", "median_deg", "within11.25", "center/mean_deg"} <= set(frozen.metrics)
    assert any("GeoNet" in note for note in frozen.protocol.deviations)
