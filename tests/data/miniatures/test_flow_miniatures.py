"""The miniatures of MPI-Sintel and FlyingChairs: files, names, and flow that fits the images."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from croco_bench.data.datasets.matching import flyingchairs, sintel
from croco_bench.data.miniatures.matching.flyingchairs import (
    FlyingChairsMini,
    make_flow_pair,
    room_jobs,
    splits,
    write_flyingchairs,
)
from croco_bench.data.miniatures.matching.sintel import (
    TEST_SCENES,
    TRAINING_SCENES,
    SceneJob,
    SintelMini,
    make_shot,
    scene_jobs,
    write_scene,
    write_sintel,
)
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.motion import flow_truth
from croco_bench.data.rooms.render import flow_between, render
from croco_bench.errors import UsageError

SINTEL = SintelMini(4, 3, 1, 40, 56)
CHAIRS = FlyingChairsMini(6, 2, 2, 40, 56)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sintel")
    with ThreadPoolExecutor(2) as pool:
        write_sintel(root, SINTEL, 0, pool, lambda _: None)
    return root


@pytest.fixture(scope="module")
def chairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chairs")
    with ThreadPoolExecutor(2) as pool:
        write_flyingchairs(root, CHAIRS, 0, pool, lambda _: None)
    return root


def test_sintel_has_its_folders(films: Path) -> None:
    found = sorted(path.relative_to(films).as_posix() for path in films.rglob("*.*"))
    expected = [
        f"{split}/{kind}/{scene}/frame_{number:04d}{'.flo' if kind == 'flow' else '.png'}"
        for split, kinds, scenes in (
            ("training", ("clean", "final", "flow", "occlusions", "invalid"), TRAINING_SCENES[:4]),
            ("test", ("clean", "final"), TEST_SCENES[:1]),
        )
        for kind in kinds
        for scene in scenes
        for number in range(1, 3 if kind in ("flow", "occlusions") else 4)
    ]
    assert found == sorted(expected)
    for path in films.rglob("*.png"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        masks = path.parent.parent.name in ("occlusions", "invalid")
        assert image is not None and image.dtype == np.uint8 and image.shape == ((40, 56) if masks else (40, 56, 3))
        assert not masks or set(np.unique(image)) <= {0, 255}


def test_sintel_s_names_are_official_and_every_use_gets_one() -> None:
    assert sorted(TRAINING_SCENES) == sorted(sintel.SCENES) and len(set(TEST_SCENES)) == 12
    assert not set(TEST_SCENES) & set(TRAINING_SCENES)
    reported = {"market_2", "shaman_2", "bamboo_2", "ambush_2", "cave_2"}
    first = set(TRAINING_SCENES[:4])
    assert set(sintel.SELECT_SCENES) < first and first & reported and first - reported - set(sintel.SELECT_SCENES)
    default = set(TRAINING_SCENES[: SintelMini().scenes])
    assert reported | set(sintel.SELECT_SCENES) < default and len(default) == len(TRAINING_SCENES)


def test_what_was_written_is_read_and_fits_together(films: Path) -> None:
    """Frames look alike along the flow, as far as they show the same, and much less without it."""
    assert len(sintel.open_split(films, "train")) == 4 * 2 * 2 and len(sintel.open_split(films, "test")) == 4
    errors: dict[str, list[float]] = {"clean": [], "final": [], "still": []}
    for name in ("clean", "final"):
        reader = sintel.open_split(films, "train", passes=(name,))
        for sample in (reader[index] for index in range(len(reader))):
            assert sample["valid"].all() and 0 < sample["occluded"].mean() < 0.45
            assert 0 < sample["invalid"].mean() < 0.1
            kept = ~sample["occluded"] & ~sample["invalid"]
            grid = np.stack(np.meshgrid(np.arange(56), np.arange(40)), axis=-1)
            ends = (grid + sample["flow_px"]).astype(np.float32)
            after = sample["image2"].astype(np.float32)
            found = cv2.remap(after, ends, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            errors[name].append(float(np.abs(found - sample["image1"])[kept].mean()))
            errors["still"].append(float(np.abs(after - sample["image1"])[kept].mean()))
    means = {name: np.mean(values) for name, values in errors.items()}
    assert means["clean"] < 4 and means["final"] < 5 and means["still"] > 1.7 * means["clean"]


@pytest.mark.slow
def test_the_room_s_flow_has_the_drawn_size_whatever_the_image_s() -> None:
    for spec in (SINTEL, SintelMini(height=72, width=128)):
        medians = []
        for seed in range(6):
            shot = make_shot(seed, spec)
            frames = [shot.frame(time) for time in (-0.5, 0.5)]
            flow = flow_truth(shot, *frames).flow_px * 128 / spec.width
            medians.append(float(np.median(np.linalg.norm(flow, axis=2))))
        assert min(medians) > 2.5 and max(medians) < 12 and 4.5 < np.mean(medians) < 8.5


def test_shots_are_smooth() -> None:
    shot = make_shot(5, SintelMini())
    frames = [shot.frame(time) for time in np.arange(-2.5, 3)]
    for body in range(len(shot.still.semantic), len(shot.scene.semantic)):
        centers = np.stack([frame.scene.triangles[frame.scene.owner == body].mean(axis=(0, 1)) for frame in frames])
        steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
        bends = np.linalg.norm(np.diff(centers, 2, axis=0), axis=1)
        assert steps.min() > 0 and bends.max() < 0.5 * steps.max()
    centers = np.stack([frame.camera.center for frame in frames])
    steps, bends = (np.linalg.norm(np.diff(centers, n, axis=0), axis=1) for n in (1, 2))
    assert bends.max() < 0.5 * steps.max()


def test_flying_chairs_has_its_files(chairs: Path) -> None:
    names = [f"{number:05d}_{kind}" for number in range(1, 9) for kind in ("flow.flo", "img1.ppm", "img2.ppm")]
    assert sorted(path.name for path in (chairs / "data").iterdir()) == names
    assert (chairs / "chairs_split.txt").read_text().split() == ["1", "1", "1", "2", "1", "1", "1", "2"]
    for path in (chairs / "data").glob("*.ppm"):
        assert path.read_bytes().startswith(b"P6\n56 40\n255\n") and path.stat().st_size == 13 + 40 * 56 * 3
    for split, count in (("train", 6), ("val", 2)):
        reader = flyingchairs.open_split(chairs, split)  # type: ignore[arg-type]
        assert len(reader) == count
        for sample in (reader[index] for index in range(count)):
            assert sample["valid"].all() and sample["image1"].shape == (40, 56, 3)
            assert 0.3 < np.median(np.linalg.norm(sample["flow_px"], axis=2)) < 25


def test_pairs_of_flying_chairs_are_of_rooms_that_are_in_one_split(tmp_path: Path) -> None:
    spec = FlyingChairsMini(100, 7, 3)
    of_pairs, jobs = splits(spec), room_jobs(tmp_path, spec, 0)
    assert of_pairs.count(1) == 100 and of_pairs.count(2) == 7
    assert len({job.seed for job in jobs}) == len(jobs) == 34 + 3
    for job in jobs:
        assert len({of_pairs[number - 1] for number in job.numbers}) == 1
    assert sorted(number for job in jobs for number in job.numbers) == list(range(1, 108))


def test_pairs_of_flying_chairs_fit_together() -> None:
    rng = np.random.default_rng(3)
    moved = 0
    for seed in range(4):
        scene = make_scene(seed)
        first, second, truth = make_flow_pair(scene, (48, 64), rng)
        view, other = (render(frame.scene, frame.camera) for frame in (first, second))
        assert truth.known.all() and 0 < truth.occluded.mean() < 0.5
        room = view.instance < len(scene.semantic)
        assert np.abs((truth.flow_px - flow_between(view, other))[room]).max() < 5e-3
        moved += int((np.abs(truth.flow_px - flow_between(view, other))[~room] > 1).any(axis=1).sum())
        assert (first.time, second.time) == (0, 1)
    assert moved > 300


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SintelMini(scenes=3), "sintel: scenes must be 4 (to train, select and report by) to 23, not 3"),
        (lambda: SintelMini(scenes=24), "sintel: scenes must be 4"),
        (lambda: SintelMini(test_scenes=13), "sintel: test_scenes must be 1 to 12, not 13"),
        (lambda: SintelMini(frames=1), "sintel: frames must be at least 2"),
        (lambda: SintelMini(width=1), "sintel: height and width must be at least 2 pixels"),
        (lambda: FlyingChairsMini(height=1), "flyingchairs: height and width must be at least 2 pixels"),
        (lambda: FlyingChairsMini(train=99999), "flyingchairs: train and val must be at most 99999 pairs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError) as error:
        make()
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_the_seed_decides_and_nothing_else(films: Path, chairs: Path, tmp_path: Path) -> None:
    """Files are equal byte for byte, written by one process or several, alone or among others."""
    with ThreadPoolExecutor(1) as pool:
        for seed in (0, 1):
            (tmp_path / f"chairs{seed}").mkdir()
            write_flyingchairs(tmp_path / f"chairs{seed}", CHAIRS, seed, pool, lambda _: None)
    seed = room_seed(0, "sintel", "temple_2")
    write_scene(SceneJob(tmp_path / "films", "training", "temple_2", seed, SINTEL))
    for before, after in ((chairs, tmp_path / "chairs0"), (films, tmp_path / "films")):
        names = [path.relative_to(after) for path in after.rglob("*.*")]
        assert len(names) in (25, 13)
        for name in names:
            assert (after / name).read_bytes() == (before / name).read_bytes()
    for path in chairs.glob("data/*"):
        assert (tmp_path / "chairs1/data" / path.name).read_bytes() != path.read_bytes()


def test_every_scene_of_every_seed_has_a_room_of_its_own(tmp_path: Path) -> None:
    spec = SintelMini(23, 2, 12)
    rooms = [job.seed for seed in (0, 1) for job in scene_jobs(tmp_path, spec, seed)]
    assert len(set(rooms)) == len(rooms) == 2 * 35
    one, other = (make_shot(room, SINTEL) for room in rooms[:2])
    assert not np.array_equal(one.camera.cam2world, other.camera.cam2world)
