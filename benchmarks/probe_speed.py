"""A grid of linear probes on cached features, compared with one augmented training per rate.

    python benchmarks/probe_speed.py [--ckpt mini-mae] [--epochs 90] [--data-root DATA | --arrays FILE.npz]

Both train on the same images for the same number of epochs, with SGD. One augmented training, at the rate that the grid
chose, stands for all of them. FILE.npz holds `images` (N, H, W[, 3]) uint8 and `labels` (N,); scikit-learn's digits are

    digits = load_digits()
    np.savez("digits.npz", images=(digits.images * 15.9).astype(np.uint8), labels=digits.target)
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from croco_bench import run
from croco_bench.config.recipe import load_recipe
from croco_bench.data.miniatures.make import make_mini
from croco_bench.records.schema import Result

TASK = "imagenet-linear"


def export(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.integer], val: int = 5) -> None:
    """Writes images as class folders below train and val; every `val`th image of a class is for validation."""
    for label in np.unique(labels):
        for number, index in enumerate(np.flatnonzero(labels == label)):
            class_folder = folder / ("val" if number % val == val - 1 else "train") / f"{label:04d}"
            class_folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[index]).save(class_folder / f"{index:06d}.png")


def probed(arguments: argparse.Namespace, data: Path, results: Path, recipe: str, *changes: str) -> Result:
    """A result of a recipe, brought to the size of these data."""
    size = f"train.image_size={arguments.size}", f"train.batch_size={arguments.batch}", "train.precision=fp32"
    common = *size, f"train.epochs={arguments.epochs}", "train.workers=0", "task.select_fraction=0.15"
    found = run(
        TASK,
        arguments.ckpt,
        recipe=recipe,
        data_root=data,
        results=results,
        device=arguments.device,
        changes=(*common, *changes),
    )
    assert found is not None
    return found


def compare(arguments: argparse.Namespace, data: Path, results: Path) -> None:
    """Runs both and prints times, their ratio and the difference of accuracies."""
    probe = load_recipe(TASK, "cached").probe
    assert probe is not None
    rates = probe.rates
    cached = probed(arguments, data, results, "cached")
    rate = cached.settings["resolved"]["probe"]["grid"]["rate"] * arguments.batch / 256
    # Weights are selected once, at the end: what selection costs is none of the comparison's.
    sgd = "optim.name=sgd", f"optim.lr={rate}", "optim.warmup=0", "train.accumulate=1"
    plain = probed(arguments, data, results, "paper", *sgd, f"train.select_every={arguments.epochs}")
    grid, one = cached.timing.train_s, plain.timing.train_s
    tops = cached.metrics["top1"].value, plain.metrics["top1"].value
    images, epochs = plain.settings["resolved"]["train"]["train_images"], arguments.epochs
    print(f"{arguments.ckpt}, {images} training images of {arguments.size} pixels, {epochs} epochs")
    print(f"cached features, {len(rates)} rates, every pooling, logistic regression and neighbours: {grid:.1f} s")
    print(f"augmented, one rate: {one:.1f} s; {len(rates)} rates: {len(rates) * one:.0f} s")
    print(f"ratio: 1/{len(rates) * one / grid:.0f}")
    print(f"top-1: cached {tops[0]:.1f} %, augmented {tops[1]:.1f} %, difference {tops[0] - tops[1]:+.1f}")


def main() -> None:
    """Reads the arguments and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", default="mini-mae")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--size", type=int, default=64, help="side of the network's images, pixels")
    parser.add_argument("--batch", type=int, default=64)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data-root", type=Path, help="has a folder imagenet; default: a new miniature")
    source.add_argument("--arrays", type=Path, help="images and labels in one .npz file")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        data = arguments.data_root or Path(folder, "data")
        os.environ["CROCO_BENCH_CACHE"] = str(Path(folder, "cache"))  # nothing that an earlier run kept
        if arguments.arrays:
            with np.load(arguments.arrays) as arrays:
                export(data / "imagenet", arrays["images"], arrays["labels"])
        elif not arguments.data_root:
            make_mini(data, datasets=["imagenet"])
        compare(arguments, data, Path(folder, "results"))


if __name__ == "__main__":
    main()
