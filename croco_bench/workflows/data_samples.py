"""A contact sheet of a dataset's samples, for `croco-bench data check --samples`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from croco_bench.data.checks.pictures import caption_of, panels_of
from croco_bench.data.splitting import spread_indices
from croco_bench.engine.figures import draw_sheet
from croco_bench.types import Array

if TYPE_CHECKING:
    from croco_bench.contracts import Reader

# More rows make a picture that few programs show.
_MOST_ROWS = 60
_ABSENT = np.full((8, 8, 3), 255, dtype=np.uint8)


def draw_samples(readers: Iterable[Reader], count: int, out: Path, title: str) -> int:
    """Draws `count` samples of each reader, evenly spread over it; returns the number of rows.

    Args:
        readers: of the parts of a dataset.
        count: samples of each; fewer where the parts are many.
        out: the PNG file.
        title: of the sheet.

    Raises:
        DataError: a sample can't be read.
    """
    listed = list(readers)
    each = max(min(count, _MOST_ROWS // len(listed)), 1)
    samples = [(reader, reader[i]) for reader in listed for i in spread_indices(len(reader), each)]
    rows = [(f"{reader.split}  {caption_of(sample)}".strip(), panels_of(sample)) for reader, sample in samples]
    draw_sheet(out, _aligned(rows), title)
    return len(rows)


def _aligned(rows: list[tuple[str, dict[str, Array]]]) -> list[tuple[str, dict[str, Array]]]:
    """The rows with equally many panels: parts without a truth have fewer."""
    most = max(len(panels) for _, panels in rows)
    empty = [" " * (number + 1) for number in range(most)]
    return [(label, {**panels, **dict.fromkeys(empty[: most - len(panels)], _ABSENT)}) for label, panels in rows]
