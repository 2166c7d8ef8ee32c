"""Time and memory of a full-size pre-training step, beside the authors' own code, and of the loader that feeds it.

    python benchmarks/pretraining_speed.py [--batch 8] [--precision fp32 bf16] [--reference CHECKOUT_OF_NAVER_CROCO]

Each measurement has a process of its own, so that peak memory is its own too; ours and the reference take turns. With
--threads 1 on a CPU the time is processor time, which other processes hardly change: the way to compare on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from croco_bench.data.miniatures.make import make_mini
from croco_bench.engine.devices import keep_freed_memory, peak_memory_mb
from croco_bench.pretraining import recipe as recipes
from croco_bench.pretraining.build import build
from croco_bench.pretraining.sources import open_source

Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def ours(recipe: str) -> tuple[torch.nn.Module, Forward]:
    """This project's objective, its masks drawn as the loader draws them."""
    objective, rng = build(recipes.load(recipe), seed=0), np.random.default_rng(0)

    def forward(view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        visible = torch.stack([objective.sample_mask(rng)["visible"] for _ in view1]).to(view1.device)
        loss: torch.Tensor = objective({"view1": view1, "view2": view2, "visible": visible})
        return loss

    return objective, forward


def reference(checkout: str, recipe: str) -> tuple[torch.nn.Module, Forward]:
    """The authors' network and criterion, from a checkout that the user brings."""
    sys.path.insert(0, checkout)
    from models.criterion import MaskedMSE  # type: ignore[import-not-found]
    from models.croco import CroCoNet  # type: ignore[import-not-found]

    positions = "cosine" if recipes.load(recipe).model.positions == "cosine" else "RoPE100"
    network, criterion = CroCoNet(pos_embed=positions), MaskedMSE(norm_pix_loss=True)

    def forward(view1: torch.Tensor, view2: torch.Tensor) -> torch.Tensor:
        out, mask, target = network(view1, view2)
        loss: torch.Tensor = criterion(out, mask, target)
        return loss

    return network, forward


def _attention_flops(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]) -> int:
    """Of the two products of one attention, from shapes (B, heads, N, d)."""
    batch, heads, count, width = query
    return 2 * batch * heads * count * key[2] * (width + value[3])


def _attention_forward(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return _attention_flops(query, key, value)


def _attention_backward(_: Any, query: Any, key: Any, value: Any, *__: Any, out_shape: Any = None, **___: Any) -> int:
    return 2 * _attention_flops(query, key, value)  # what the kernel computes anew isn't work done


# torch doesn't count the CPU's fused kernel, which would make a network that uses it look as if it had less to do.
_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def matmul_peak(dtype: torch.dtype, device: torch.device, clock: Callable[[], float], side: int = 2048) -> float:
    """GFLOP/s of a square product: what the machine gives at best."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    rates = []
    for _ in range(6):
        began = clock()
        for _ in range(4):
            a @ b
        _wait(device)
        rates.append(4 * 2 * side**3 / (clock() - began) / 1e9)
    return max(rates)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Median seconds of forward, backward and AdamW; FLOPs; peak memory of this process."""
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 and device.type == "cpu" else time.perf_counter
    torch.manual_seed(0)
    if arguments.only == "ours":
        made = ours(arguments.recipe)
        keep_freed_memory(device)  # as `croco-bench pretrain` does
    else:
        made = reference(arguments.reference, arguments.recipe)
    network, forward = made[0].to(device), made[1]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=arguments.only == "ours")
    views = [torch.randn(arguments.batch, 3, 224, 224, device=device) for _ in range(2)]
    dtype = _TYPES[arguments.precision[0]]

    def step() -> None:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = forward(*views)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _wait(device)

    with FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        step()
    step()  # memory has settled after two steps
    times = []
    for _ in range(arguments.repeats):
        began = clock()
        step()
        times.append(clock() - began)
    memory = peak_memory_mb(device)
    seconds, flops = statistics.median(times), float(counter.get_total_flops())
    return {"seconds": seconds, "gflop": flops / 1e9, "peak": matmul_peak(dtype, device, clock), "memory_mb": memory}


def loader_rate() -> float:
    """Pairs a second of one worker: 256x256 JPEGs, crops of 224, colour jitter, mask."""
    recipe = recipes.load("croco-v1", ["data.holdout=0"])
    with TemporaryDirectory() as folder:
        make_mini(
            folder, datasets=["habitat_release"], changes=["habitat_release.pairs=24", "habitat_release.side=256"]
        )
        torch.set_num_threads(1)
        source = open_source(recipe.data, build(recipe, 0), recipe.train.image_size, Path(folder))
        rng = np.random.default_rng(0)
        for index in range(24):
            source.train_transform(source.train[index], rng)
        began = time.perf_counter()
        for index in range(96):
            source.train_transform(source.train[index % 24], rng)
        return 96 / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _in_a_process(arguments: argparse.Namespace, side: str, precision: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--only", side, "--precision", precision, "--recipe", arguments.recipe]
    command += ["--batch", str(arguments.batch), "--repeats", str(arguments.repeats), "--device", arguments.device]
    command += ["--reference", arguments.reference or "", "--threads", str(arguments.threads)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    return found


def main() -> None:
    """Reads the arguments and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="croco-v1", choices=["croco-v1", "croco-v2-vitb-small"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=sorted(_TYPES))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--reference", help="folder of a checkout of naver/croco")
    parser.add_argument("--only", choices=["ours", "reference"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments)))
        return
    print(f"{arguments.recipe}, batch {arguments.batch}, {arguments.device}, {arguments.threads} threads")
    print("              s/step  pairs/s  GFLOP/s  of matmul peak  peak MB")
    for precision in arguments.precision:
        for side in ["ours", "reference"] if arguments.reference else ["ours"]:
            found = _in_a_process(arguments, side, precision)
            rate = found["gflop"] / found["seconds"]
            print(
                f"{side:<9} {precision}  {found['seconds']:6.2f}  {arguments.batch / found['seconds']:7.2f}  {rate:7.0f}"
                f"  {rate / found['peak']:6.0%} of {found['peak']:4.0f}  {found['memory_mb']:7.0f}"
            )
    print(f"loader: {loader_rate():.0f} pairs/s of one worker")


if __name__ == "__main__":
    main()
