"""From the names in a recipe to readers of training and held-out items, and transforms that make samples of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from croco_bench.contracts import Reader
from croco_bench.data.checks.values import require_usual
from croco_bench.data.datasets.multimae import MultimaeReader
from croco_bench.data.mixtures.mixture import Mixture
from croco_bench.data.pairs import SCENES, PairList, open_pairs
from croco_bench.data.splitting import Subset, assumptions_of, split_by_group
from croco_bench.data.transforms.joint_crop import JointCrop
from croco_bench.errors import DataError, UsageError
from croco_bench.pretraining.multimodal import MultimodalAutoencoder
from croco_bench.pretraining.objective import Objective
from croco_bench.pretraining.recipe import PretrainData
from croco_bench.pretraining.transforms import Augmentation, ModalityTransform, PairTransform
from croco_bench.seeding import make_rng
from croco_bench.types import Sample, Size

Transform = Callable[[Sample, np.random.Generator], Sample]
ROOMS = "rooms"
# Scenes that are held out of a set of many scenes, even where fewer have enough pairs.
MIN_SCENES = 4
_NOTHING_HELD_OUT = "nothing is held out (data.holdout=0): no held-out error, no ratio, no sheets of reconstructions"


@dataclass(frozen=True)
class PretrainSource:
    """Readers of training and held-out items (None: nothing is held out), and the transform of each to samples.

    `notes` say where the held-out items can't tell what they usually do.
    """

    train: Reader
    held_out: Reader | None
    train_transform: Transform
    val_transform: Transform
    notes: tuple[str, ...] = ()


def open_source(data: PretrainData, objective: Objective, image_size: Size, data_root: Path | None) -> PretrainSource:
    """Opens all sets of a recipe.

    Raises:
        DataError: a set is missing or damaged.
    """
    if isinstance(objective, MultimodalAutoencoder):
        return _open_modalities(data, objective, image_size, data_root)
    readers = opened = [_open(name, data, image_size, data_root) for name in data.pairs]
    unusual = require_usual([one for one in opened if isinstance(one, PairList)], accept=data.accepts)
    held: list[Reader] = []
    if data.holdout:
        share = data.holdout // len(readers)
        readers, held = _hold_out(readers, max(share, 2))
    weights = data.weights or (1.0,) * len(readers)
    train = readers[0] if len(readers) == 1 and weights == (1.0,) else Mixture(readers, weights, seed=0)
    augmentation = Augmentation(image_size, data.resize, data.color, data.homography, data.rotation_deg)
    transform = PairTransform(objective, augmentation)
    held_out = None if not held else held[0] if len(held) == 1 else Mixture(held, [1.0] * len(held), seed=0)
    notes = _notes(opened, held_out, pairs=objective.views == 2)
    return PretrainSource(train, held_out, transform.train, transform.val, (*notes, *unusual))


def _notes(opened: list[Reader], held_out: Reader | None, *, pairs: bool) -> tuple[str, ...]:
    """What the held-out items of sets of pairs don't tell."""
    if held_out is None:
        return (_NOTHING_HELD_OUT,)
    notes = [
        f"{reader.listing} doesn't say which scene a pair shows: whole folders are held out, of scenes that may be trained on "
        f"({SCENES} beside pairs.txt or listing.txt, one scene a line, says it)"
        for reader in opened
        if isinstance(reader, PairList) and not reader.knows_scenes
    ]
    if pairs and len(set(held_out.groups)) < 2:
        notes.append(
            "all held-out pairs are of one scene, so there is no wrong reference of another scene to compare with: whether "
            "the network looks at view 2 isn't measured"
        )
    return tuple(notes)


def _open(name: str, data: PretrainData, image_size: Size, data_root: Path | None) -> Reader:
    if name == ROOMS:
        from croco_bench.data.rooms.endless import EndlessRooms

        return EndlessRooms(data.resize or max(image_size))
    return open_pairs(_find(name, data_root))


def _find(name: str, data_root: Path | None) -> Path:
    """The path `name`, or the folder of that name below the data root."""
    if Path(name).exists():
        return Path(name)
    root = data_root or os.environ.get("CROCO_BENCH_DATA")
    if root is None:
        raise DataError(
            f"there is no folder or list {name}",
            "give --pairs DIR, or --data-root (or CROCO_BENCH_DATA) where it lies below, or --pairs rooms to render rooms "
            "as you go",
        )
    return Path(root).expanduser() / name


def _open_modalities(
    data: PretrainData, objective: MultimodalAutoencoder, image_size: Size, data_root: Path | None
) -> PretrainSource:
    if image_size[0] != image_size[1]:
        raise UsageError(f"multimae crops squares, but train.image_size is {image_size[0]}x{image_size[1]}")
    reader: Reader = MultimaeReader(_find(data.modalities, data_root), classes=objective.options.classes)
    unusual = require_usual([reader], accept=data.accepts)
    backbone, side = objective.backbone, image_size[0]
    crop = JointCrop(
        side,
        data.area,
        flip=data.flip,
        mean=backbone.mean,
        std=backbone.std,
        unknown=objective.options.unknown_depth,
    )
    center_crop = replace(crop, area=(1, 1), aspect=(1, 1), flip=0.0)
    transform = ModalityTransform(objective, crop, center_crop)
    held: list[Reader] = []
    train = [reader]
    if data.holdout:
        train, held = _hold_out(train, data.holdout)
    notes = (*assumptions_of(reader), *(() if held else (_NOTHING_HELD_OUT,)))
    return PretrainSource(train[0], held[0] if held else None, transform.train, transform.val, (*notes, *unusual))


def _unit(reader: Reader) -> str:
    known = not isinstance(reader, PairList) or reader.knows_scenes
    return "scene" if known else f"folder, which stands for a scene where there is no {SCENES}"


def _hold_out(readers: list[Reader], count: int) -> tuple[list[Reader], list[Reader]]:
    """Splits whole scenes off each set, and keeps `count` of their pairs, or all where there are fewer.

    Where one scene has enough pairs, more are split off, up to the share of `MIN_SCENES` scenes or a tenth of the set, and
    at least two scenes unless these are more than half of the set: validation needs pairs of different scenes.
    """
    train: list[Reader] = []
    held: list[Reader] = []
    for reader in readers:
        scenes = len(set(reader.groups))
        if scenes < 2:
            raise DataError(
                f"all of {reader.dataset} is of one {_unit(reader)}, so none can be held out",
                "--set data.holdout=0 trains on all of it, without a check",
            )
        share = min(max(count / len(reader), min(MIN_SCENES / scenes, 0.1)), 0.5)
        rest, part = split_by_group(reader, share, seed=0, split="held out")
        if len(set(part.groups)) < 2 and scenes > 2:
            one_more = split_by_group(reader, (len(part) + 1) / len(reader), seed=0, split="held out")
            rest, part = one_more if len(one_more[0]) >= len(one_more[1]) else (rest, part)
        kept = make_rng(0, "held out").permutation(len(part))[:count]
        train.append(rest)
        held.append(Subset(part, sorted(int(index) for index in kept), part.split))
    return train, held
