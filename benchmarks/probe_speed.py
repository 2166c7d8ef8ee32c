"""What a linear probe costs: one augmented training per rate, or all rates at once on vectors that are extracted once.

    python benchmarks/probe_speed.py DATA_ROOT [--ckpt mini-croco] [--epochs 10]

Same images, same epochs, 13 rates. The augmented way is run for one rate and multiplied.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

from croco_bench import run
from croco_bench.recipe import load_recipe
from croco_bench.record import Result


def timed(
    arguments: argparse.Namespace, folder: str, name: str, recipe: str, changes: list[str]
) -> tuple[float, Result]:
    """Wall seconds of a run, data loading and evaluation included, and its result."""
    began = time.perf_counter()
    result = run(
        *("imagenet-linear", arguments.ckpt),
        recipe=recipe,
        data_root=arguments.data_root,
        results=folder,
        name=name,
        changes=changes,
    )
    assert result is not None
    return time.perf_counter() - began, result


def main() -> None:
    """Reads the arguments and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_root")
    parser.add_argument("--ckpt", default="mini-croco")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    rates = load_recipe("imagenet-linear", "cached").probe
    assert rates is not None
    common = [f"train.image_size={arguments.size}", f"train.batch_size={arguments.batch}", "train.precision=fp32"]
    common += [f"train.epochs={arguments.epochs}", "train.workers=0", "task.select_fraction=0.15"]
    scaled = [rate * 50 for rate in rates.rates]  # small sets want larger steps
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CROCO_BENCH_CACHE"] = f"{folder}/cache"
        changes = [*common, f"probe.rates={scaled}"]
        cached, grid = timed(arguments, folder, "cached", "cached", changes)
        rate = grid.settings["resolved"]["probe"]["grid"]["rate"]
        changes = [*common, "train.accumulate=1", "optim.name=sgd", f"optim.lr={rate * arguments.batch / 256}"]
        changes += ["optim.warmup=0", f"train.select_every={arguments.epochs}"]
        augmented, one = timed(arguments, folder, "augmented", "paper", changes)
    count = len(scaled)
    print(f"{arguments.ckpt}, {arguments.epochs} epochs, {count} rates")
    print(f"vectors kept, all rates:   {cached:8.1f} s  top-1 {grid.metrics['top1'].value:.1f} % (rate {rate:g})")
    print(f"augmented, one rate:       {augmented:8.1f} s  top-1 {one.metrics['top1'].value:.1f} %")
    print(f"augmented, all rates:      {count * augmented:8.1f} s, {count * augmented / cached:.0f} times as long")


if __name__ == "__main__":
    main()
