"""Probes on kept vectors: what is kept, what is trained, what is beside it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn

from croco_bench import load_backbone, registry, run
from croco_bench.config.recipe import Optim, load_recipe
from croco_bench.contracts import Evaluation, PooledHead
from croco_bench.engine.dataloading import Plan
from croco_bench.engine.network import Network
from croco_bench.engine.optim import build_optimizer
from croco_bench.engine.train import FineTuneJob
from croco_bench.errors import DivergedError, RecordError, UsageError
from croco_bench.files import remove
from croco_bench.probing import feature_cache
from croco_bench.probing.feature_cache import CachedFeatures, FeatureCache
from croco_bench.probing.knn import knn_scores
from croco_bench.probing.linear_probe import Classifier, apply, at_the_edge, moments, train_grid
from croco_bench.seeding import derive, make_rng

CPU = torch.device("cpu")


@pytest.fixture
def probed(tiny_data: Path, tmp_path: Path) -> Iterator[tuple[FeatureCache, Evaluation]]:
    """A cache over a small random network, and an evaluation of 12 images."""
    task_type, head_type = registry.tasks()["imagenet-linear"].load(), registry.heads()["linear"].load()
    task = task_type(task_type.Options(), (32, 32))
    splits = task.open(tiny_data / "imagenet", seed=0)
    backbone = load_backbone("random:mini-mae", image_size=32)
    network = Network(backbone, head_type(backbone.feature_spec(), 3, head_type.Options()), frozen=True)
    evaluation = replace(task.evaluations(splits)[0], batch_size=5)
    yield FeatureCache(tmp_path / "kept", network, "weights", Accelerator(cpu=True), 0), evaluation


def test_vectors_are_the_networks_and_are_kept(
    probed: tuple[FeatureCache, Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, evaluation = probed
    kept = cache.extract_or_load(evaluation)
    samples = [evaluation.prepare(evaluation.reader[index]) for index in range(12)]
    head = cache.network.head
    assert isinstance(head, PooledHead)
    with torch.no_grad():
        features = cache.network.features(torch.stack([sample["image"] for sample in samples]))
        for how in ("cls", "mean"):
            expected = head.pooled(features, how).half().numpy()
            assert np.allclose(kept.vectors[how], expected, atol=2e-3)
    assert kept.labels.tolist() == [sample["label"] for sample in samples]
    monkeypatch.setattr(FeatureCache, "_extract", None)
    again = cache.extract_or_load(evaluation)
    assert np.array_equal(again.vectors["cls"], kept.vectors["cls"])
    with pytest.raises(TypeError):
        replace(cache, backbone="other weights").extract_or_load(evaluation)


def test_an_extraction_goes_on_where_it_was_killed(
    probed: tuple[FeatureCache, Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, evaluation = probed
    whole = replace(cache, folder=cache.folder / "other").extract_or_load(evaluation)
    monkeypatch.setattr(feature_cache, "_BATCHES", 1)
    seen: list[int] = []
    compute = Network.features

    def counted(self: Network, *images: torch.Tensor) -> Any:
        seen.append(len(images[0]))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return compute(self, *images)

    monkeypatch.setattr(Network, "features", counted)
    with pytest.raises(KeyboardInterrupt):
        cache.extract_or_load(evaluation)
    leftover = next(cache.folder.glob("*/begun")).with_name(".done.json.x.partial")
    leftover.touch()
    kept = cache.extract_or_load(evaluation)
    assert not leftover.exists()
    assert seen == [5, 5, 5, 5, 2]  # the third time, what was kept is looked at
    assert np.array_equal(kept.vectors["mean"], whole.vectors["mean"])
    assert np.array_equal(kept.labels, whole.labels)


def _truncate(entry: Path) -> None:
    with (entry / "mean.npy").open("r+b") as stream:
        stream.truncate(500)


def _zero(entry: Path) -> None:
    file = np.load(entry / "mean.npy", mmap_mode="r+")
    file[:] = 0
    file.flush()


def _without(path: Path) -> Path:
    """The path, at which there is nothing any more."""
    remove(path)
    return path


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _zero,
        lambda entry: (entry / "cls.npy").write_bytes(b""),
        lambda entry: (entry / "labels.npy").unlink(),
        lambda entry: np.save(entry / "labels.npy", np.zeros(12, dtype=np.int64)),
        lambda entry: np.save(entry / "cls.npy", np.zeros((3, 128), dtype=np.float16)),
        lambda entry: (entry / "progress-0-of-1.json").write_text("{"),
        lambda entry: (entry / "done.json").write_text(""),
        lambda entry: (entry / "done.json").write_text('{"seconds": "x", "sums": [1]}'),
        lambda entry: (entry / "done.json").write_text("[" * 100_000),
        lambda entry: (entry / "progress-0-of-1.json").write_text(
            '{"first": 0, "done": 10000, "seconds": 0, "names": []}'
        ),
        lambda entry: (entry / "progress-0-of-1.json").write_text('{"first": -1, "done": "x", "seconds": null}'),
        lambda entry: _without(entry).symlink_to("/dev/null"),
        lambda entry: _without(entry).symlink_to("nowhere"),
        lambda entry: _without(entry).write_text("a file"),
        lambda entry: _without(entry / "begun").mkdir(),
        lambda entry: _without(entry / "cls.npy").mkdir(),
        lambda entry: (entry / "cls.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': ('"),
    ],
)
def test_damaged_vectors_are_extracted_anew(
    probed: tuple[FeatureCache, Evaluation], damage: Callable[[Path], Any], finished: bool
) -> None:
    cache, evaluation = probed
    first = cache.extract_or_load(evaluation)
    expected = {how: np.array(one) for how, one in first.vectors.items()}
    (entry,) = (path.parent for path in cache.folder.glob("*/done.json"))
    if not finished:
        (entry / "done.json").unlink()
    damage(entry)
    kept = cache.extract_or_load(evaluation)
    assert all(np.array_equal(kept.vectors[how], expected[how]) for how in expected)
    assert np.array_equal(kept.labels, first.labels) and len(set(first.labels.tolist())) > 1


def test_checksums_see_what_a_look_at_a_few_does_not(
    probed: tuple[FeatureCache, Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, evaluation = probed
    expected = np.array(cache.extract_or_load(evaluation).vectors["mean"])
    monkeypatch.setattr(FeatureCache, "_matches_network", lambda *_: True)
    (path,) = cache.folder.glob("*/mean.npy")
    file = np.load(path, mmap_mode="r+")
    file[2, 5] += 1
    file.flush()
    assert np.array_equal(cache.extract_or_load(evaluation).vectors["mean"], expected)


@pytest.mark.parametrize("finished", [True, False])
def test_vectors_that_the_network_would_not_give_today_are_extracted_anew(
    probed: tuple[FeatureCache, Evaluation], capsys: pytest.CaptureFixture[str], finished: bool
) -> None:
    """As where images were exchanged for others of the same names and sizes: the key is the same."""
    cache, evaluation = probed
    before = np.array(cache.extract_or_load(evaluation).vectors["mean"])
    assert np.array_equal(cache.extract_or_load(evaluation).vectors["mean"], before) and not capsys.readouterr().err
    if not finished:
        (path,) = cache.folder.glob("*/done.json")
        path.unlink()
    changed = replace(evaluation, prepare=lambda sample: _darker(evaluation.prepare(sample)))
    after = cache.extract_or_load(changed).vectors["mean"]
    assert np.abs(after - before).max() > 0.1
    assert np.array_equal(replace(cache, folder=cache.folder / "new").extract_or_load(changed).vectors["mean"], after)
    assert "extracted anew" in capsys.readouterr().err


def _darker(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "image": sample["image"] / 2}


def test_a_cache_that_cannot_be_written_is_one_sentence(probed: tuple[FeatureCache, Evaluation]) -> None:
    cache, evaluation = probed
    cache.folder.write_text("a file, not a folder")
    with pytest.raises(RecordError, match="set CROCO_BENCH_CACHE to a folder that can be written"):
        cache.extract_or_load(evaluation)


def test_an_extraction_tells_how_far_it_is(probed: tuple[FeatureCache, Evaluation]) -> None:
    cache, evaluation = probed
    told: list[int] = []
    counted = replace(cache, advance=told.append)
    counted.extract_or_load(evaluation)
    assert told == [5, 5, 2]
    counted.extract_or_load(evaluation)
    assert told == [5, 5, 2, 12]


def vectors(count: int, width: int = 6, classes: int = 3) -> tuple[Any, Any]:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, classes, count)
    return (draw.normal(size=(count, width)) + 2 * np.eye(classes, width)[labels]).astype(np.float16), labels


def test_the_grid_is_sgd_with_momentum_and_cosine_for_every_rate() -> None:
    found, labels = vectors(40)
    changes = ["probe.rates=[0.5, 5.0]", "train.batch_size=8", "train.epochs=3"]
    recipe = load_recipe("imagenet-linear", "smoke", changes)
    plan = Plan.of(recipe.train, 40, 1)
    nothing: Any = None
    job = FineTuneJob(
        recipe=recipe, task=nothing, splits=nothing, network=nothing, plan=plan, seed=7, folder=Path(), key=""
    )
    grid = train_grid(job, CachedFeatures({"mean": found}, labels, 0.0), 3, CPU)
    assert [rate for _, rate in grid] == [0.5, 5.0]
    mean, variance = moments(found, CPU)
    data = (torch.from_numpy(found).float() - mean) / (variance + 1e-6).sqrt()
    for classifier, rate in grid:
        layer = nn.Linear(6, 3)
        start = torch.Generator().manual_seed(derive(7, "probe", "mean"))
        with torch.no_grad():
            layer.weight.copy_(torch.randn(6, 3, generator=start).mul_(0.01).T)
            layer.bias.zero_()
        solver = torch.optim.SGD(layer.parameters(), lr=1.0, momentum=0.9)
        for step in range(plan.steps):
            epoch, position = divmod(step, 5)
            rows = np.sort(make_rng(7, "order", epoch).permutation(40)[8 * position : 8 * position + 8])
            solver.param_groups[0]["lr"] = rate * 8 / 256 * 0.5 * (1 + np.cos(np.pi * step / plan.steps))
            solver.zero_grad()
            torch.autograd.backward(F.cross_entropy(layer(data[rows]), torch.from_numpy(labels[rows])))
            solver.step()
        assert torch.allclose(classifier.weight, layer.weight, atol=1e-5)
        assert torch.allclose(classifier.bias, layer.bias, atol=1e-5)


def test_neighbors_vote_with_their_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("croco_bench.probing.knn._BANK", 7)
    monkeypatch.setattr("croco_bench.probing.knn._QUERIES", 4)
    bank, labels = vectors(30)
    queries, _ = vectors(9)
    found = knn_scores(bank, labels, 4, queries, [1, 5], 0.07, CPU)
    one, two = (
        part.astype(np.float64) / np.linalg.norm(part.astype(np.float64), axis=1, keepdims=True)
        for part in (queries, bank)
    )
    for k, scores in zip((1, 5), found, strict=True):
        for query in range(9):
            cosines = two @ one[query]
            nearest = np.argsort(-cosines)[:k]
            votes = np.zeros(4)
            np.add.at(votes, labels[nearest], np.exp((cosines[nearest] - cosines.max()) / 0.07))
            assert np.allclose(scores[query], votes, atol=1e-3)


def test_the_chosen_classifier_becomes_the_head(probed: tuple[FeatureCache, Evaluation]) -> None:
    cache, evaluation = probed
    kept, head = cache.extract_or_load(evaluation), cache.network.head
    assert isinstance(head, PooledHead)
    mean, variance = moments(kept.vectors["mean"], CPU)
    classifier = Classifier("mean", mean, variance, torch.randn(3, 128), torch.randn(3))
    head.load_probe("mean", mean, variance, classifier.weight, classifier.bias)
    image = evaluation.prepare(evaluation.reader[4])["image"][None]
    with torch.no_grad():
        direct = cache.network.eval()(image)[0].numpy()
    assert np.allclose(direct, apply(classifier, kept.vectors["mean"], CPU)[4], atol=0.05, rtol=0.01)


def test_lars_is_maes() -> None:
    """Rates follow the ratio of norms for matrices, without decay; vectors move as SGD has it."""
    backbone = load_backbone("random:mini-mae", image_size=32)
    head_type = registry.heads()["linear"].load()
    network = Network(backbone, head_type(backbone.feature_spec(), 3, head_type.Options()), frozen=True)
    weight, bias = (parameter for name, parameter in network.named_parameters() if parameter.requires_grad)
    optimizer = build_optimizer(network, Optim(name="lars", lr=0.5, betas=(0.9, 0.999)))
    expected = {0: weight.detach().clone(), 1: bias.detach().clone()}
    momenta = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for step in range(3):
        for number, parameter in enumerate((weight, bias)):
            slope = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(10 * step + number))
            parameter.grad = slope.clone()
            if parameter.ndim > 1:
                slope = slope * 0.001 * expected[number].norm() / slope.norm()
            momenta[number] = 0.9 * momenta[number] + slope
            expected[number] = expected[number] - 0.5 * momenta[number]
        optimizer.step()
    assert torch.allclose(weight, expected[0], atol=1e-6)
    assert torch.allclose(bias, expected[1], atol=1e-6)


def test_rates_without_a_finite_classifier_are_told(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DivergedError, match=r"no classifier stayed finite with the rates 1e\+38, 2e\+38"):
        run(
            "imagenet-linear",
            "random:mini-mae",
            recipe="smoke",
            data_root=tiny_data,
            results=tmp_path / "results",
            changes=["probe.rates=[1e38, 2e38]", "train.batch_size=18"],
        )


def test_a_probe_needs_a_frozen_backbone_and_a_fitting_head(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs train\.frozen=true"):
        run(
            "imagenet-linear",
            "random:mini-mae",
            recipe="smoke",
            data_root=tiny_data,
            results=tmp_path,
            changes=["train.frozen=false"],
        )


@pytest.mark.parametrize(
    ("chosen", "tried", "said"),
    [(10, (1, 10), "largest"), (1.0, (10.0, 1.0, 3.0), "smallest"), (3, (1, 3, 10), None), (1, (1,), None)],
)
def test_an_optimum_at_the_edge_of_the_grid_is_told(chosen: float, tried: tuple[float, ...], said: str | None) -> None:
    notes = at_the_edge("cost", chosen, tried)
    assert [f"the {said} of those tried" in note and f"cost, {chosen:g}" in note for note in notes] == [True] * bool(
        said
    )
