"""The catalogue of datasets: a module and a TOML file are a dataset; a TOML file has exactly the known keys."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import typer.testing

from croco_bench.cli.main import app
from croco_bench.data.catalogue import CATALOGUE, Catalogue, loader
from croco_bench.errors import DataError, UsageError

# All that stereo of one folder of left and right images needs: its two files.
TOY_MODULE = '''
"""Toy: pairs <name>_left.png, <name>_right.png and disparity <name>.pfm in one folder."""

from functools import partial
from pathlib import Path

from croco_bench.data.checks.image_pairs import check_splits
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.datasets.matching.image_pairs import MatchingReader, PairPaths, read_truth_file
from croco_bench.data.folders import is_miniature
from croco_bench.data.formats.disparity import read_pfm_disparity
from croco_bench.data.formats.layout import file_names, require_exactly

LINK = "http://example.org/toy"
PAIRS = {"train": 3}


def open_split(root: Path, split: str) -> MatchingReader:
    """All pairs."""
    names = [name.removesuffix(".pfm") for name in file_names(root, "", ".pfm", LINK)]
    images = [f"{name}_{camera}.png" for name in names for camera in ("left", "right")]
    require_exactly(root, images, file_names(root, "", ".png", LINK), LINK)
    pairs = [PairPaths(name, name, f"{name}_left.png", f"{name}_right.png", f"{name}.pfm") for name in names]
    read_truth = partial(read_truth_file, "disparity_px", read_pfm_disparity)
    return MatchingReader("toy", split, root, pairs, read_truth, miniature=is_miniature(root))


def check(root: Path) -> list[Finding]:
    """Findings on the only split."""
    return check_splits(root, LINK, open_split, PAIRS)
'''
TOY = """
title = "Toy stereo"
size = "3 pairs of 12x16"
license = "none"
link = "http://example.org/toy"
module = "toy_dataset"
layout = '''
toy/
  a_left.png, a_right.png, a.pfm
'''
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with three pairs of the toy dataset, which the catalogue knows."""
    (tmp_path / "toy_dataset.py").write_text(TOY_MODULE)
    (tmp_path / "toy.toml").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(loader, "CATALOGUE", Catalogue(tmp_path))
    folder = tmp_path / "data/toy"
    folder.mkdir(parents=True)
    for number, name in enumerate("abc"):
        image = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{name}_left.png"), image)
        cv2.imwrite(str(folder / f"{name}_right.png"), np.roll(image, -3, axis=1))
        (folder / f"{name}.pfm").write_bytes(b"Pf\n16 12\n-1.0\n" + np.full((12, 16), 3, "<f4").tobytes())
    return folder.parent


def run(*arguments: str) -> tuple[int, str]:
    done = typer.testing.CliRunner().invoke(app, ["data", *arguments])
    return done.exit_code, done.output


def test_a_module_and_a_toml_file_are_a_dataset(toy: Path) -> None:
    code, said = run("check", "toy", "--data-root", str(toy))
    title, count, truth = said.splitlines()
    assert code == 0
    assert (title, count) == (f"Toy stereo in {toy / 'toy'}", "  ok  train: 3 pairs of 3 scenes")
    assert truth.startswith("  ok  train: 100% known, 3.0 pixels in the median; grey values differ by 0.0 along it")
    (toy / "toy/b_right.png").unlink()
    code, said = run("check", "toy", "--data-root", str(toy))
    assert code == 1
    missing = toy / "toy/b_right.png"
    assert said.splitlines() == [
        title,
        f"  BAD there is no {missing}",
        "      unpack the rest of http://example.org/toy",
    ]


def test_a_dataset_without_prepare_needs_none(toy: Path) -> None:
    with pytest.raises(UsageError, match="toy needs no preparation: it is read as it is published"):
        loader.dataset_info("toy").preparer()


def test_datasets_are_sorted_by_name() -> None:
    assert list(CATALOGUE) == sorted(CATALOGUE) and len(CATALOGUE) == len(set(CATALOGUE)) > 20
    assert "nyuv2" in CATALOGUE and CATALOGUE["nyuv2"].name == "nyuv2"
    assert "../catalogue/nyuv2" not in CATALOGUE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TOY + 'color = "red"\n', r"toy\.toml: color is no key of a dataset; known: title, size, "),
        (TOY.replace('"none"', "1"), r"toy\.toml: license should be a text that isn't empty; found 1"),
        (TOY.replace('"none"', '" "'), r"toy\.toml: license should be a text that isn't empty; found ' '"),
        (TOY.replace('link = "http://example.org/toy"', ""), r"toy\.toml lacks link; "),
        ("title = ", r"toy\.toml can't be read .*; it should be a TOML file of texts"),
    ],
)
def test_a_wrong_file_is_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        Catalogue(tmp_path)["toy"]
    assert "\n" not in str(caught.value)
