"""Sheets of pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from croco_bench.engine.figures import draw_sheet


def test_a_long_title_stays_within_the_sheet(tmp_path: Path) -> None:
    gray = np.full((40, 60, 3), 128, np.uint8)
    long = "from above, 12.5 m: database grey, truth green, prediction red"
    for name, title in (("short", "image"), ("long", long)):
        draw_sheet(tmp_path / name, [("", {"one": gray, title: gray})], "sheet")
    short, wide = (np.asarray(Image.open(tmp_path / name).convert("L")) for name in ("short", "long"))
    assert wide.shape == short.shape
    assert (wide[:, -4:] > 200).all()  # nothing is cut off at the right edge
    assert (wide < 100).sum() > (short < 100).sum()


def test_the_title_of_a_narrow_sheet_stays_within_it(tmp_path: Path) -> None:
    gray = np.full((40, 40, 3), 128, np.uint8)
    draw_sheet(tmp_path / "a.png", [("", {"one": gray})], "imagenet_c: samples as they are read, and more words")
    sheet = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    assert (sheet[:, :3] > 200).all() and (sheet[:, -3:] > 200).all()


def test_a_panel_without_a_name_has_no_frame(tmp_path: Path) -> None:
    gray, nothing = np.full((40, 40, 3), 128, np.uint8), np.full((8, 8, 3), 255, np.uint8)
    draw_sheet(tmp_path / "a.png", [("", {"one": gray, "two": gray}), ("", {"one": gray, " ": nothing})], "sheet")
    sheet = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    height, width = sheet.shape
    assert (sheet[height * 3 // 5 :, width // 2 + 4 :] > 200).all()
