"""Pre-training steps of ViT-B: this project's as `croco-bench pretrain` does them, and those of the authors' own code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import default_collate

from benchmarks.bench.machine import DTYPES
from benchmarks.bench.samples import MemoryReader, view_pairs
from benchmarks.bench.training import ENDLESS, MANY, pinned
from croco_bench.data.formats.images import write_image
from croco_bench.data.pairs import FilePair
from croco_bench.engine.dataloading import Plan
from croco_bench.pretraining.build import build
from croco_bench.pretraining.recipe import PretrainRecipe, load
from croco_bench.pretraining.sources import PretrainSource
from croco_bench.pretraining.train import Pretrainer, PretrainJob
from croco_bench.pretraining.transforms import Augmentation, PairTransform
from croco_bench.types import Batch

# Side of the images of CroCo's Habitat release, of which 224x224 are cropped.
_SIDE = 256


def pairs_on_disk(folder: Path, side: int = _SIDE) -> MemoryReader:
    """Pairs of JPEG files, as readers of pairs give them."""
    found = []
    folder.mkdir(parents=True, exist_ok=True)
    for number, views in enumerate(view_pairs((side, side), 8)):
        paths = folder / f"{number}_1.jpg", folder / f"{number}_2.jpg"
        for path, image in zip(paths, views.values(), strict=True):
            write_image(path, image, jpeg_quality=90)
        found.append({"pair": FilePair(paths)})
    return MemoryReader(found, MANY)


def pretrainer_of(
    recipe: str, changes: tuple[str, ...], folder: Path, accelerator: Accelerator, batch: int
) -> Pretrainer:
    """The trainer of a pre-training without end."""
    chosen: PretrainRecipe = load(recipe, ("data.holdout=0", *changes))
    objective, size = build(chosen, seed=0), chosen.train.image_size
    transform = PairTransform(objective, Augmentation(size, chosen.data.resize, chosen.data.color))
    reader = pairs_on_disk(folder / "pairs", max(chosen.data.resize, *size))
    source = PretrainSource(reader, None, transform.train, transform.val)
    plan = Plan(ENDLESS, 1, MANY // batch, batch, 1)
    job = PretrainJob(recipe=chosen, plan=plan, seed=0, folder=folder, key="", objective=objective, source=source)
    return Pretrainer(job, accelerator)


def batch_of(trainer: Pretrainer, batch: int) -> Batch:
    """A batch of samples; few are different, but for their masks."""
    source, rng = trainer.job.source, np.random.default_rng(0)
    made: Batch = default_collate([source.train_transform(source.train[number], rng) for number in range(batch)])
    return made


def steps(trainer: Pretrainer, batch: Batch) -> Callable[[], object]:
    """One optimiser step per call."""
    batches = repeat(pinned(batch, trainer.accelerator.device))
    numbers = iter(range(ENDLESS))
    return lambda: trainer.stepper.step(next(numbers), batches)


def reference_steps(
    checkout: str, positions: str, views: tuple[Tensor, Tensor], device: torch.device, precision: str
) -> Callable[[], object]:
    """Steps of the authors' network, criterion and loop, from a checkout that the user brings.

    Their loop reads the loss, computes the norm of all gradients and waits for the device in every step; its AdamW isn't fused.
    """
    sys.path.insert(0, checkout)
    try:
        from models.criterion import MaskedMSE  # type: ignore[import-not-found]
        from models.croco import CroCoNet  # type: ignore[import-not-found]
    finally:
        sys.path.remove(checkout)
    torch.manual_seed(0)
    network = CroCoNet(pos_embed="cosine" if positions == "cosine" else "RoPE100").to(device)
    criterion = MaskedMSE(norm_pix_loss=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.9, 0.95))
    dtype, mixed = DTYPES[precision], precision in ("bf16", "fp16")
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    host = [view.pin_memory() if device.type == "cuda" else view for view in views]

    def step() -> None:
        shown = [view.to(device, non_blocking=True) for view in host]
        with torch.autocast(device.type, dtype=dtype, enabled=mixed):
            loss = criterion(*network(*shown))
        loss.item()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.norm(torch.stack([torch.norm(one.grad) for one in network.parameters() if one.grad is not None]))
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step
