"""The cache of tokens: what is kept, which blocks are added, what a full disk says."""

import shutil
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from croco_bench import load_backbone, registry
from croco_bench.contracts import Evaluation
from croco_bench.engine.network import Network
from croco_bench.errors import DataError, RecordError
from croco_bench.probing import feature_cache
from croco_bench.probing.feature_cache import FeatureCache


@pytest.fixture
def kept(tiny_data: Path, tmp_path: Path) -> Iterator[tuple[FeatureCache, Evaluation]]:
    """A cache over a small random network, and the selection evaluation of a depth task."""
    task_type, head_type = registry.tasks()["nyuv2-depth"].load(), registry.heads()["dense-linear"].load()
    task = task_type(task_type.Options(), (32, 32))
    data = task.open(tiny_data / "nyuv2", seed=0)
    backbone = load_backbone("random:mini-mae", image_size=32)
    network = Network(backbone, head_type(backbone.feature_spec(), 1, head_type.Options()), frozen=True)
    evaluation = replace(task.single_pass(data.train), batch_size=3)
    yield FeatureCache(tmp_path / "kept", network, "weights", Accelerator(cpu=True), 0), evaluation


def samples(evaluation: Evaluation) -> list[Any]:
    return [evaluation.prepare(evaluation.reader[index]) for index in range(len(evaluation.reader))]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of images in each forward pass from now on."""
    passes: list[int] = []
    compute = Network.features

    def count(self: Network, *images: torch.Tensor) -> Any:
        passes.append(len(images[0]))
        return compute(self, *images)

    monkeypatch.setattr(Network, "features", count)
    return passes


def test_tokens_are_the_networks_and_targets_the_samples(kept: tuple[FeatureCache, Evaluation]) -> None:
    cache, evaluation = kept
    found, expected = cache.tokens(evaluation, [1, 3]), samples(evaluation)
    with torch.no_grad():
        features = cache.network.features(torch.stack([sample["image"] for sample in expected]))
    assert list(found.blocks) == [1, 3] and len(found) == len(expected)
    for block, tokens in found.blocks.items():
        assert tokens.dtype == np.float16
        np.testing.assert_allclose(tokens, features.tokens[block].numpy(), rtol=2e-3, atol=2e-3)
    assert found.cls is not None and features.cls is not None
    np.testing.assert_allclose(found.cls, features.cls.numpy(), rtol=2e-3, atol=2e-3)
    assert set(found.targets) == {"depth_m", "valid"}
    for name, values in found.targets.items():
        assert np.array_equal(values, np.stack([np.asarray(sample[name]) for sample in expected]))


def test_only_blocks_that_are_missing_are_added(
    kept: tuple[FeatureCache, Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, evaluation = kept
    first, count = cache.tokens(evaluation, [1]), len(evaluation.reader)
    before = first.blocks[1].copy()
    passes = counted(monkeypatch)
    both = cache.tokens(evaluation, [1, 2])
    compared = sum(passes) - count
    assert 0 < compared <= 8, "one pass, and a look at a few images"
    assert np.array_equal(both.blocks[1], before)
    passes.clear()
    again = cache.tokens(evaluation, [2])
    assert sum(passes) == compared and list(again.blocks) == [2]
    assert len(list(cache.folder.glob("*/begun"))) == 1


def test_an_interrupted_addition_goes_on(
    kept: tuple[FeatureCache, Evaluation], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, evaluation = kept
    whole = replace(cache, folder=cache.folder / "other").tokens(evaluation, [0, 2])
    cache.tokens(evaluation, [0])
    monkeypatch.setattr(feature_cache, "_BATCHES", 1)
    extract, compute, passes = FeatureCache._extract, Network.features, list[int]()

    def fails(self: Network, *images: torch.Tensor) -> Any:
        passes.append(len(images[0]))
        if len(passes) == 2:
            raise KeyboardInterrupt
        return compute(self, *images)

    def extract_failing(self: FeatureCache, *arguments: Any) -> None:
        monkeypatch.setattr(Network, "features", fails)
        extract(self, *arguments)

    monkeypatch.setattr(FeatureCache, "_extract", extract_failing)
    with pytest.raises(KeyboardInterrupt):
        cache.tokens(evaluation, [0, 2])
    found = cache.tokens(evaluation, [0, 2])
    assert all(np.array_equal(found.blocks[block], whole.blocks[block]) for block in (0, 2))
    assert "anew" not in capsys.readouterr().err
    monkeypatch.setattr(Network, "features", compute)
    assert cache.tokens(evaluation, [3]).blocks[3].any()


def test_other_blocks_can_be_asked_for_after_an_interruption(
    kept: tuple[FeatureCache, Evaluation], capsys: pytest.CaptureFixture[str]
) -> None:
    cache, evaluation = kept
    expected = np.array(cache.tokens(evaluation, [1]).blocks[1])
    (done,) = cache.folder.glob("*/done.json")
    done.unlink()
    assert cache.tokens(evaluation, [2]).blocks[2].any()
    assert np.array_equal(cache.tokens(evaluation, [1]).blocks[1], expected)
    assert "damaged" not in capsys.readouterr().err


@pytest.mark.parametrize("array", ["block01", "target_depth_m", "target_valid", "cls"])
def test_damaged_arrays_are_extracted_anew(
    kept: tuple[FeatureCache, Evaluation], capsys: pytest.CaptureFixture[str], array: str
) -> None:
    cache, evaluation = kept
    expected = np.array(cache.tokens(evaluation, [1]).blocks[1])
    (path,) = cache.folder.glob(f"*/{array}.npy")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    assert np.array_equal(cache.tokens(evaluation, [1]).blocks[1], expected)
    assert "extracted anew" in capsys.readouterr().err


def test_a_disk_without_room_is_one_sentence_and_leaves_nothing(
    kept: tuple[FeatureCache, Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, evaluation = kept
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 2000, 2000))
    with pytest.raises(
        RecordError, match=r"keeping the tokens of \d+ images takes .* MB, but the disk of .* has 0\.0 MB free"
    ):
        cache.tokens(evaluation, [1, 2])
    assert not list(cache.folder.rglob("*.npy"))


def test_the_size_is_told_beforehand(
    kept: tuple[FeatureCache, Evaluation], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, evaluation = kept
    monkeypatch.setattr("croco_bench.probing.entry_files._ANNOUNCED", 0)
    cache.tokens(evaluation, [1, 2])
    count, spec = len(evaluation.reader), cache.network.backbone.feature_spec()
    tokens = 2 * (spec.grid[0] * spec.grid[1]) * 128 * 2
    size = count * (tokens + 2 * 128 + 32 * 32 * 5)
    assert f"keeping the tokens of {count} images takes {size / 1e6:.1f} MB" in capsys.readouterr().err


def test_targets_of_different_shapes_are_one_sentence(kept: tuple[FeatureCache, Evaluation]) -> None:
    cache, evaluation = kept

    def uneven(sample: Any) -> Any:
        prepared = evaluation.prepare(sample)
        side = 16 if prepared["depth_m"].mean() > first["depth_m"].mean() else 32
        return {**prepared, "depth_m": prepared["depth_m"][:side]}

    first = evaluation.prepare(evaluation.reader[0])
    with pytest.raises(DataError, match="depth_m of two images has the shapes"):
        cache.tokens(replace(evaluation, prepare=uneven), [1])
