"""Compiled networks: the same numbers within rounding, exact restarts, and plain runs where nothing can be compiled."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.exc import BackendCompilerFailed

from croco_bench import run
from croco_bench.engine import compiling
from croco_bench.engine.compiling import Compilation, parts_of
from croco_bench.engine.train import Trainer
from croco_bench.engine.training_log import lines
from croco_bench.errors import FitError, Stopped
from croco_bench.records.schema import Result

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs are captured, with their backward passes, but not made into machine code."""
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def smoke(data: Path, results: Path, *changes: str, task: str = "nyuv2-depth") -> Result:
    """A run of a smoke recipe."""
    short = ("train.steps=3", "train.select_every=3", "optim.warmup=1", "task.hundred=false", *changes)
    made = [change for change in short if task == "nyuv2-depth" or not change.startswith("task.")]
    settings: dict[str, Any] = {"recipe": "smoke", "data_root": data, "device": "cpu", "changes": made}
    result = run(task, "random:mini-croco", results=results, **settings)
    assert result is not None
    return result


def losses(results: Path) -> list[float]:
    """Losses of the only run."""
    (path,) = results.rglob("log.jsonl")
    return [line["loss"] for line in lines(path.parent) if "loss" in line]


def values(result: Result) -> dict[str, float]:
    return {name: metric.value for name, metric in result.metrics.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "extent"), [("nyuv2-depth", "all"), ("stereo", "encoder")])
def test_a_compiled_run_is_the_plain_one_but_for_rounding(
    task: str, extent: str, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = smoke(tiny_data, tmp_path / "plain", task=task)
    compiled = smoke(tiny_data, tmp_path / extent, f"train.compile={extent}", task=task)
    assert losses(tmp_path / extent) == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)
    assert compiled.recipe.fingerprint != plain.recipe.fingerprint
    assert "compiled in" in capsys.readouterr().err
    assert not any("uncompiled" in note for note in compiled.protocol.deviations)


@pytest.mark.slow
def test_a_restart_of_a_compiled_run_is_exact(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after_step = Trainer.after_step

    def warn(self: Trainer, done: int, loss: float, rate: float) -> None:
        after_step(self, done, loss, rate)
        if done == 2:
            signal.raise_signal(signal.SIGTERM)

    change = "train.compile=encoder"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "after_step", warn)
        with pytest.raises(Stopped):
            smoke(tiny_data, tmp_path / "stopped", change)
    assert values(smoke(tiny_data, tmp_path / "stopped", change)) == values(
        smoke(tiny_data, tmp_path / "whole", change)
    )


def fails(*_: object, **__: object) -> Any:
    """A compiler without a machine."""
    raise RuntimeError("no compiler here\nand more lines")


def fails_late(*_: object) -> Any:
    """The compiler's own error, out of the backward pass."""
    raise BackendCompilerFailed(fails, RuntimeError("no compiler here"), None)


def fails_backward() -> Any:
    """A compiler that fails at the backward pass."""
    return aot_autograd(fw_compiler=lambda graph, _: graph, bw_compiler=fails_late)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [fails, fails_backward()])
def test_a_failure_to_compile_costs_a_sentence_and_no_number(
    backend: Any,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(compiling, "BACKEND", backend)
    plain = smoke(tiny_data, tmp_path / "plain")
    failed = smoke(tiny_data, tmp_path / "failed", "train.compile=all", "optim.drop_path=0.1")
    assert values(failed) == values(plain) and losses(tmp_path / "failed") == losses(tmp_path / "plain")
    said = [line for line in capsys.readouterr().err.splitlines() if "can't be compiled" in line]
    assert len(said) == 1 and "no compiler here" in said[0]
    notes = [note for note in failed.model_dump_json().split('"') if "the network ran uncompiled" in note]
    assert len(notes) == 1 and "no compiler here" in notes[0]


class Doubling(nn.Module):
    """Doubles its inputs."""

    def forward(self, numbers: Tensor) -> Tensor:
        return 2 * numbers


def test_small_last_batches_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[int, ...]] = []

    def counting(graph: Any, inputs: list[Tensor]) -> Callable[..., Any]:
        compiled.append(tuple(inputs[0].shape))
        return graph.forward  # type: ignore[no-any-return]

    monkeypatch.setattr(compiling, "BACKEND", counting)
    module = Doubling()
    compilation = Compilation([module], CPU)
    for rows, columns in ((2, 3), (4, 3), (4, 3), (1, 3), (3, 3), (5, 2), (4, 2)):
        given = torch.arange(float(rows * columns)).view(rows, columns)
        assert torch.equal(module(given), 2 * given)
    assert compiled == [(2, 3), (4, 3), (5, 2)]
    assert compilation.notes == () and list(module.state_dict()) == []


def test_errors_of_the_network_are_not_the_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(nn.Module):
        def forward(self, numbers: Tensor) -> Tensor:
            raise FitError(f"{len(numbers)} numbers don't fit")

    module = Refusing()
    compilation = Compilation([module], CPU)
    with pytest.raises(FitError, match="3 numbers don't fit"):
        module(torch.ones(3))
    assert compilation.failure is None


def test_an_encoder_without_blocks_is_refused() -> None:
    module = Doubling()
    assert parts_of(module, [], "mine", "all") == [module]
    with pytest.raises(FitError, match=r"mine doesn't say .* train\.compile=encoder"):
        parts_of(module, [], "mine", "encoder")
