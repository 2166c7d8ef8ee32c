"""Semantic classes of objects in rooms, with their ids in the label sets of NYUv2 (40 classes) and ADE20K (150 classes)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thing:
    """A semantic class; id 0 of a label set means unlabelled."""

    name: str
    nyu40: int
    ade20k: int


THINGS = (
    Thing("void", 0, 0),
    Thing("wall", 1, 1),
    Thing("floor", 2, 4),
    Thing("ceiling", 22, 6),
    Thing("cabinet", 3, 11),
    Thing("bed", 4, 8),
    Thing("chair", 5, 20),
    Thing("sofa", 6, 24),
    Thing("table", 7, 16),
    Thing("door", 8, 15),
    Thing("window", 9, 9),
    Thing("picture", 11, 23),
    Thing("pillow", 18, 40),
    Thing("box", 29, 42),
    Thing("lamp", 35, 37),
    Thing("column", 38, 43),
    Thing("ball", 40, 120),
)
ID = {thing.name: index for index, thing in enumerate(THINGS)}
