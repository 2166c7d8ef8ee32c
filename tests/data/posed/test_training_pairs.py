"""Training pairs of 7-Scenes from overlapping poses, in files written byte by byte."""

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from croco_bench.contracts import Reader
from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.seven_scenes import open_seven_scenes
from croco_bench.data.formats.images import read_rgb
from croco_bench.data.miniatures.seven_scenes import SevenScenesMini
from croco_bench.data.mining.covisibility import Matching, surface_covisibility, surface_of
from croco_bench.data.posed.overlap import OverlapCriteria
from croco_bench.data.posed.sequences import open_posed, seven_scenes_intrinsics
from croco_bench.errors import DataError, UsageError
from croco_bench.types import Array


def pose(x: float, y: float, yaw_deg: float) -> Array:
    """A camera at (x, y, 0) that looks along z, turned about the vertical axis."""
    found = np.eye(4)
    found[:3, :3] = Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
    found[:3, 3] = x, y, 0
    return found


def write_image(path: Path, height: int, width: int, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((height, width, 3), value, np.uint8)
    picture[: height // 2, :, 0] = 255 - value  # blue above: OpenCV's order is BGR
    cv2.imwrite(str(path), picture)


def as_official(matrix: Array) -> str:
    """As 7-Scenes has it: exponents of three digits, tabs, and one at the end of each line."""
    lines = []
    for row in matrix:
        words = []
        for value in row:
            mantissa, exponent = f"{value: .7e}".split("e")
            words.append(f"{mantissa}e{exponent[0]}{int(exponent[1:]):03d}")
        lines.append("\t ".join(words) + "\t \r\n")
    return "".join(lines)


def write_sequence(folder: Path, poses: list[Array]) -> None:
    for number, cam2world in enumerate(poses):
        stem = f"frame-{number:06d}"
        write_image(folder / f"{stem}.color.png", 48, 64, 10 * number)
        cv2.imwrite(str(folder / f"{stem}.depth.png"), np.full((48, 64), 2000, np.uint16))
        (folder / f"{stem}.pose.txt").write_bytes(as_official(cam2world).encode())


@pytest.fixture
def chess(tmp_path: Path) -> Path:
    """Two training sequences and one for testing, in steps of 0.4 m to the right; the last frame of each looks away."""
    root = tmp_path / "7scenes"
    for number, height in ((1, 0.0), (2, 0.1), (3, 0.2)):
        poses = [pose(0.4 * step, height, 180 if step == 4 else 0) for step in range(5)]
        write_sequence(root / "chess" / f"seq-{number:02d}", poses)
    (root / "chess" / "TrainSplit.txt").write_bytes(b"sequence1\r\nsequence2\r\n")
    (root / "chess" / "TestSplit.txt").write_bytes(b"sequence3\r\n")
    return root


def test_training_pairs_overlap_within_and_across_sequences(chess: Path) -> None:
    reader = open_seven_scenes(chess).train_pairs(per_frame=50)
    found = {tuple(reader[index]["id"].split()) for index in range(len(reader))}
    names = [f"chess/seq-0{sequence}/frame-00000{step}.color.png" for sequence in (1, 2) for step in range(5)]
    assert len(found) == len(reader) == reader.available
    # All but the two that look away see each other's middle at 1.2 m or less; those two see nothing but each other.
    expected = {(one, two) for one in names for two in names if one != two and (one[-11] == "4") == (two[-11] == "4")}
    assert found == expected
    assert (reader.dataset, reader.split, reader.miniature, set(reader.groups)) == (
        "7scenes",
        "train",
        False,
        {"chess"},
    )


@pytest.mark.parametrize(
    ("overlap", "steps"),
    [
        (OverlapCriteria(distance_m=(0.3, 0.5)), {1}),
        (OverlapCriteria(distance_m=(0.5, 9)), {2, 3}),
        (OverlapCriteria(distance_m=(0, 9)), {0, 1, 2, 3}),
        # At a depth of 1 m, half of the view is 64 / 2 / 52.5 = 0.61 m wide.
        (OverlapCriteria(distance_m=(0.3, 9), depth_m=1), {1}),
    ],
)
def test_each_criterion_counts(chess: Path, overlap: OverlapCriteria, steps: set[int]) -> None:
    reader = open_seven_scenes(chess).train_pairs(per_frame=50, overlap=overlap)
    samples = [reader[index] for index in range(len(reader))]
    straight = [one for one in samples if "4.color" not in one["id"]]
    found = {round(abs(one["relative"][0, 3]) / 0.4) for one in straight}
    assert found == steps
    assert all(len(set(one["id"].split())) == 2 for one in samples), "no frame is paired with itself"


def test_angles_count(chess: Path) -> None:
    write_sequence(chess / "chess" / "seq-02", [pose(0.2, 0, yaw) for yaw in (20, 30, 40, 50, 60)])
    for limit, below in ((45, 41), (25, 21)):
        overlap = OverlapCriteria(distance_m=(0.15, 0.25), angle_deg=limit, depth_m=0.3)
        reader = open_seven_scenes(chess).train_pairs(per_frame=50, overlap=overlap)
        turns = [Rotation.from_matrix(reader[i]["relative"][:3, :3]).magnitude() for i in range(len(reader))]
        assert below - 2 < np.degrees(max(turns)) < below


def test_pairs_are_drawn_once_and_capped(chess: Path) -> None:
    scenes = open_seven_scenes(chess)
    reader = scenes.train_pairs(per_frame=3)
    counts = np.bincount(reader.queries)
    assert counts.max() == 3 and len(reader) == 3 * 8 + 2
    assert reader.fingerprint() == open_seven_scenes(chess).train_pairs(per_frame=3).fingerprint()
    assert reader.fingerprint() != scenes.train_pairs(per_frame=3, seed=1).fingerprint()
    assert len({tuple(map(tuple, (one.references, one.queries))) for one in [scenes.train_pairs(per_frame=3)] * 2}) == 1
    (chess / "chess/seq-01/frame-000002.pose.txt").write_text(as_official(pose(0.81, 0, 0)))
    assert reader.fingerprint() != open_seven_scenes(chess).train_pairs(per_frame=3).fingerprint()


def test_listing_opens_no_image(chess: Path) -> None:
    for path in chess.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:24])  # the header, which says the size
    reader = open_seven_scenes(chess).train_pairs()
    with pytest.raises(DataError, match=r"color.png can't be decoded as an image \(24 bytes\)"):
        reader[0]


def test_samples_of_pairs_are_what_the_files_say(chess: Path) -> None:
    reader = open_seven_scenes(chess).train_pairs(per_frame=50)
    assert isinstance(reader, Reader)
    again = pickle.loads(pickle.dumps(reader))
    for index in (0, len(reader) - 1):
        sample = reader[int(index)]
        first, second = sample["id"].split()
        poses = [np.loadtxt(chess / name.replace(".color.png", ".pose.txt")) for name in (first, second)]
        assert np.array_equal(sample["cam2world1"], poses[0]) and np.array_equal(sample["cam2world2"], poses[1])
        assert np.allclose(sample["relative"], np.linalg.inv(poses[0]) @ poses[1], atol=1e-12)
        assert sample["relative"].dtype == np.float64 and sample["scene"] == "chess"
        for number, name in ((1, first), (2, second)):
            image = sample[f"image{number}"]
            assert np.array_equal(image, read_rgb(chess / name)) and image.dtype == np.uint8
            step = int(name[-11])
            assert image[0, 0].tolist() == [10 * step, 10 * step, 255 - 10 * step], "RGB"
            assert np.array_equal(sample[f"K{number}"], seven_scenes_intrinsics((48, 64)))
        assert again[index].keys() == sample.keys() and np.array_equal(again[index]["image2"], sample["image2"])


def test_the_relative_pose_moves_points_of_view_2_into_view_1(tiny_data: Path) -> None:
    """Rendered depths, unprojected from one view, moved, and looked up in the other."""
    root = tiny_data / "7scenes"
    reader = open_seven_scenes(root).train_pairs(overlap=OverlapCriteria(distance_m=(0.1, 1.5)))
    depths = {
        frame.image.relative_to(root).as_posix(): frame.depth_m()
        for sequence in open_posed(root)
        for frame in map(sequence.frame, range(len(sequence)))
        if frame is not None
    }
    matching = Matching(rows=48)
    for index in np.linspace(0, len(reader) - 1, 8).astype(int):
        sample = reader[int(index)]
        first, second = sample["id"].split()
        one = surface_of(depths[first], sample["K1"], np.eye(4), matching)
        two = surface_of(depths[second], sample["K2"], sample["relative"], matching)
        astray = surface_of(depths[second], sample["K2"], np.linalg.inv(sample["relative"]), matching)
        assert min(surface_covisibility(one, two, matching)) > max(
            0.3, min(surface_covisibility(one, astray, matching)) + 0.05
        )


def test_what_cannot_be_paired_is_said(chess: Path, tmp_path: Path) -> None:
    scenes = open_seven_scenes(chess)
    with pytest.raises(DataError, match=r"no two training frames of a scene are 5 to 6 m apart"):
        scenes.train_pairs(overlap=OverlapCriteria(distance_m=(5, 6)))
    for setting in (
        {"per_frame": 0},
        {"overlap": OverlapCriteria((1.0, 0.5))},
        {"overlap": OverlapCriteria(depth_m=0)},
    ):
        with pytest.raises(UsageError, match="all should be above 0"):
            scenes.train_pairs(**setting)
    for name in ("TrainSplit.txt", "TestSplit.txt"):
        (chess / "chess" / name).unlink()
    with pytest.raises(DataError, match=r"holds no sequence of 7-Scenes that a TrainSplit\.txt"):
        open_seven_scenes(chess)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: np.savetxt(path, np.full((4, 4), np.nan)), "holds a pose that isn't finite"),
        (lambda path: path.write_text(as_official(pose(0, 0, 0) * 2)), "isn't a rigid motion"),
        (lambda path: path.write_text(as_official(np.diag([1, 1, -1, 1]))), "isn't a rigid motion"),
        (lambda path: path.write_text("1 0 0 0"), "4x4 numbers, but holds 4"),
        (lambda path: path.write_bytes(b""), "4x4 numbers, but holds 0"),
        (Path.unlink, "frame 3 has no pose"),
    ],
)
def test_damaged_poses_are_one_sentence(chess: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(chess / "chess/seq-02/frame-000003.pose.txt")
    with pytest.raises(DataError) as error:
        open_seven_scenes(chess)
    assert words in str(error.value) and "seq-02" in str(error.value) and "\n" not in str(error.value)
    findings = [finding for finding in dataset_info("7scenes").check(chess) if "seq-02" in finding.what]
    assert [finding.ok for finding in findings] == [False]


def test_the_check_counts_scenes_and_splits(chess: Path, tiny_data: Path) -> None:
    findings = dataset_info("7scenes").check(chess)
    told = {finding.what: finding.advice for finding in findings if not finding.ok}
    assert "chess: 10 training and 5 test frames" in told and "redkitchen: 0 training and 0 test frames" in told
    assert "7000 and 5000" in told["redkitchen: 0 training and 0 test frames"]
    assert "26000" in told["train: 10 frames"] and "17000" in told["test: 5 frames"]
    assert "holds no retrieval lists" in findings[-1].what and not findings[-1].ok
    assert all(finding.ok for finding in dataset_info("7scenes").check(tiny_data / "7scenes"))
    assert SevenScenesMini().sequences > 1
