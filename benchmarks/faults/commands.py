"""The commands that are disturbed. A new command of croco-bench is one more entry of `COMMANDS`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

# A catalogue entry whose archive lies on the local server, in front of the ordinary command line.
_GET = """
import sys
from croco_bench.cli.main import main
from croco_bench.data.catalogue import loader
toy = loader.DatasetInfo("toy", "Toy", "small", "CC0", "none", "toy/", "none", downloads=sys.argv.pop(1))
loader.CATALOGUE = {"toy": toy}
main()
"""
_SMALL = ("--device", "cpu", "--results", "results", "--set", "train.save_seconds=0")


@dataclass(frozen=True)
class Command:
    """One command line.

    Attributes:
        words: arguments of `croco-bench`; `{data}` is the folder of miniatures, `{server}` the address of the local server.
            All other paths are relative to the working folder.
        prefix: arguments of Python in front of `words`.
    """

    words: tuple[str, ...]
    prefix: tuple[str, ...] = ("-m", "croco_bench")

    def line(self, data: Path, server: str, *more: str) -> list[str]:
        """The whole command line, with further arguments at its end."""
        words = (word.replace("{data}", str(data)).replace("{server}", server) for word in (*self.prefix, *self.words))
        return [sys.executable, *words, *more]


def _run(task: str, ckpt: str, recipe: str, *more: str) -> Command:
    return Command(("run", task, "--ckpt", ckpt, "--recipe", recipe, "--data-root", "{data}", *_SMALL, *more))


# Every entry runs for a few seconds and writes below its working folder or into the cache only. An entry is all that
# another command needs (such as one that runs many of these one after another) to be killed and compared like them.
COMMANDS: dict[str, Command] = {
    "run nyuv2-depth": _run("nyuv2-depth", "random:mini-croco", "smoke", "--set", "train.steps=24"),
    "run sintel-flow": _run("sintel-flow", "random:mini-croco", "smoke"),
    "run relative-pose": _run("relative-pose", "random:mini-croco", "smoke"),
    "run ade20k-seg": _run("ade20k-seg", "random:mini-mae", "smoke"),
    "sweep": Command(
        (
            *(
                "sweep",
                "--ckpt",
                "random:mini-croco",
                "--ckpt",
                "mini-mae",
                "--task",
                "nyuv2-depth",
                "--recipe",
                "smoke",
            ),
            *("--jobs", "2", "--retries", "0", "--data-root", "{data}", *_SMALL),
        )
    ),
    "cached probe": _run(
        "imagenet-linear",
        "random:mini-mae",
        "mini",
        *("--set", "train.epochs=3", "--set", "train.batch_size=16", "--set", "train.workers=1"),
    ),
    "pretrain": Command(
        (
            *("pretrain", "--recipe", "mini", "--pairs", "{data}/habitat_release", "--out", "pretrained"),
            *("--device", "cpu", "--set", "train.steps=20", "--set", "train.batch_size=4", "--set", "data.holdout=2"),
            *("--set", "optim.warmup=2", "--set", "train.check_every=5", "--set", "train.save_seconds=0"),
        )
    ),
    "data make-mini": Command(
        (
            *("data", "make-mini", "mini", "--only", "nyuv2", "--only", "ade20k", "--workers", "2"),
            *(
                "--set",
                "nyuv2.train=20",
                "--set",
                "nyuv2.test=6",
                "--set",
                "nyuv2.height=48",
                "--set",
                "nyuv2.width=64",
            ),
            *(
                "--set",
                "ade20k.train=20",
                "--set",
                "ade20k.val=4",
                "--set",
                "ade20k.height=40",
                "--set",
                "ade20k.width=56",
            ),
        )
    ),
    "data make-pairs": Command(
        (
            *("data", "make-pairs", "{data}/7scenes", "--out", "pairs", "--crop", "32", "--every", "1"),
            *("--split", "all", "--covisibility", "0.2", "0.95", "--workers", "2"),
        )
    ),
    "data get": Command(
        ("data", "get", "toy", "--data-root", "root", "--allow-http"), prefix=("-c", _GET, "{server}/archive.zip")
    ),
    "checkpoint by URL": Command(("models", "--try", "{server}/weights.safetensors")),
}
# Commands that torchrun can start on several processes, with equal scores.
DISTRIBUTED = ("run nyuv2-depth", "run sintel-flow", "run relative-pose", "run ade20k-seg")
