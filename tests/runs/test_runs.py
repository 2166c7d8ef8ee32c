"""Whole runs through the command line's own path: finishing, going on after a kill, refusing, evaluating again."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from croco_bench import run
from croco_bench.errors import BenchError, CheckpointError, DivergedError, FitError, RecordError, UsageError
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultPaths, read

CKPT = "random:mini-croco"


def smoke(data: Path, results: Path, **options: Any) -> Result:
    result = run(
        "nyuv2-depth", CKPT, **{"recipe": "smoke", "data_root": data, "results": results, "device": "cpu", **options}
    )
    assert result is not None
    return result


def values(result: Result) -> dict[str, float]:
    return {name: metric.value for name, metric in result.metrics.items()}


@pytest.fixture(scope="module")
def finished(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    results = tmp_path_factory.mktemp("results")
    return results, smoke(tiny_data, results)


def slot_of(results: Path, model: str = "random-mini-croco") -> ResultPaths:
    return ResultPaths(results, "smoke", "nyuv2-depth", model, 0)


def test_a_run_leaves_all_it_promises(finished: tuple[Path, Result]) -> None:
    results, result = finished
    slot = slot_of(results)
    assert read(slot.json) == result
    assert {"delta1", "eigen/delta1", "hundred/delta1", "last/delta1", "last/eigen/rmse"} <= result.metrics.keys()
    assert result.dataset.images == result.dataset.images_available == 6
    assert result.dataset.miniature and result.selected and result.selected.split.startswith("select")
    assert slot.sheet.read_bytes().startswith(b"\x89PNG")
    assert not (slot.folder / "last.pt").exists()
    with np.load(slot.rows) as rows:
        assert rows["index"].tolist() == list(range(6))
        assert rows["delta1"].mean() == pytest.approx(result.metrics["delta1"].value, rel=1e-12)
        assert rows["last/eigen/rmse"].shape == (6,)
        assert len(set(rows["group"])) == 2  # scenes; the protocol of 100 images has them in another order
        assert sorted(rows["hundred/group"]) == sorted(rows["group"])
        assert not any(name.endswith("eigen/group") for name in rows.files)
    cost = result.cost
    assert cost and cost.eval_images_per_s and cost.flops and cost.image_size == (32, 32)
    assert (
        result.model.parameters > (cost.trained_parameters or 0) > (cost.backbone_parameters or 0) > 0
    )  # fixed positions
    assert all(metric.ci95 is None for metric in result.metrics.values())
    assert "headline: no 95 % intervals, since 6 of at least 10 images were scored" in result.protocol.deviations


def test_the_same_run_is_not_done_twice_and_another_is_not_overwritten(
    tiny_data: Path, finished: tuple[Path, Result]
) -> None:
    results, result = finished
    before = slot_of(results).json.stat().st_mtime_ns
    assert smoke(tiny_data, results) == result
    with pytest.raises(RecordError, match="other settings"):
        smoke(tiny_data, results, changes=["optim.lr=1e-4"])
    assert slot_of(results).json.stat().st_mtime_ns == before


@pytest.mark.slow
def test_same_seed_same_numbers_other_seed_others(
    tiny_data: Path, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    other_workers = smoke(tiny_data, tmp_path, changes=["train.workers=1"])
    assert values(other_workers) == values(finished[1])
    assert other_workers.protocol.deviations == finished[1].protocol.deviations  # what changes no number isn't one
    assert values(smoke(tiny_data, tmp_path, seed=1)) != values(finished[1])


@pytest.mark.slow
@pytest.mark.processes
def test_kill_minus_nine_changes_nothing(tiny_data: Path, finished: tuple[Path, Result], tmp_path: Path) -> None:
    """Killed after a save in the middle of training, with dropout at work, then started again."""
    command = [sys.executable, "-m", "croco_bench", "run", "nyuv2-depth", "--ckpt", CKPT, "--recipe", "smoke"]
    command += [
        "--data-root",
        str(tiny_data),
        "--results",
        str(tmp_path),
        "--device",
        "cpu",
        "--set",
        "train.save_seconds=0",
    ]
    log = slot_of(tmp_path).folder / "log.jsonl"
    killed_at = []
    for min_lines in (2, 8):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 120
            while (not log.is_file() or len(log.read_text().splitlines()) < min_lines) and time.monotonic() < deadline:
                assert process.poll() is None or min_lines == 8, "it ended before it could be killed"
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        killed_at.append(len(log.read_text().splitlines()))
    assert killed_at[0] >= 2
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "going on from step" in done.stderr or "already done" in done.stderr
    assert values(read(slot_of(tmp_path).json)) == values(finished[1])
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines() if '"loss"' in line]
    assert steps == list(range(12))


@pytest.mark.slow
def test_saved_weights_score_the_same(tiny_data: Path, finished: tuple[Path, Result], tmp_path: Path) -> None:
    results, result = finished
    weights = slot_of(results).folder / "weights.safetensors"
    again = run(
        "nyuv2-depth", weights, recipe="smoke", data_root=tiny_data, results=tmp_path, eval_only=True, device="cpu"
    )
    assert again is not None
    assert all(again.metrics[name].value == result.metrics[name].value for name in again.metrics)
    assert again.model.source == "weights.safetensors"  # no folder of this machine
    with pytest.raises(BenchError, match="no fine-tuned head"):
        smoke(tiny_data, tmp_path, eval_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "state", ['{"mean_m": 2.0}', '{"mean_m": 2.0, "std_m": "x"}', '{"mean_m": 2.0, "std_m": NaN}', "[]"]
)
def test_weights_with_an_odd_state_of_the_task_are_refused(
    tiny_data: Path, finished: tuple[Path, Result], tmp_path: Path, state: str
) -> None:
    weights = slot_of(finished[0]).folder / "weights.safetensors"
    with safe_open(weights, "pt") as opened:
        facts = {**opened.metadata(), "task_state": state}
        save_file({name: opened.get_tensor(name) for name in opened.keys()}, tmp_path / "w.safetensors", facts)  # noqa: SIM118
    with pytest.raises(CheckpointError, match=r"the state of the task should .*; fine-tune again"):
        run(
            "nyuv2-depth",
            tmp_path / "w.safetensors",
            recipe="smoke",
            data_root=tiny_data,
            results=tmp_path,
            eval_only=True,
        )


@pytest.mark.slow
def test_a_limited_run_says_so(tiny_data: Path, tmp_path: Path) -> None:
    result = smoke(tiny_data, tmp_path, limit=4)
    assert (result.dataset.images, result.dataset.images_available) == (4, 6)
    assert result.limited


@pytest.mark.slow
def test_a_share_of_the_training_images_leaves_the_test_as_it_is(
    tiny_data: Path, finished: tuple[Path, Result], tmp_path: Path
) -> None:
    result, whole = smoke(tiny_data, tmp_path, changes=["train.labels=0.5"]), finished[1]
    trained, before = (one.settings["resolved"]["train"]["train_images"] for one in (result, whole))
    assert trained == round(0.5 * before)
    assert result.dataset == whole.dataset
    assert values(result) != values(whole)


@pytest.mark.slow
def test_frozen_trains_the_head_only(tiny_data: Path, tmp_path: Path) -> None:
    import torch

    from croco_bench import load_backbone

    result = smoke(tiny_data, tmp_path, frozen=True)
    before = load_backbone(CKPT, image_size=32)
    before.drop_decoder()
    after = load_backbone(slot_of(tmp_path).folder / "weights.safetensors", image_size=32)
    assert all(
        torch.equal(a, b) for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    )
    assert "changed from the recipe: train.frozen=true" in result.protocol.deviations


def test_failures_are_sentences(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="lower the learning rate"):
        smoke(tiny_data, tmp_path, changes=["optim.lr=1e30"], name="a")
    with pytest.raises(FitError, match="multiple of 16"):
        smoke(tiny_data, tmp_path, changes=["train.image_size=40"], name="b")
    with pytest.raises(UsageError, match="fewer than one batch"):
        smoke(tiny_data, tmp_path, changes=["train.batch_size=64"], name="c")
    with pytest.raises(UsageError, match="setting of"):
        smoke(tiny_data, tmp_path, changes=["task.lossy=1"], name="d")
    with pytest.raises(BenchError, match="no folder"):
        smoke(tmp_path, tmp_path, name="e")
    with pytest.raises(UsageError, match="GPU"):
        smoke(tiny_data, tmp_path, device="cuda:7", name="f")


def test_a_head_of_the_wrong_kind_or_an_unknown_classical_method(tiny_data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"recipe": "smoke", "data_root": tiny_data, "results": tmp_path, "device": "cpu"}
    with pytest.raises(UsageError, match=r"an output per pixel, which linear isn't; .* of convnext, .*dpt, .*upernet$"):
        run("nyuv2-depth", "random:mini-croco", changes=["head=linear"], **options)
    with pytest.raises(UsageError, match="nyuv2-depth has no classical method"):
        run("nyuv2-depth", "classical:sift", **options)


@pytest.mark.slow
@pytest.mark.processes
def test_two_processes_score_every_image_once(tiny_data: Path, tmp_path: Path) -> None:
    """torchrun with gloo: the same global batch, an odd number of images for two processes, one result."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "croco_bench"]
    command += ["run", "nyuv2-depth", "--ckpt", CKPT, "--recipe", "smoke", "--data-root", str(tiny_data)]
    command += ["--results", str(tmp_path), "--device", "cpu", "--limit", "5", "--set", "optim.drop_path=0.0"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    two = read(slot_of(tmp_path).json)
    assert two.dataset.images == 5
    assert two.environment.processes == 2
    with np.load(slot_of(tmp_path).rows) as rows:
        assert rows["index"].tolist() == list(range(5))
    one = smoke(tiny_data, tmp_path / "one", limit=5, changes=["optim.drop_path=0.0"])
    # The loss's berHu corner is set by each process's part of the batch, hence not bit-identical.
    assert two.metrics["rmse"].value == pytest.approx(one.metrics["rmse"].value, rel=0.05)
