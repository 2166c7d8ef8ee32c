"""Pre-training from end to end: what it leaves, restarts, processes, and what can go wrong."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file
from torch import Tensor

from croco_bench import load_backbone, run
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.backbones.networks.vit import ViT
from croco_bench.engine.training_log import lines
from croco_bench.errors import RecordError
from croco_bench.files import atomic
from croco_bench.pretraining import recipe as recipes
from croco_bench.pretraining.build import build
from croco_bench.pretraining.objective import Objective
from croco_bench.pretraining.outputs import Output
from croco_bench.pretraining.train import Pretrainer

Tiny = Callable[..., Path]
Words = Callable[..., list[str]]


def weights(folder: Path) -> dict[str, Tensor]:
    model: dict[str, Tensor] = torch.load(folder / "checkpoint-last.pth")["model"]
    return model


def same(one: Path, other: Path, tolerance: float = 0.0) -> bool:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first) <= tolerance


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in lines(folder) if "loss" in line]


def features(backbone: ViT) -> list[Tensor]:
    """Of two fixed images, and of the two as a pair where the backbone takes pairs."""
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone = backbone.eval().encode(images)
        return alone + (backbone.encode_pair(images, images.flip(0)) if isinstance(backbone, CroCo) else [])


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses longer files, as it refuses all on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def made(tiny: Tiny, pairs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted pre-training to compare with."""
    out = tmp_path_factory.mktemp("pretraining") / "tiny-croco"
    tiny(pairs_root, out)
    return out


# --- what is left behind ---


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ([], "croco"),
        (["decoder=cat", "model.positions=cosine", "croco.matching_start=0", "train.ema=0.5"], "croco"),
        (["objective=mae"], "mae"),
        (["objective=multimae"], "multimae"),
    ],
)
def test_every_objective_makes_a_backbone(
    tiny: Tiny,
    tiny_settings: Callable[..., list[str]],
    changes: list[str],
    family: str,
    pairs_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained, finish = list[ViT](), Output.finish

    def seen(self: Output, model: Objective, facts: Any) -> None:
        trained.append(model.backbone)
        finish(self, model, facts)

    monkeypatch.setattr(Output, "finish", seen)
    path = tiny(pairs_root, tmp_path / "net", *changes)
    finished, checkpoint = (load_backbone(one, image_size=32) for one in (path, path.parent / "checkpoint-last.pth"))
    assert isinstance(finished, ViT)
    assert isinstance(checkpoint, ViT)
    assert finished.family == checkpoint.family == family
    for exact, whole, half in zip(features(trained[0]), features(checkpoint), features(finished), strict=True):
        assert torch.equal(whole, exact)
        torch.testing.assert_close(half, exact, atol=2e-2, rtol=0)
    facts = json.loads((path.parent / "facts.json").read_text())
    assert facts["images_seen"] == 24
    assert any("has absolute positions" in note for note in facts["notes"]) == (family != "croco")
    recipe = recipes.load("mini", tiny_settings(*changes))
    assert facts["deviations"] == [*recipe.protocol.deviations, *build(recipe, 0).deviations]
    assert [line["step"] for line in facts["curve"]] == [2, 5]
    assert len(list((path.parent / "sheets").glob("*.png"))) == 2


def test_what_is_left_behind(made: Path) -> None:
    content = torch.load(made / "checkpoint-last.pth")
    assert content["croco_kwargs"]["pos_embed"] == "RoPE100"
    assert {"mask_token", "prediction_head.weight", "enc_norm.weight"} <= set(content["model"])
    scores = json.loads((made / "facts.json").read_text())["scores"]
    assert scores["ratio"] == pytest.approx(scores["held_out"] / scores["held_out_wrong"])
    assert len(losses(made)) == 6


def test_a_pretrained_backbone_is_fine_tuned(made: Path, tiny_data: Path, tmp_path: Path) -> None:
    for name in ("checkpoint-last.pth", "tiny-croco.safetensors"):
        result = run("nyuv2-depth", made / name, recipe="smoke", data_root=tiny_data, results=tmp_path, device="cpu")
        assert result is not None
        assert (result.model.family, result.model.positions) == ("croco", "rotary")


def test_rooms_without_end(tiny: Tiny, pairs_root: Path, tmp_path: Path) -> None:
    path = tiny(pairs_root, tmp_path / "net", "data.holdout=0", "train.steps=2", pairs=["rooms"])
    facts = json.loads((path.parent / "facts.json").read_text())
    assert facts["data"]["sets"] == "rooms"
    assert facts["command"].startswith("croco-bench pretrain --recipe mini --pairs=rooms --set=")


def test_low_precision_and_an_average_of_weights(tiny: Tiny, made: Path, pairs_root: Path, tmp_path: Path) -> None:
    for name in ("live", "average"):
        tiny(pairs_root, tmp_path / name, "train.precision=bf16", f"train.ema={0.9 if name == 'average' else 0}")
    assert losses(tmp_path / "live") == losses(tmp_path / "average")
    assert losses(tmp_path / "live") == pytest.approx(losses(made), rel=0.02)
    assert not same(tmp_path / "live", tmp_path / "average")
    assert {tensor.dtype for tensor in weights(tmp_path / "live").values()} == {torch.float32}


# --- how it gets there ---


def test_killed_and_started_again_it_ends_the_same(tiny: Tiny, words: Words, pairs_root: Path, tmp_path: Path) -> None:
    long = ["train.steps=40", "train.check_every=20", "train.ema=0.5", "train.accumulate=2"]
    tiny(pairs_root, tmp_path / "whole", *long)
    command = [sys.executable, "-m", "croco_bench", *words(pairs_root, tmp_path / "killed", *long)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(losses(tmp_path / "killed")) < 7:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(losses(tmp_path / "killed")) < 40
    tiny(pairs_root, tmp_path / "killed", *long)
    assert same(tmp_path / "whole", tmp_path / "killed")
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")


@pytest.mark.parametrize("changes", [[], ["train.shard=true"]])
def test_two_processes_do_what_one_does(
    words: Words, changes: list[str], made: Path, pairs_root: Path, tmp_path: Path
) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "croco_bench"]
    done = subprocess.run(
        [*launch, *words(pairs_root, tmp_path / "two", *changes)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(made), abs=1e-5)
    assert same(made, tmp_path / "two", 1e-4)


def test_accumulation_changes_rounding_only(tiny: Tiny, made: Path, pairs_root: Path, tmp_path: Path) -> None:
    tiny(pairs_root, tmp_path / "parts", "train.accumulate=4")
    assert losses(tmp_path / "parts") == pytest.approx(losses(made), abs=1e-5)


def test_seeds_differ(tiny: Tiny, made: Path, pairs_root: Path, tmp_path: Path) -> None:
    tiny(pairs_root, tmp_path / "other", seed=1)
    assert losses(tmp_path / "other") != losses(made)


def test_a_training_stops_half_way_down_its_cosine(
    tiny: Tiny, tiny_settings: Callable[..., list[str]], pairs_root: Path, tmp_path: Path
) -> None:
    tiny(pairs_root, tmp_path, "train.schedule=12", "optim.warmup=2", "optim.min_lr=0.0")
    rates = [line["lr"] for line in lines(tmp_path) if "lr" in line]
    peak = recipes.load("mini", tiny_settings()).lr
    assert rates[:3] == pytest.approx([0, peak / 2, max(rates)])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0.6 * peak < rates[-1] < 0.8 * peak  # 3 of the cosine's 10 steps


# --- folders ---


def test_done_is_done(tiny: Tiny, made: Path, pairs_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (made / "checkpoint-last.pth").stat().st_mtime_ns
    tiny(pairs_root, made)
    assert "already done" in capsys.readouterr().err
    assert (made / "checkpoint-last.pth").stat().st_mtime_ns == before


def test_other_settings_and_second_runs_are_refused(tiny: Tiny, made: Path, pairs_root: Path) -> None:
    with pytest.raises(RecordError, match="other settings"):
        tiny(pairs_root, made, "optim.blr=0.001")
    with FileLock(made / "lock"), pytest.raises(RecordError, match="another pre-training is at work"):
        tiny(pairs_root, made)


def test_finished_work_is_not_trained_over(tiny: Tiny, pairs_root: Path, tmp_path: Path) -> None:
    tiny(pairs_root, tmp_path / "net", "train.steps=2")
    (tmp_path / "net" / "last.pt").unlink()
    before = (tmp_path / "net" / "checkpoint-last.pth").read_bytes()
    with pytest.raises(RecordError, match="holds a finished pre-training without its state"):
        tiny(pairs_root, tmp_path / "net", "train.steps=2")
    assert (tmp_path / "net" / "checkpoint-last.pth").read_bytes() == before


def test_fresh_starts_over_and_touches_nothing_else(tiny: Tiny, pairs_root: Path, tmp_path: Path) -> None:
    mine = ["mine.txt", "mine.safetensors", "checkpoint-best.pth"]
    for name in mine:
        (tmp_path / name).write_text("keep")
    tiny(pairs_root, tmp_path, "train.steps=4", "train.keep_every=2")
    assert (tmp_path / "checkpoint-2.pth").is_file()
    tiny(pairs_root, tmp_path, "train.steps=3", fresh=True)
    assert len(losses(tmp_path)) == 3
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-best.pth", "checkpoint-last.pth"}
    assert [(tmp_path / name).read_text() for name in mine] == ["keep"] * 3


def test_states_of_other_programs_and_damaged_ones(tiny: Tiny, pairs_root: Path, tmp_path: Path) -> None:
    for content, message in [({"model": 1}, "other settings"), (torch.zeros(2), "other settings")]:
        torch.save(content, tmp_path / "last.pt")
        with pytest.raises(RecordError, match=message):
            tiny(pairs_root, tmp_path)
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:200])
    with pytest.raises(RecordError, match="can't be read"):
        tiny(pairs_root, tmp_path)


# --- what can go wrong ---


def test_a_full_disk_loses_nothing_that_was_saved(
    tiny: Tiny, pairs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Path
) -> None:
    save = Pretrainer.save

    def third_fails(self: Pretrainer, done: int) -> None:
        with files_of_at_most(20_000 if done == 3 else resource.RLIM_INFINITY):
            save(self, done)

    monkeypatch.setattr(Pretrainer, "save", third_fails)
    with pytest.raises(RecordError, match=r"can't write .*last\.pt: .*; free space"):
        tiny(pairs_root, tmp_path / "net")
    monkeypatch.undo()
    assert torch.load(tmp_path / "net" / "last.pt")["step"] == 2
    assert not list((tmp_path / "net").glob(".*.partial"))
    tiny(pairs_root, tmp_path / "net")
    assert same(made, tmp_path / "net")


@pytest.mark.parametrize("write", [torch.save, save_file], ids=["torch", "safetensors"])
def test_a_full_disk_leaves_the_old_file(write: Callable[[Any, Path], None], tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    refused = pytest.raises(RecordError, match=r"can't write .*/x: .*; free space")
    with files_of_at_most(20_000), refused, atomic(tmp_path / "x") as temporary:
        write({"a": torch.randn(100_000)}, temporary)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "old"
