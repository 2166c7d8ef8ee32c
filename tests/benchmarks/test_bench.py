"""The command that times work beside the device's rates, at tiny sizes: every piece, of every task that can be measured."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.bench import render
from benchmarks.bench.__main__ import arguments_of, main, plan_of
from benchmarks.bench.costs import costs
from benchmarks.bench.counting import counted
from benchmarks.bench.figures import Figure
from benchmarks.bench.machine import Rates
from benchmarks.bench.samples import known
from croco_bench import registry

# Tasks, of each group one.
GROUPS = list(dict.fromkeys(one.card.group or one.name for one in registry.tasks()))
TINY = ["--tiny", "--device", "cpu", "--ckpt", "random:mini-croco", "--pretrain-recipe", "mini"]


def figures_of(tmp_path: Path, *arguments: str) -> list[Figure]:
    out = tmp_path / "figures.json"
    main([*TINY, "--out", str(out), *arguments])
    return render.read(out)[2]


def test_samples_of_every_task_can_be_made() -> None:
    assert [one.name for one in registry.tasks() if not known(one.name)] == []


@pytest.mark.slow
@pytest.mark.parametrize("task", GROUPS)
def test_every_task_is_measured(tmp_path: Path, task: str) -> None:
    name = task if task in registry.tasks() else next(one.name for one in registry.tasks() if one.card.group == task)
    found = figures_of(tmp_path, "--tasks", f"{name}:smoke", "--pieces", "step", "evaluation", "loader")
    assert not [one.failed for one in found if one.failed]
    pieces = {one.piece for one in found}
    trained = not registry.tasks()[name].card.training_free
    assert pieces == ({"fine-tuning step", "evaluation", "loader"} if trained else {"evaluation"})
    for one in found:
        assert one.seconds is not None and one.seconds >= 0
        if one.piece != "loader":
            assert one.flops and one.floor_seconds and one.memory_mb


def test_encoder_and_pretraining_are_measured_and_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = figures_of(tmp_path, "--tasks", "--pieces", "forward", "pretrain", "loader")
    assert [one.piece for one in found] == ["encoder forward", "pre-training step", "loader"]
    assert not any(one.failed for one in found)
    assert all(one.seconds and one.per_second for one in found)
    capsys.readouterr()
    main(["--render", str(tmp_path / "figures.json")])
    printed = capsys.readouterr().out
    assert "| pre-training step | mini | fp32 | 2 |" in printed
    assert printed == (tmp_path / "figures.md").read_text(encoding="utf-8") + "\n"


def test_the_authors_step_is_taken_from_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "checkout" / "models"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "croco.py").write_text(NETWORK, encoding="utf-8")
    (package / "criterion.py").write_text(CRITERION, encoding="utf-8")
    checkout = ["--reference", str(package.parent)]
    with monkeypatch.context() as patched:
        for name in ("models", "models.croco", "models.criterion"):
            patched.delitem(sys.modules, name, raising=False)
        found = figures_of(tmp_path, "--tasks", "--pieces", "pretrain", *checkout)
    for name in ("models", "models.croco", "models.criterion"):
        sys.modules.pop(name, None)
    assert [one.piece for one in found] == ["pre-training step", "reference's pre-training step"]
    assert found[1].flops == 3 * 2 * 2 * 3 * 5  # of the product, and of both its gradients


NETWORK = """
import torch
class CroCoNet(torch.nn.Module):
    def __init__(self, pos_embed):
        super().__init__()
        assert pos_embed == "RoPE100"
        self.weight = torch.nn.Parameter(torch.ones(3, 5))
    def forward(self, one, two):
        pixels = (one + two).mean((2, 3)).requires_grad_()
        return pixels @ self.weight, None, 0.0
"""
CRITERION = """
class MaskedMSE:
    def __init__(self, norm_pix_loss):
        assert norm_pix_loss
    def __call__(self, out, mask, target):
        return (out - target).square().mean()
"""


def test_a_piece_that_fails_is_told_and_the_others_are_measured(tmp_path: Path) -> None:
    found = figures_of(tmp_path, "--tasks", "imagenet-linear:nosuch", "imagenet-linear:smoke", "--pieces", "step")
    assert "nosuch" in found[0].failed and not found[1].failed


def test_what_the_time_does_not_hold_is_left_out(tmp_path: Path) -> None:
    found = figures_of(tmp_path, "--seconds", "0", "--tasks", "imagenet-linear:smoke", "--pieces", "step")
    assert [one.failed for one in found] == ["left out: the time was spent"]


def test_the_default_is_one_task_of_each_group() -> None:
    plan = plan_of(arguments_of(["--device", "cpu"]))
    assert len([task for task in plan.tasks if task.startswith("taskonomy")]) == 1
    assert len(plan.tasks) == len(GROUPS) and all(known(task) for task in plan.tasks)
    assert {"ade20k-seg", "correspondence", "imagenet-linear", "nyuv2-depth", "relative-pose", "stereo"} < set(
        plan.tasks
    )


def test_products_and_attention_are_counted_forward_and_backward() -> None:
    a = torch.ones(3, 5, requires_grad=True)
    b = torch.ones(5, 7, requires_grad=True)
    flops, kernels = counted(lambda: torch.autograd.backward((a @ b).T.sum()))
    assert flops == 3 * 2 * 3 * 5 * 7 and kernels == 5  # products, the sum, and ones; the rest are views
    q = torch.ones(2, 4, 10, 8, requires_grad=True)
    products = 2 * 2 * (2 * 4 * 10 * 10 * 8)
    assert counted(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q))[0] == products


def test_shares_follow_from_rates() -> None:
    figure = Figure("pre-training step", "mini", "bf16", 4, "pair", flops=2e12, seconds=0.02, floor_seconds=0.01)
    assert figure.per_second == 200
    assert figure.floor_share == 0.5
    assert figure.utilization({"bf16": 200e12}) == 0.5
    assert figure.utilization({"fp32": 50e12}) is None


def test_the_cost_of_a_table_multiplies_steps_and_images(tmp_path: Path) -> None:
    step = Figure("fine-tuning step", "nyuv2-depth paper", "bf16", 128, seconds=0.36)
    scored = [Figure("evaluation", f"nyuv2-depth paper{one}", "bf16", 10, seconds=0.1) for one in ("", " eigen")]
    (cost,) = costs([step, *scored, Figure("fine-tuning step", "nyuv2-depth paper", "fp32", failed="x")], "bf16")
    assert (cost.task, cost.runs, cost.steps) == ("nyuv2-depth", 1, 2000 * 5)
    assert cost.training == pytest.approx(1.0)
    assert cost.evaluation == pytest.approx((654 * 0.02 + 80 * 80 * 0.01) / 3600)
    render.write(
        tmp_path / "f.json", {"device": "d", "torch": "2", "threads": 1, "clock": "c", "date": "t"}, RATES, [step]
    )
    assert "| nyuv2-depth | 1 | 10,000 | 1.0 |" in render.markdown(*render.read(tmp_path / "f.json"))
    assert json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["rates"]["flops"] == {"bf16": 1e15}


RATES = Rates({"bf16": 1e15}, 4e12, 5e10)
