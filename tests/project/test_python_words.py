"""Errors of Python's functions name their arguments; those of the command line name its options."""

import pickle
from pathlib import Path

import pytest

import croco_bench
from croco_bench.errors import BenchError, DataError, told_in_python
from croco_bench.runs import runner


@pytest.mark.parametrize(
    ("command", "python"),
    [
        ("give --name or --results, or --fresh", "give name or results, or fresh=True"),
        (
            "the nearest that fits is --set train.image_size=70",
            'the nearest that fits is changes=["train.image_size=70"]',
        ),
        ("add --set a.b=[64,48] --set task.loss=l1, or", 'add changes=["a.b=[64,48]", "task.loss=l1"], or'),
        (
            "leave it out with --set 'task.train_on={sintel = 40}'",
            'leave it out with changes=["task.train_on={sintel = 40}"]',
        ),
        ("lower the rate (--set optim.lr or optim.blr)", "lower the rate (optim.lr or optim.blr)"),
        ("leave --eval-only out", "leave eval_only=True out"),
        ("croco-bench data make-mini DIR --seed 1; --seed", "croco-bench data make-mini DIR --seed 1; seed"),
        ("fewer, such as --tolerance 0.05, --set-up, --names", "fewer, such as --tolerance 0.05, --set-up, --names"),
    ],
)
def test_options_become_arguments(command: str, python: str) -> None:
    def fails() -> None:
        raise BenchError("it failed", command)

    with pytest.raises(BenchError) as caught:
        told_in_python(fails)()
    assert str(caught.value) == f"it failed; {python}" and caught.value.advice == python


def test_public_functions_speak_python_and_the_command_line_its_own(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give data_root DIR"):
        croco_bench.run("nyuv2-depth", "mini-mae", recipe="smoke", results=tmp_path)
    with pytest.raises(DataError, match="give --data-root DIR"):
        runner.run("nyuv2-depth", "mini-mae", recipe="smoke", results=tmp_path)


def test_public_functions_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(croco_bench.run)) is croco_bench.run
    assert croco_bench.run.__doc__ == runner.run.__doc__
