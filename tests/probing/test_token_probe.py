"""Probes on kept tokens: the same as training on images, what is chosen, and what goes on after an interruption."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from croco_bench import load_backbone, run
from croco_bench.backbones.save import read_finetuned
from croco_bench.engine.network import Network
from croco_bench.errors import DivergedError, Stopped, UsageError
from croco_bench.probing.token_probe import TokenProbeTrainer
from croco_bench.records.schema import Result

SHORT = ("train.image_size=32", "train.batch_size=4", "train.steps=6", "train.select_every=3", "optim.warmup=1")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "cache"))


def probed(task: str, data: Path, results: Path, *changes: str, ckpt: str = "random:mini-mae", **more: Any) -> Result:
    """A short run of `linear-mini`."""
    made = (*SHORT, "token_probe.rates=[0.03]", *changes)
    result = run(task, ckpt, recipe="linear-mini", data_root=data, results=results, changes=made, **more)
    assert result is not None
    return result


def head_of(results: Path, result: Result) -> dict[str, torch.Tensor]:
    """The selected head's weights."""
    folder = results / result.recipe.name / result.task.name / result.model.name / f"seed{result.seed}"
    found = read_finetuned(folder / "weights.safetensors")
    assert found is not None
    return dict(found.head)


def own_recipe(path: Path, task: str) -> str:
    """`linear-mini` without its probe, in a file."""
    source = Path(__file__).parents[2] / "tasks" / "recipes" / task / "linear-mini.toml"
    text = source.read_text(encoding="utf-8")
    before, _, rest = text.partition("[token_probe]")
    path.write_text(before + rest[rest.index("[protocol]") :], encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("layers", ["last", "four"])
def test_without_augmentation_a_head_is_that_of_a_training_on_images(
    tiny_data: Path, tmp_path: Path, layers: str
) -> None:
    changes = (f"head.layers={layers}", "head.dropout=0.2", "optim.clip_grad=0.5")
    kept = probed("taskonomy-normals", tiny_data, tmp_path / "kept", *changes)
    recipe = own_recipe(tmp_path / "linear-mini.toml", "taskonomy")
    direct = run(
        "taskonomy-normals",
        "random:mini-mae",
        recipe=recipe,
        data_root=tiny_data,
        results=tmp_path / "direct",
        changes=(*SHORT, "optim.lr=0.03", *changes),
    )
    assert direct is not None and direct.selected is not None and kept.selected is not None
    assert kept.selected.step == direct.selected.step
    first, second = head_of(tmp_path / "kept", kept), head_of(tmp_path / "direct", direct)
    assert first.keys() == second.keys()
    for name, values in first.items():
        torch.testing.assert_close(values, second[name], rtol=2e-2, atol=2e-3)
    for name, metric in direct.metrics.items():
        assert kept.metrics[name].value == pytest.approx(metric.value, rel=2e-3)


def test_the_best_rate_and_block_are_chosen_and_told(tiny_data: Path, tmp_path: Path) -> None:
    changes = ("token_probe.rates=[1e-6, 0.03]", "head.layers=auto")
    result = probed("nyuv2-depth", tiny_data, tmp_path, *changes)
    told = result.settings["resolved"]["probe"]["tokens"]
    depth = load_backbone("random:mini-mae", image_size=32).depth
    assert [(one["layers"], one["rate"]) for one in told["tried"]] == [
        ([block], rate) for block in range(depth) for rate in (1e-6, 0.03)
    ]
    best = max(told["tried"], key=lambda one: one["select_delta1"])
    assert {key: told[key] for key in best} == best
    assert result.settings["resolved"]["head"] == {"layers": best["layers"]}
    assert result.selected is not None and result.selected.step == best["step"]
    assert head_of(tmp_path, result)["blocks"].tolist() == best["layers"]
    weights = tmp_path / "linear-mini" / "nyuv2-depth" / result.model.name / "seed0" / "weights.safetensors"
    again = probed("nyuv2-depth", tiny_data, tmp_path / "again", *changes, ckpt=str(weights), eval_only=True)
    for name, metric in again.metrics.items():
        assert metric.value == pytest.approx(result.metrics[name].value, rel=1e-5)


def test_a_second_seed_extracts_nothing(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = probed("nyuv2-depth", tiny_data, tmp_path)
    monkeypatch.setattr("croco_bench.probing.feature_cache.FeatureCache._extract", None)
    second = probed("nyuv2-depth", tiny_data, tmp_path, seed=1)
    assert second.metrics["delta1"].value != first.metrics["delta1"].value


def test_heads_are_trained_without_a_pass_of_the_backbone(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, train = Network.features, TokenProbeTrainer.run

    def run_without(self: TokenProbeTrainer) -> None:
        monkeypatch.setattr(Network, "features", None)
        train(self)
        monkeypatch.setattr(Network, "features", compute)

    monkeypatch.setattr(TokenProbeTrainer, "run", run_without)
    result = probed("taskonomy-depth", tiny_data, tmp_path, "head.layers=auto", "token_probe.rates=[0.01, 0.03]")
    assert len(result.settings["resolved"]["probe"]["tokens"]["tried"]) > 2


def test_an_interrupted_probe_ends_with_the_same_numbers(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ("token_probe.rates=[1e-3, 0.03]", "train.save_seconds=0")
    whole = probed("nyuv2-depth", tiny_data, tmp_path / "whole", *changes)
    step, steps = TokenProbeTrainer._step, list[int]()

    def stopped(self: TokenProbeTrainer, number: int) -> None:
        steps.append(number)
        if steps == [0, 1, 2, 3, 4]:
            raise KeyboardInterrupt
        step(self, number)

    monkeypatch.setattr(TokenProbeTrainer, "_step", stopped)
    with pytest.raises((KeyboardInterrupt, Stopped)):
        probed("nyuv2-depth", tiny_data, tmp_path / "parts", *changes)
    parts = probed("nyuv2-depth", tiny_data, tmp_path / "parts", *changes)
    assert steps == [0, 1, 2, 3, 4, 4, 5]
    assert {name: one.value for name, one in parts.metrics.items()} == {
        name: one.value for name, one in whole.metrics.items()
    }
    assert parts.settings["resolved"]["probe"] == whole.settings["resolved"]["probe"]


def test_a_rate_that_diverges_leaves_the_others_alone(tiny_data: Path, tmp_path: Path) -> None:
    alone = probed("taskonomy-depth", tiny_data, tmp_path / "alone")
    both = probed("taskonomy-depth", tiny_data, tmp_path / "both", "token_probe.rates=[0.03, 1e30]")
    assert both.metrics["l1"].value == alone.metrics["l1"].value
    tried = both.settings["resolved"]["probe"]["tokens"]["tried"]
    assert [one["select_l1"] is None for one in tried] == [False, True]
    json.dumps(tried)


def test_rates_without_a_finite_head_are_told(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"no head stayed finite with the rates 1e\+30"):
        probed("taskonomy-depth", tiny_data, tmp_path, "token_probe.rates=[1e30]")


def test_segmentation_is_probed_on_padded_squares(tiny_data: Path, tmp_path: Path) -> None:
    result = probed("ade20k-seg", tiny_data, tmp_path)
    assert {"miou", "letterbox/miou"} <= result.metrics.keys()
    labels = [np.load(path) for path in (tmp_path / "cache" / "tokens").glob("*/target_label.npy")]
    assert len(labels) == 2 and all(one.shape[1:] == (32, 32) and one.dtype == np.uint8 for one in labels)


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        ("nyuv2-depth", ["train.frozen=false"], r"\[token_probe\] needs train\.frozen=true"),
        ("nyuv2-depth", ["head.layers=[77]"], r"should name some of the backbone's \d+ outputs"),
        ("nyuv2-depth", ["token_probe.rates=[]"], r"token_probe\.rates"),
    ],
)
def test_what_a_probe_cannot_do_is_one_sentence(
    tiny_data: Path, tmp_path: Path, task: str, changes: list[str], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        probed(task, tiny_data, tmp_path, *changes)
    assert "\n" not in str(caught.value)


def test_without_a_probe_auto_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    recipe = own_recipe(tmp_path / "linear-mini.toml", "nyuv2-depth")
    with pytest.raises(UsageError, match=r"leaves open which block is read.*recipe with \[token_probe\]"):
        run(
            "nyuv2-depth",
            "random:mini-mae",
            recipe=recipe,
            data_root=tiny_data,
            results=tmp_path,
            changes=(*SHORT, "head.layers=auto"),
        )


def test_a_warm_up_that_is_too_long_is_refused_before_tokens_are_extracted(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=r"warm-up takes .* steps; changes=.*optim\.warmup=.* fits"):
        run(
            "nyuv2-depth",
            "random:mini-mae",
            recipe="linear-mini",
            data_root=tiny_data,
            results=tmp_path,
            device="cpu",
            changes=["optim.warmup=100000", "train.workers=0", "train.batch_size=4"],
        )
    assert not list((tmp_path / "cache").rglob("begun"))
