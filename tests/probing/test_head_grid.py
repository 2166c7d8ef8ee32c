"""Heads of several rates, trained together: each as if it were alone, the best one chosen."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from croco_bench import run
from croco_bench.config.recipe import load_recipe
from croco_bench.errors import DivergedError, UsageError
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultPaths
from croco_bench.tasks.imagenet_linear import ImageNetLinear

# Rates of a grid are for 256 images: 1e-2 there is optim.lr of this recipe.
RECIPE = """summary = "small"
[head]
name = "attentive"
head_width = 32
[task]
select_fraction = 0.25
[train]
image_size = 32
batch_size = 12
steps = 8
select_every = 4
frozen = true
workers = 0
[optim]
lr = 4.6875e-4
[protocol]
citation = "a test"
"""


def finish(data: Path, results: Path, changes: list[str], name: str, **options: Any) -> Result:
    recipe = results / "small.toml"
    recipe.write_text(RECIPE)
    result = run(
        "imagenet-linear",
        options.pop("ckpt", "mini-mae"),
        recipe=str(recipe),
        data_root=data,
        results=results,
        device="cpu",
        name=name,
        changes=changes,
        **options,
    )
    assert result is not None
    return result


def log_of(results: Path, name: str) -> list[dict[str, Any]]:
    folder = ResultPaths(results, "small", "imagenet-linear", name, 0).folder
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_each_copy_is_trained_as_if_it_were_alone(tiny_data: Path, tmp_path: Path) -> None:
    alone = finish(tiny_data, tmp_path, [], "alone")
    grid = finish(tiny_data, tmp_path, ["grid.rates=[1e-2]", "optim.lr=1.0"], "grid")  # 1e-2 * 12 / 256
    for key in ("top1", "last/top1"):
        assert grid.metrics[key].value == alone.metrics[key].value
    for one, other in zip(log_of(tmp_path, "alone"), log_of(tmp_path, "grid"), strict=True):
        for key in one.keys() - {"select/top5"}:
            assert other[key] == pytest.approx(one[key], rel=1e-4), key
    several = finish(tiny_data, tmp_path, ["grid.rates=[1e-3, 1e-2, 0.1]", "grid.weight_decays=[0.0, 0.1]"], "several")
    chosen = several.settings["resolved"]["probe"]["grid"]
    lines = [line for line in log_of(tmp_path, "several") if "select/top1" in line]
    assert len(lines) == 2 and len(lines[0]) == 2 + 6
    best = max(max(value for key, value in line.items() if key.startswith("select/")) for line in lines)
    assert chosen["select_top1"] == best
    same = [line["select/top1_0.01_0"] for line in lines]
    assert same == [line["select/top1"] for line in log_of(tmp_path, "alone") if "select/top1" in line]


@pytest.mark.slow
def test_a_copy_that_diverges_is_left_behind_and_weights_score_again(tiny_data: Path, tmp_path: Path) -> None:
    result = finish(tiny_data, tmp_path, ["grid.rates=[1e-2, 1e30]", "optim.name=sgd"], "one")
    assert result.settings["resolved"]["probe"]["grid"]["rate"] == 1e-2
    assert any("1e+30" not in note and "rate of the head" in note for note in result.protocol.deviations)
    weights = ResultPaths(tmp_path, "small", "imagenet-linear", "one", 0).folder / "weights.safetensors"
    again = finish(tiny_data, tmp_path, [], "again", ckpt=weights, eval_only=True)
    assert again.metrics["top1"].value == result.metrics["top1"].value
    with pytest.raises(DivergedError, match=r"loss is|no copy of the head stayed finite"):
        finish(tiny_data, tmp_path, ["grid.rates=[1e30, 1e31]", "optim.name=sgd"], "none")


@pytest.mark.slow
def test_kept_tokens_give_the_head_that_images_give_without_augmentation(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageNetLinear, "augment", lambda self, sample, rng: self._prepare(sample))
    changes = ["optim.name=sgd", "optim.lr=0.5"]
    finish(tiny_data, tmp_path, changes, "images")
    finish(tiny_data, tmp_path, [*changes, "token_probe.rates=[0.5]"], "tokens")
    folders = [ResultPaths(tmp_path, "small", "imagenet-linear", name, 0).folder for name in ("images", "tokens")]
    one, other = (load_file(folder / "weights.safetensors") for folder in folders)
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0.01, atol=2e-4)
    assert max(float(one[name].abs().max()) for name in one if "linear" in name) > 0.02


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train.frozen=false", r"needs train\.frozen=true"),
        ("optim.clip_grad=1.0", r"needs optim\.clip_grad=0"),
        ("train.precision=fp16", "another train.precision"),
        ("grid.rates=[]", r"grid\.rates"),
    ],
)
def test_settings_that_let_copies_change_each_other_are_refused(change: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_recipe("imagenet-linear", "attentive", [change])
