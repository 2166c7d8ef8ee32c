"""Semantic classes of objects in rooms, with their ids in the label sets of NYUv2 (40 classes) and ADE20K (150 classes)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SemanticClass:
    """A semantic class; id 0 of a label set means unlabelled."""

    name: str
    nyu40: int
    ade20k: int


CLASSES = (
    SemanticClass("void", 0, 0),
    SemanticClass("wall", 1, 1),
    SemanticClass("floor", 2, 4),
    SemanticClass("ceiling", 22, 6),
    SemanticClass("cabinet", 3, 11),
    SemanticClass("bed", 4, 8),
    SemanticClass("chair", 5, 20),
    SemanticClass("sofa", 6, 24),
    SemanticClass("table", 7, 16),
    SemanticClass("door", 8, 15),
    SemanticClass("window", 9, 9),
    SemanticClass("picture", 11, 23),
    SemanticClass("pillow", 18, 40),
    SemanticClass("box", 29, 42),
    SemanticClass("lamp", 35, 37),
    SemanticClass("column", 38, 43),
    SemanticClass("ball", 40, 120),
)
ID = {kind.name: index for index, kind in enumerate(CLASSES)}
