"""Time and memory of a full-size fine-tuning step, and of one prediction, per task: ViT-B with the head of a recipe.

    python benchmarks/task_steps.py [--batch 2] [--ckpt random:mae-vitb] [TASK[:RECIPE] ...]

Each measurement has a process of its own, so that peak memory is its own too. Without arguments: the recipe `paper` of every
installed task, one of each group. A sample of a task with two views is a pair; a backbone without a decoder is given one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import torch

from croco_bench import registry
from croco_bench.config.load import options_of
from croco_bench.config.recipe import load_recipe
from croco_bench.contracts import TaskData
from croco_bench.engine.devices import keep_freed_memory, peak_memory_mb
from croco_bench.engine.network import Network
from croco_bench.runs.networks import build_network
from croco_bench.runs.request import RunRequest

# ImageNet's; other tasks know the number of their outputs without data.
_CLASSES = 1000


def network_of(task: str, recipe: str, ckpt: str) -> Network:
    """The network of a run, built without its dataset."""
    request = RunRequest(task, ckpt, load_recipe(task, recipe))
    task_type = registry.tasks()[task].load()
    head, image_size = request.recipe.head, request.recipe.train.image_size
    head_type = registry.heads()[head.name].load()
    no_reader: Any = None
    return build_network(
        request,
        task_type(options_of(task_type.Options, request.recipe.task, "[task]"), image_size),
        TaskData(no_reader, class_names=("",) * _CLASSES),
        head_type,
        options_of(head_type.Options, head.options, "[head]"),
    )


def measure(task: str, recipe: str, ckpt: str, batch: int) -> dict[str, float]:
    """Seconds of a training step (the second one) and of a prediction, peak memory, parameters in millions."""
    network = network_of(task, recipe, ckpt)
    image_size, views = network.backbone.image_size, network.views
    keep_freed_memory(torch.device("cpu"))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    images = [torch.rand(batch, 3, *image_size) for _ in range(views)]
    seconds = 0.0
    network.train()
    for _ in range(2):
        began = time.perf_counter()
        outputs = network(*images)
        weighted = outputs if isinstance(outputs, list) else [(1.0, outputs)]
        loss = torch.stack([weight * output.square().mean() for weight, output in weighted]).sum()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - began
    memory = peak_memory_mb(torch.device("cpu"))
    network.eval()
    with torch.inference_mode():
        began = time.perf_counter()
        network(*(image[:1] for image in images))
        predicted = time.perf_counter() - began
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    return {"step": seconds, "predict": predicted, "memory": memory, "millions": millions}


def main() -> None:
    """Reads the arguments and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK[:RECIPE]")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--ckpt", default="random:mae-vitb")
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        task, _, recipe = arguments.tasks[0].partition(":")
        print(json.dumps(measure(task, recipe, arguments.ckpt, arguments.batch)))
        return
    groups: dict[str, str] = {}
    for entry in registry.tasks():
        groups.setdefault(entry.card.group or entry.name, f"{entry.name}:paper")
    print(f"{arguments.ckpt}, batch {arguments.batch}, {torch.get_num_threads()} threads, float32")
    print(f"{'task and recipe':<32} {'M params':>9} {'s/step':>7} {'peak MB':>8} {'s/sample predicted':>19}")
    for name in arguments.tasks or list(groups.values()):
        whole = name if ":" in name else f"{name}:paper"
        command = [sys.executable, __file__, whole, "--only", "--batch", str(arguments.batch), "--ckpt", arguments.ckpt]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(text.splitlines()[-1])
        print(
            f"{whole:<32} {found['millions']:9.2f} {found['step']:7.2f} {found['memory']:8.0f} {found['predict']:19.2f}"
        )


if __name__ == "__main__":
    main()
