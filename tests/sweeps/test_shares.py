"""Cores and GPUs shared out to runs at the same time."""

import shutil
import subprocess

import pytest

from croco_bench.errors import UsageError
from croco_bench.sweeps import shares
from croco_bench.sweeps.cells import Cell
from croco_bench.sweeps.shares import Share, cores_per_job, share_out, visible_gpus


@pytest.fixture(autouse=True)
def _sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "usable_cores", lambda: 16)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_cores_are_divided_and_gpus_hidden_from_runs_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert share_out(None, "cpu") == [Share(4, "")] * 4
    assert share_out(3, "auto") == [Share(5)] * 3
    assert share_out(32, "cpu") == [Share(1, "")] * 32
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert share_out(1, "cpu") == [Share(16, "")]


def test_small_images_get_a_core_per_run() -> None:
    small = Cell("nyuv2-depth", "mini", "a", "mini-mae", 0), Cell("correspondence", "mini", "a", "mini-mae", 0)
    large = Cell("nyuv2-depth", "paper", "a", "mae.pth", 0)
    assert (cores_per_job(small), cores_per_job([*small, large])) == (1, 4)
    assert share_out(None, "cpu", 1, cores_per_job(small)) == [Share(1, "")] * 16


def test_runs_take_turns_on_gpus_and_small_ones_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-5f")
    assert share_out(None, "auto") == [Share(8, "2"), Share(8, "GPU-5f")]
    assert [share.gpus for share in share_out(4, "cuda")] == ["2", "GPU-5f", "2", "GPU-5f"]
    assert share_out(8, "cuda:1") == [Share(2, "GPU-5f")] * 8
    assert share_out(None, "cuda", processes=2) == [Share(16, "2,GPU-5f")]


def test_absent_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("cuda", "cuda:1", "tpu", "cpu:x"):
        with pytest.raises(UsageError, match="--device"):
            share_out(1, device)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UsageError, match="--processes 2"):
        share_out(1, "auto", processes=2)


def test_gpus_are_those_of_the_environment_or_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/nvidia-smi")
    listing = "GPU 0: H100 (UUID: GPU-a)\n  MIG 1g (UUID: MIG-b)\nGPU 1: H100 (UUID: GPU-c)\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: type("Done", (), {"stdout": listing}))
    assert visible_gpus() == ["0", "1"]
