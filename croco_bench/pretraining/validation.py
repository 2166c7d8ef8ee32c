"""Validation on held-out items: error with the true and with a wrong reference view, and pictures of reconstructions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch.utils.data import default_collate

from croco_bench.engine.dataloading import to_device
from croco_bench.pretraining.objective import Objective, Tensors, hidden_patches, patchify, unpatchify
from croco_bench.pretraining.sources import PretrainSource
from croco_bench.seeding import make_rng

# Items in a sheet of reconstructions.
ROWS = 8


class Validation:
    """Scores an objective on the held-out items. Items, crops and masks are equal at each call and in each process."""

    def __init__(self, source: PretrainSource, batch_size: int, accelerator: Accelerator) -> None:
        self._source, self._batch_size, self._accelerator = source, batch_size, accelerator

    def scores(self, objective: Objective) -> dict[str, float]:
        """`held_out`: the mean loss; for pairs also `held_out_wrong`, with another scene's view 2, and their `ratio`.

        The latter two only where the held-out pairs are of several scenes. A ratio well below 1 means that the network uses
        view 2, a ratio near 1 that it doesn't.
        """
        objective.eval()
        totals, count = np.zeros(2), 0
        with torch.inference_mode():
            for batch in self._batches():
                items = len(batch["view1"])
                with self._accelerator.autocast():
                    true = float(objective(batch))
                    wrong = float(objective({**batch, "view2": batch["other"]})) if "other" in batch else 0.0
                totals += np.array([true, wrong]) * items
                count += items
        true, wrong = (float(total) / count for total in totals)
        return {"held_out": true} if not wrong else {"held_out": true, "held_out_wrong": wrong, "ratio": true / wrong}

    def panels(self, objective: Objective) -> dict[str, NDArray[np.float32]]:
        """Pictures (B, H, W, 3) in [0, 1]: visible patches of view 1, view 2, the reconstruction, view 1 itself."""
        objective.eval()
        with torch.inference_mode(), self._accelerator.autocast():
            batch = to_device(self._batch(range(0, min(ROWS, len(self)))), self._accelerator.device)
            reconstruction = objective.reconstruct(batch)["view1"]
        images = {"visible": visible_only(batch, objective.backbone.patch_size)}
        if "view2" in batch:
            images["reference view"] = batch["view2"]
        # Predictions of normalised patches lack mean and contrast, which `reconstruct` takes from the target.
        normalized = getattr(objective.options, "normalise", False)
        title = "reconstruction\n(patch mean, contrast: target's)" if normalized else "reconstruction"
        images |= {title: reconstruction, "target": batch["view1"]}
        return {name: to_pictures(tensor, objective) for name, tensor in images.items()}

    def __len__(self) -> int:
        assert self._source.held_out is not None
        return len(self._source.held_out)

    def _batches(self) -> Iterator[Tensors]:
        for first in range(0, len(self), self._batch_size):
            batch = self._batch(range(first, min(first + self._batch_size, len(self))))
            yield to_device(batch, self._accelerator.device)

    def _batch(self, indices: range) -> Tensors:
        """Collated samples; those of pairs have the view 2 of another scene, if there is one, as `other`."""
        samples = []
        for index in indices:
            sample = self._sample(index)
            if "view2" in sample and self._others:
                sample["other"] = self._sample(self._others[index])["view2"]
            samples.append(sample)
        batch: Tensors = default_collate(samples)
        return batch

    @cached_property
    def _others(self) -> list[int]:
        assert self._source.held_out is not None
        return _indices_of_other_groups(self._source.held_out.groups)

    def _sample(self, index: int) -> dict[str, Any]:
        assert self._source.held_out is not None
        return self._source.val_transform(self._source.held_out[index], make_rng(0, "check", index))


def _indices_of_other_groups(groups: Sequence[str]) -> list[int]:
    """For each item the index of an item of another group, searched from half a list away; empty if all are of one."""
    count = len(groups)
    if len(set(groups)) < 2:
        return []

    def other(index: int) -> int:
        candidates = ((index + count // 2 + step) % count for step in range(count))
        return next(i for i in candidates if groups[i] != groups[index])

    return [other(index) for index in range(count)]


def visible_only(batch: Tensors, patch: int) -> torch.Tensor:
    """View 1 with its hidden patches in grey, (B, 3, H, W)."""
    images = batch["view1"]
    grid = (images.shape[2] // patch, images.shape[3] // patch)
    count = grid[0] * grid[1]
    # Tokens of other modalities follow those of the colours: all of them count as one more patch, which is cut off.
    visible = batch["visible"].clamp(max=count)
    hidden = hidden_patches(visible, count + 1)[:, :count, None]
    return unpatchify(patchify(images, patch) * (1 - hidden), patch, grid)


def to_pictures(images: torch.Tensor, objective: Objective) -> NDArray[np.float32]:
    """Normalised (B, 3, H, W) -> (B, H, W, 3) in [0, 1]."""
    backbone = objective.backbone
    mean, std = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (backbone.mean, backbone.std)
    )
    pictures: NDArray[np.float32] = (images.float() * std + mean).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return pictures
