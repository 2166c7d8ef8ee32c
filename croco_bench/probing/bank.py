"""Fills the bank of a head that isn't trained with tokens of training images."""

from __future__ import annotations

import time

import torch
from accelerate import Accelerator
from torch import Tensor

from croco_bench.contracts import BankHead
from croco_bench.engine.dataloading import to_device, training_batches
from croco_bench.engine.evaluate import NetworkPredictor, evaluate
from croco_bench.engine.train import FineTuneJob, TrainResult
from croco_bench.engine.training_log import RunLog
from croco_bench.errors import UsageError
from croco_bench.progress import Bar
from croco_bench.seeding import derive
from croco_bench.types import Batch


def fill_bank(job: FineTuneJob, accelerator: Accelerator) -> TrainResult:
    """Keeps tokens of `train.epochs` passes through the training images, augmented as for training; nothing is trained.

    Every process keeps the same bank: that of all images, in the order in which they were drawn.

    Raises:
        UsageError: there are more images than places in the bank.
    """
    began, head, network = time.monotonic(), job.network.head, job.network
    assert isinstance(head, BankHead)
    images = job.plan.steps * job.recipe.train.batch_size
    if images > head.capacity:
        raise UsageError(
            f"a bank of {head.capacity} patches is too small for {images} training images",
            f"give --set head.bank={images} or more, or --limit",
        )
    count = min(head.capacity // images, network.grid[0] * network.grid[1])
    head.fill(*_tokens(job, head, count, accelerator))
    seconds = time.monotonic() - began
    scores = evaluate(
        NetworkPredictor(network), job.task.selection(job.splits.select), accelerator, workers=job.recipe.train.workers
    )
    if accelerator.is_main_process:
        log = RunLog(job.folder, start=0, tracker=job.recipe.train.tracker, settings=job.recipe.model_dump(mode="json"))
        log.add(job.plan.steps - 1, **{f"select/{name}": value for name, value in scores.metrics.items()})
        log.close()
    return TrainResult(
        plan=job.plan,
        step=job.plan.steps,
        metric=job.task.selection_metric,
        value=scores.value_of(job.task.selection_metric),
        weights={name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()},
        seconds=seconds,
        images_per_s=images / seconds if seconds else 0.0,
        chosen={"bank": {"images": images, "patches_per_image": count}},
    )


def _tokens(job: FineTuneJob, head: BankHead, count: int, accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    """Tokens (M, C) and class shares (M, K) of all images, gathered from all processes."""
    reader, workers, plan = job.splits.train, job.recipe.train.workers, job.plan
    batches = training_batches(reader, job.task.augment, plan, accelerator, seed=job.seed, start=0, workers=workers)
    job.network.eval()
    kept: list[tuple[Tensor, Tensor]] = []
    with Bar("fill", plan.steps * plan.accumulate, shown=accelerator.is_main_process) as bar:
        for number, batch in enumerate(batches):
            seed = derive(job.seed, "bank", number, accelerator.process_index)
            found = _sample(job, head, to_device(batch, accelerator.device), count, seed, accelerator)
            tokens, shares = accelerator.gather(found) if accelerator.num_processes > 1 else found
            kept.append((tokens, shares))
            bar.advance(1, "")
    return torch.cat([tokens for tokens, _ in kept]), torch.cat([shares for _, shares in kept])


def _sample(
    job: FineTuneJob, head: BankHead, batch: Batch, count: int, seed: int, accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    """Tokens and class shares of one batch, in half precision."""
    unlabeled, labels = job.task.unlabeled, batch["label"].long()
    labels = labels.masked_fill(labels == unlabeled, -1)
    patches = job.network.grid[0] * job.network.grid[1]
    noise = torch.rand(len(labels), patches, generator=torch.Generator().manual_seed(seed)).to(labels.device)
    with torch.no_grad():
        with accelerator.autocast():
            features = job.network.features(batch["image"])
        tokens, shares = head.sample(features, labels, count, noise)
        return torch.nn.functional.normalize(tokens.float(), dim=1).half(), shares.half()
