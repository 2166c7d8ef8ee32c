"""What mined pairs say about themselves: scenes for holding out, and shares where depth has holes."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from croco_bench.data.formats.images import read_gray, write_image
from croco_bench.data.miniatures.seven_scenes import SevenScenesMini, write_sevenscenes
from croco_bench.data.mining.crops import write_crops
from croco_bench.data.mining.mine import make_pairs
from croco_bench.data.pairs import open_pairs
from croco_bench.data.posed.sequences import seven_scenes_intrinsics
from croco_bench.data.splitting import split_by_group
from croco_bench.errors import DataError, UsageError

QUICK: dict[str, Any] = {"every": 1, "workers": 1}


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "7scenes"
    root.mkdir()
    with ThreadPoolExecutor(1) as pool:
        write_sevenscenes(root, SevenScenesMini(3, 3, 14, 48, 64, reach=100), 0, pool, lambda _: None)
    return root


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is most of the time that little data takes."""
    monkeypatch.setattr("croco_bench.data.mining.mine.draw_report", lambda *args, **options: None)


def records(out: Path) -> list[dict[str, Any]]:
    parts = [json.loads(path.read_text()) for path in sorted((out / "parts").rglob("*.json"))]
    return [pair for part in parts for pair in part["pairs"]]


@pytest.mark.parametrize("crop", [None, 32])
def test_held_out_scenes_share_no_frame_with_trained_ones(crop: int | None, rooms: Path, tmp_path: Path) -> None:
    make_pairs(rooms, tmp_path, crop=crop, **QUICK)
    reader = open_pairs(tmp_path / "crops" if crop else tmp_path)
    scenes = [line.split("/")[0] for line in (tmp_path / "pairs.txt").read_text().splitlines()]
    assert list(reader.groups) == scenes and reader.knows_scenes
    assert set(scenes) == {"room-01", "room-02", "room-03"}
    train, held = split_by_group(reader, 0.2, seed=0)
    images = [pair["images"] for pair in records(tmp_path)]
    trained, kept = ({image for i in part.indices for image in images[i]} for part in (train, held))
    assert trained and kept and not trained & kept
    assert not {scenes[i] for i in train.indices} & {scenes[i] for i in held.indices}


def test_scans_of_one_place_are_one_scene(rooms: Path, tmp_path: Path) -> None:
    for number in (0, 1):
        scan_of(rooms / f"room-01/seq-0{number + 1}", tmp_path / f"scans/scene0007_0{number}")
    make_pairs(tmp_path / "scans", tmp_path / "out", **QUICK)
    assert set(open_pairs(tmp_path / "out").groups) == {"scene0007"}


def scan_of(sequence: Path, scan: Path) -> None:
    for folder in ("color", "depth", "pose", "intrinsic"):
        (scan / folder).mkdir(parents=True)
    K = np.eye(4)
    K[:3, :3] = seven_scenes_intrinsics((48, 64))
    np.savetxt(scan / "intrinsic/intrinsic_depth.txt", K)
    for number in range(14):
        stem = sequence / f"frame-{number:06d}"
        cv2.imwrite(str(scan / f"color/{number}.jpg"), cv2.imread(f"{stem}.color.png"))
        shutil.copy(f"{stem}.depth.png", scan / f"depth/{number}.png")
        shutil.copy(f"{stem}.pose.txt", scan / f"pose/{number}.txt")


def test_where_depth_has_holes_no_view_is_paired_with_itself(rooms: Path, tmp_path: Path) -> None:
    """The right 44 % of each depth map is unknown: a share that took it for unseen had pairs of the same view twice."""
    source = tmp_path / "source"
    shutil.copytree(rooms, source)
    for path in source.rglob("*.depth.png"):
        depth = read_gray(path, np.uint16).copy()
        depth[:, 36:] = 0
        cv2.imwrite(str(path), depth)
    make_pairs(source, tmp_path / "out", **QUICK)
    found = records(tmp_path / "out")
    assert len(found) > 20
    assert not [pair for pair in found if pair["rotation_deg"] < 3 and pair["baseline_m"] < 0.05]


def test_a_tighter_tolerance_sees_less(rooms: Path, tmp_path: Path) -> None:
    medians = []
    for name, tolerance in (("loose", (0.05, 0.03)), ("tight", (0.002, 0.0))):
        make_pairs(rooms, tmp_path / name, covisibility=(0.01, 1.0), tolerance=tolerance, per_sequence=50, **QUICK)
        facts = json.loads((tmp_path / name / "pairs.json").read_text())
        assert (facts["settings"]["matching"]["absolute_m"], facts["settings"]["matching"]["relative"]) == tolerance
        medians.append(facts["median"]["covisibility"])
    assert medians[1] < 0.8 * medians[0]


@pytest.mark.parametrize("tolerance", [(0, 0), (-1, 0.1), (float("nan"), 0.03), (float("inf"), 0)])
def test_tolerances_that_see_nothing_or_all_are_refused(tolerance: Any, rooms: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"such as --tolerance 0\.05 0\.03"):
        make_pairs(rooms, tmp_path / "out", tolerance=tolerance)


def test_advice_where_all_frames_were_looked_at_is_another(rooms: Path, tmp_path: Path) -> None:
    for path in shutil.copytree(rooms / "room-01/seq-01", tmp_path / "one/seq-01").glob("*.pose.txt"):
        pose = np.eye(4)
        pose[:3, 3] = 100 * int(path.name[6:12])  # each frame stands far from any other
        np.savetxt(path, pose)
    with pytest.raises(DataError, match="all frames were looked at: check that poses are camera-to-world"):
        make_pairs(tmp_path / "one", tmp_path / "out", **QUICK)
    with pytest.raises(DataError, match=r"a smaller --every \(now 3\)"):
        make_pairs(tmp_path / "one", tmp_path / "out", every=3, workers=1)


@pytest.mark.parametrize(("text", "words"), [("a\n", "1 scenes for 2 pairs"), ("a\n\n", "an empty line for 2 pairs")])
def test_scenes_that_dont_fit_the_list_are_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "listing.txt").write_text("# pair_path\n0/0\n0/1\n")
    assert not open_pairs(tmp_path).knows_scenes
    (tmp_path / "scenes.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        open_pairs(tmp_path)
    before = (tmp_path / "scenes.txt").write_text("a\nb\n")
    assert before and list(open_pairs(tmp_path).groups) == ["a", "b"]


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_crop_that_a_power_loss_cut_is_written_again(tmp_path: Path, keep: int) -> None:
    write_image(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    out = tmp_path / "crops"
    with ThreadPoolExecutor(1) as pool:
        write_crops(tmp_path, [("a.png", "a.png")], out, 32, pool, lambda _: None)
        first, second = sorted(out.rglob("*.jpg"))
        whole, untouched = first.read_bytes(), second.stat().st_mtime_ns
        first.write_bytes(whole[:keep])
        write_crops(tmp_path, [("a.png", "a.png")], out, 32, pool, lambda _: None)
    assert first.read_bytes() == whole and second.stat().st_mtime_ns == untouched
