"""Taskonomy as users have it: without masks, in the folders of several tools, with gaps."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from croco_bench import run
from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.taskonomy import DOMAINS, open_split
from croco_bench.data.datasets.taskonomy_files import KnownLayout, folder_of, layout_of
from croco_bench.data.formats.images import read_any
from croco_bench.errors import DataError


@pytest.fixture
def masked(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy with masks, where unknown depth is 65535."""
    root = Path(shutil.copytree(tiny_data / "taskonomy", tmp_path / "masked" / "taskonomy"))
    for number, mask in enumerate(sorted((root / "mask_valid").rglob("*.png"))):
        depth = root / "depth_zbuffer" / mask.parent.name / mask.name
        valid = read_any(mask) == 255
        valid[number % 7, :9] = False
        assert cv2.imwrite(str(depth), np.where(valid, read_any(depth), 65535).astype(np.uint16))
        assert cv2.imwrite(str(mask), np.where(valid, 255, 0).astype(np.uint8))
    return root


@pytest.fixture
def released(masked: Path, tmp_path: Path) -> Path:
    """The same without masks, as Taskonomy was released."""
    root = Path(shutil.copytree(masked, tmp_path / "released" / "taskonomy"))
    shutil.rmtree(root / "mask_valid")
    return root


@pytest.mark.parametrize("domain", ["depth", "normals"])
def test_without_masks_depth_says_what_is_valid(masked: Path, released: Path, domain: str) -> None:
    ours, theirs = (open_split(root, "test", domain=domain) for root in (released, masked))
    for index in range(len(theirs)):
        assert not theirs[index]["valid"].all()
        for key in ("image", "target", "valid"):
            assert np.array_equal(ours[index][key], theirs[index][key])
    assert ours.assumptions == ("there is no mask_valid, so pixels are valid where depth_zbuffer isn't 65535",)
    assert theirs.assumptions == ()
    assert ours.fingerprint() != theirs.fingerprint()
    assert open_split(masked, "test", domain=domain, masks="depth").fingerprint() == ours.fingerprint()


@pytest.mark.slow
def test_the_score_is_that_with_masks_and_the_result_says_where_they_are_from(
    masked: Path, released: Path, tmp_path: Path
) -> None:
    scores: list[float] = []
    noted: list[list[str]] = []
    for root in (masked, released):
        kept = tmp_path / root.parent.name
        result = run("taskonomy-edges", "random:mini-mae", recipe="smoke", data_root=root.parent, results=kept)
        assert result is not None
        scores.append(result.metrics["l1"].value)
        noted.append([text for text in result.protocol.deviations if text.startswith("data: ")])
    assert scores[0] == scores[1]
    note = "data: taskonomy: there is no mask_valid, so pixels are valid where depth_zbuffer isn't 65535"
    assert noted == [[], [note]]


def test_every_domain_needs_depth_where_there_are_no_masks(released: Path) -> None:
    shutil.rmtree(released / "depth_zbuffer")
    with pytest.raises(DataError, match="every domain needs depth_zbuffer beside it") as caught:
        open_split(released, "test", domain="normals")
    assert "depth_zbuffer" in caught.value.what and "6 of 18 files of the test split are absent" in caught.value.what


@pytest.mark.parametrize("layout", ["omnidata", "buildings", "archives"])
def test_the_folders_of_other_tools(released: Path, tmp_path: Path, layout: KnownLayout) -> None:
    root = tmp_path / layout
    for folder in [path for path in released.iterdir() if path.is_dir()]:
        for building in folder.iterdir():
            shutil.copytree(building, folder_of(root, layout, folder.name, building.name))
    for path in released.glob("*.csv"):
        shutil.copy(path, root)
    (root / ".DS_Store").write_bytes(b"")
    assert layout_of(root) == layout
    for domain in DOMAINS:
        ours, theirs = (open_split(base, "val", domain=domain) for base in (root, released))
        assert ours.fingerprint() == theirs.fingerprint()
        assert np.array_equal(ours[1]["target"], theirs[1]["target"])


def test_a_few_gaps_are_left_out_by_name(released: Path) -> None:
    gap = sorted((released / "normal" / "roomtest0000").iterdir())[0]
    gap.unlink()
    with pytest.raises(DataError, match=r"1 of 18 files of the test split are absent; .*task\.allow_missing=0\.167 "):
        open_split(released, "test", domain="normals")
    reader = open_split(released, "test", domain="normals", allow_missing=0.167)
    assert (len(reader), reader.available) == (5, 6)
    name = "roomtest0000/" + gap.name.removesuffix("_domain_normal.png")
    assert reader.assumptions[1] == f"1 of 6 views of the test split lack a file and are left out ({name})"
    assert name not in [reader[index]["id"] for index in range(5)]
    assert len(open_split(released, "test", domain="depth")) == 6


@pytest.mark.parametrize("left", [0, 7, 200, -40])
def test_truncated_files_are_left_out_by_name_too(released: Path, left: int) -> None:
    paths = sorted((released / "normal" / "roomtest0000").iterdir())
    paths[0].write_bytes(paths[0].read_bytes()[:left])
    with pytest.raises(
        DataError, match=r"_normal\.png is truncated or damaged, as are 1 of 18 files .*task\.allow_missing=0\.167 "
    ):
        open_split(released, "test", domain="normals")
    reader = open_split(released, "test", domain="normals", allow_missing=0.167)
    name = "roomtest0000/" + paths[0].name.removesuffix("_domain_normal.png")
    assert reader.assumptions[1:] == (
        f"1 of 6 views of the test split have a truncated or damaged file and are left out ({name})",
    )
    assert name not in [reader[index]["id"] for index in range(len(reader))]
    paths[1].unlink()
    with pytest.raises(DataError, match="1 of 18 files of the test split are absent, 1 truncated or damaged"):
        open_split(released, "test", domain="normals", allow_missing=0.167)
    assert len(open_split(released, "test", domain="normals", allow_missing=0.34).assumptions) == 3


def test_sound_files_are_never_called_damaged(released: Path) -> None:
    paths = sorted((released / "rgb" / "roomtest0000").iterdir())
    paths[0].write_bytes(paths[0].read_bytes() + b"appended by a camera")
    assert cv2.imwrite(f"{paths[1]}.jpg", read_any(paths[1]))
    Path(f"{paths[1]}.jpg").rename(paths[1])
    assert len(open_split(released, "test", domain="normals", allow_missing=0)) == 6


def test_missing_masks_are_no_fault_of_the_release(masked: Path) -> None:
    next((masked / "mask_valid" / "roomtest0000").iterdir()).unlink()
    with pytest.raises(DataError, match=r"masks aren't part of Taskonomy's release: .* task\.masks=depth"):
        open_split(masked, "test", domain="normals")
    assert len(open_split(masked, "test", domain="normals", masks="depth")) == 6


def test_the_check_of_a_part_of_the_domains(released: Path) -> None:
    shutil.rmtree(released / "keypoints2d")
    next((released / "normal" / "roomtest0000").iterdir()).unlink()
    findings = dataset_info("taskonomy").check(released)
    assert [finding.what for finding in findings if finding.absent] == [
        "keypoints2d: there is no keypoints2d, which taskonomy-keypoints2d needs"
    ]
    assert "no mask_valid, so valid is where depth_zbuffer isn't 65535" in findings[1].what
    wrong = [finding for finding in findings if not finding.ok]
    assert len(wrong) == 1 and "1 of 18 files of the test split" in wrong[0].what and wrong[0].stops
