"""Time and memory of full-size work on nyuv2-depth: one training step, and the evaluation beside its bare forward passes.

    python benchmarks/full_size.py --ckpt random:croco-v1 --batch 8 [--device cuda]

Data are a miniature of 480x640 images, read like the real ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from accelerate import Accelerator

from croco_bench.config.recipe import load_recipe
from croco_bench.data.miniatures.make import make_mini
from croco_bench.engine import devices
from croco_bench.engine.dataloading import evaluation_batches
from croco_bench.engine.devices import peak_memory_mb
from croco_bench.engine.evaluate import evaluate
from croco_bench.runs.setup import RunRequest, RunSetup, set_up

TASK = "nyuv2-depth"


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median wall time after one warm-up."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[repeats // 2]


def training_step(setup: RunSetup, device: torch.device, batch: int, repeats: int) -> None:
    """Forward, loss, backward, without the optimiser."""
    network, size = setup.network.to(device), setup.network.backbone.image_size
    images = torch.rand(batch, 3, *size, device=device)
    targets = {
        "depth_m": torch.rand(batch, *size, device=device) * 5 + 0.5,
        "valid": torch.ones(batch, *size, dtype=torch.bool, device=device),
    }

    def step() -> None:
        setup.task.loss(network(images), targets).backward()
        network.zero_grad(set_to_none=True)

    network.train()
    taken = seconds(step, device, repeats)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(f"{parameters:,} parameters, batch {batch} of {size[0]}x{size[1]}")
    print(
        f"step (forward + backward): {taken:.2f} s, {batch / taken:.2f} images/s, peak {peak_memory_mb(device):.0f} MB"
    )


def evaluation_overhead(setup: RunSetup, accelerator: Accelerator, workers: int) -> None:
    """The whole centre-crop evaluation against the forward passes of the same batches."""
    network, device = setup.network.to(accelerator.device).eval(), accelerator.device
    evaluation = setup.evaluations[0]
    indices = list(range(len(evaluation.reader)))
    batches = [batch["image"].to(device) for batch in evaluation_batches(evaluation, indices, device=device, workers=0)]

    def bare() -> None:
        with torch.inference_mode(), accelerator.autocast():
            for images in batches:
                network(images)

    def whole() -> None:
        evaluate(setup.predictor, evaluation, accelerator, workers=workers)

    forward, complete = seconds(bare, device, 3), seconds(whole, device, 3)
    print(f"evaluation of {len(indices)} images: {complete:.2f} s, forward passes alone {forward:.2f} s")
    print(f"overhead: {100 * (complete / forward - 1):.1f} %")


def main() -> None:
    """Reads the arguments and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", default="random:croco-v1")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--images", type=int, default=48, help="test images of the evaluation")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    recipe = load_recipe(TASK, "paper")
    with TemporaryDirectory() as folder:
        sizes = ["nyuv2.height=480", "nyuv2.width=640", "nyuv2.train=10", f"nyuv2.test={arguments.images}"]
        make_mini(folder, datasets=["nyuv2"], changes=sizes)
        accelerator = devices.start(arguments.device, recipe.train.precision, seed=0)
        request = RunRequest(TASK, arguments.ckpt, recipe, Path(folder))
        setup = set_up(request, processes=1)
        print(f"{arguments.ckpt} on {accelerator.device}, {torch.get_num_threads()} threads, {recipe.train.precision}")
        training_step(setup, accelerator.device, arguments.batch, arguments.repeats)
        evaluation_overhead(setup, accelerator, arguments.workers)


if __name__ == "__main__":
    main()
