"""Mining of pairs: files, interruptions, and damaged or unsuitable sources."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from croco_bench.data.formats.images import read_rgb
from croco_bench.data.miniatures.seven_scenes import SevenScenesMini, write_sevenscenes
from croco_bench.data.mining import mine
from croco_bench.data.mining.covisibility import frame_covisibility
from croco_bench.data.mining.crops import stems_of
from croco_bench.data.mining.mine import make_pairs
from croco_bench.data.posed.sequences import open_posed, seven_scenes_intrinsics
from croco_bench.errors import BenchError, DataError, UsageError

FRAMES = 18

QUICK: dict[str, Any] = {"every": 1, "workers": 1}


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "7scenes"
    root.mkdir()
    with ThreadPoolExecutor(1) as pool:
        write_sevenscenes(root, SevenScenesMini(2, 3, FRAMES, 48, 64, reach=100), 0, pool, lambda _: None)
    return root


@pytest.fixture(scope="module")
def mined(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mined")
    make_pairs(rooms, out, crop=32, **QUICK)
    return out


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is most of the time that little data takes."""
    monkeypatch.setattr("croco_bench.data.mining.mine.draw_report", lambda *args, **options: None)


def parts(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((out / "parts").rglob("*.json"))]


def pairs_of(out: Path) -> list[list[str]]:
    return [line.split() for line in (out / "pairs.txt").read_text().splitlines()]


@contextmanager
def refused(kind: type[BenchError], words: str) -> Iterator[None]:
    with pytest.raises(kind) as error:
        yield
    assert words in str(error.value) and "\n" not in str(error.value), error.value


@pytest.mark.usefixtures("no_picture")
def test_pairs_are_what_their_numbers_say(rooms: Path, tmp_path: Path) -> None:
    make_pairs(rooms, tmp_path, covisibility=(0.4, 0.7), per_frame=3, per_sequence=10, **QUICK)
    frames = {
        frame.image.relative_to(rooms).as_posix(): frame
        for sequence in open_posed(rooms)
        for frame in map(sequence.frame, range(len(sequence)))
        if frame is not None
    }
    found = [pair for part in parts(tmp_path) for pair in part["pairs"]]
    assert [pair["images"] for pair in found] == pairs_of(tmp_path) and len(found) >= 15
    for pair in found:
        first, second = (frames[image] for image in pair["images"])
        assert frame_covisibility(first, second) == pytest.approx(pair["covisibility"], abs=1e-4)
        assert 0.4 <= min(frame_covisibility(first, second)) <= 0.7
        motion = np.linalg.inv(first.cam2world) @ second.cam2world
        assert np.linalg.norm(motion[:3, 3]) == pytest.approx(pair["baseline_m"], abs=1e-3)
        assert np.degrees(np.arccos((np.trace(motion) - 2) / 2)) == pytest.approx(pair["rotation_deg"], abs=0.01)
        assert pair["valid"][0] == pytest.approx(np.isfinite(first.depth_m()).mean(), abs=1e-4)
    uses = Counter(image for pair in found for image in pair["images"])
    assert max(uses.values()) == 3 and all(len(part["pairs"]) <= 10 for part in parts(tmp_path))
    # Neither always forwards nor always backwards.
    assert 0.2 < np.mean([first < second for first, second in pairs_of(tmp_path)]) < 0.8
    assert {path.split("/")[1] for line in pairs_of(tmp_path) for path in line} == {"seq-01", "seq-02"}


def test_what_is_written_is_a_training_set(mined: Path, rooms: Path) -> None:
    lines = pairs_of(mined)
    facts = json.loads((mined / "pairs.json").read_text())
    assert all(len(line) == 2 and (Path(facts["root"]) / path).is_file() for line in lines for path in line)
    assert facts["counts"]["pairs"] == len(lines) > 20 and facts["counts"]["frames"] == 4 * FRAMES
    assert facts["settings"]["every"] == 1 and facts["settings"]["source"]
    report = read_rgb(mined / "report.png")
    assert report.shape[0] > 500 and report.std() > 20
    header, *stems = (mined / "crops" / "listing.txt").read_text().splitlines()
    assert header == "# pair_path" and len(stems) == len(lines)
    for stem, line in list(zip(stems, lines, strict=True))[::9]:
        for number, path in enumerate(line, start=1):
            crop = mined / "crops" / f"{stem}_{number}.jpg"
            middle = cv2.resize(read_rgb(rooms / path)[:, 8:56], (32, 32), interpolation=cv2.INTER_AREA)
            expected = cv2.imencode(".jpg", middle[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            assert read_rgb(crop).shape == (32, 32, 3) and crop.read_bytes() == expected.tobytes()


@pytest.mark.parametrize("count", [1, 500, 501, 40_000, 250_001])
def test_stems_are_few_to_a_folder(count: int) -> None:
    stems = stems_of(count)
    folders = Counter(stem.rpartition("/")[0] for stem in stems)
    assert [int(stem.rpartition("/")[2], 16) for stem in stems] == list(range(count))
    assert max(folders.values()) <= 500 and len({stem.count("/") for stem in stems}) == 1
    assert stems[0].count("/") <= 4 and len(folders) <= max(2 * count // 20, 1)


def test_workers_and_interruptions_change_nothing(mined: Path, rooms: Path, tmp_path: Path) -> None:
    """Killed while the third sequence is read (its file is a pipe into which nobody writes), then finished by two."""
    source = tmp_path / "source"
    shutil.copytree(rooms, source)
    blocked = source / "room-02" / "seq-01" / "frame-000006.depth.png"
    blocked.unlink()
    os.mkfifo(blocked)
    code = (
        "from croco_bench.data.mining.mine import make_pairs\n"
        f"if __name__ == '__main__': make_pairs({str(source)!r}, {str(tmp_path / 'out')!r}, every=1, crop=32, workers=1)"
    )
    (tmp_path / "go.py").write_text(code)
    child = subprocess.Popen([sys.executable, str(tmp_path / "go.py")], stderr=subprocess.PIPE)
    made = tmp_path / "out" / "parts" / "room-01"
    until(lambda: len(list(made.glob("[!.]*.json"))) == 2)
    child.send_signal(signal.SIGKILL)
    # Workers hold the other end too, so that this returns when the last of them has ended.
    output, _ = child.communicate(timeout=30)
    assert child.returncode == -signal.SIGKILL and not output
    times = {path: path.stat().st_mtime_ns for path in made.iterdir()}
    assert len(times) == 2 and not (tmp_path / "out" / "pairs.txt").exists()
    blocked.unlink()
    shutil.copy(rooms / "room-02" / "seq-01" / blocked.name, blocked)
    make_pairs(source, tmp_path / "out", every=1, crop=32, workers=2)
    assert times == {path: path.stat().st_mtime_ns for path in made.iterdir()}
    assert contents(tmp_path / "out") == contents(mined)


def until(true: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("pairs.json", ".make-pairs.lock")
    }


@pytest.mark.usefixtures("no_picture")
def test_other_settings_are_refused_unless_replaced(mined: Path, rooms: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(mined, out)
    with refused(DataError, "other settings (every was 1, now 2)"):
        make_pairs(rooms, out, every=2, crop=32, workers=1)
    with refused(DataError, "(high was 0.65, now 0.7)"):
        make_pairs(rooms, out, crop=32, covisibility=(0.35, 0.7), **QUICK)
    with refused(DataError, "the source has changed"):
        make_pairs(rooms / "room-01", out, crop=32, **QUICK)
    assert contents(out) == contents(mined)
    make_pairs(rooms, out, every=2, workers=1, overwrite=True)
    assert not (out / "crops").exists() and 0 < len(pairs_of(out)) < len(pairs_of(mined))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pairs.txt").write_text("precious")
    with refused(DataError, "holds something else"):
        make_pairs(rooms, tmp_path / "mine", overwrite=True, **QUICK)
    assert (tmp_path / "mine" / "pairs.txt").read_text() == "precious"


@pytest.mark.usefixtures("no_picture")
def test_overwriting_keeps_finished_pairs_until_the_new_ones_are_there(
    mined: Path, rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    shutil.copytree(mined, out)
    with monkeypatch.context() as patch:
        patch.setattr(mine, "_mine", stop)
        for every in (2, 3):  # the second replaces what isn't finished
            with pytest.raises(KeyboardInterrupt):
                make_pairs(rooms, out, every=every, workers=1, overwrite=True)
    kept = contents(out / ".replaced")
    assert kept.items() <= contents(mined).items() and "pairs.txt" in {path.name for path in map(Path, kept)}
    make_pairs(rooms, out, every=3, workers=1)
    assert not (out / ".replaced").exists() and (out / "pairs.txt").is_file()


@pytest.mark.usefixtures("no_picture")
def test_no_pair_says_what_was_seen(rooms: Path, tmp_path: Path) -> None:
    with refused(DataError, "no pair has co-visibility from 0.995 to 1;"):
        make_pairs(rooms, tmp_path / "out", covisibility=(0.995, 1), **QUICK)
    with refused(DataError, "look at more frames"):
        make_pairs(rooms, tmp_path / "out", every=FRAMES, workers=1)
    make_pairs(rooms, tmp_path / "out", every=6, workers=1)  # nothing to be replaced stands in the way


def test_wrong_requests_are_one_sentence(rooms: Path, tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"covisibility": (0.6, 0.4)}, "co-visibility from 0.6 to 0.4"),
        ({"every": 0}, "--every is 0"),
        ({"crop": 0}, "--crop is 0"),
        ({"split": "trian"}, "did you mean train?"),
        ({"focal_px": -1.0}, "no camera"),
    ]
    for changes, words in wrong:
        with refused(UsageError, words):
            make_pairs(rooms, tmp_path / "out", **changes)
    with refused(DataError, "there is no folder"):
        make_pairs(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_picture")
def test_damage_found_by_a_worker_is_one_sentence(rooms: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(rooms / "room-01", source)
    depth = source / "seq-02" / "frame-000010.depth.png"
    depth.write_bytes(depth.read_bytes()[:100])
    with refused(DataError, "frame-000010.depth.png can't be decoded as an image (100 bytes)"):
        make_pairs(source, tmp_path / "out", **QUICK)
    shutil.copy(rooms / "room-01" / "seq-02" / depth.name, depth)
    make_pairs(source, tmp_path / "out", **QUICK)
    assert pairs_of(tmp_path / "out")


@pytest.mark.usefixtures("no_picture")
def test_scannet_is_mined_around_lost_frames(rooms: Path, tmp_path: Path) -> None:
    scene = tmp_path / "scans" / "scene0000_00"
    for folder in ("color", "depth", "pose", "intrinsic"):
        (scene / folder).mkdir(parents=True)
    K = np.eye(4)
    K[:3, :3] = seven_scenes_intrinsics((48, 64))
    np.savetxt(scene / "intrinsic" / "intrinsic_depth.txt", K)
    for number in range(FRAMES):
        stem = f"{rooms}/room-01/seq-01/frame-{number:06d}"
        cv2.imwrite(str(scene / f"color/{number}.jpg"), cv2.resize(cv2.imread(f"{stem}.color.png"), (160, 120)))
        shutil.copy(f"{stem}.depth.png", scene / f"depth/{number}.png")
        shutil.copy(f"{stem}.pose.txt", scene / f"pose/{number}.txt")
    np.savetxt(scene / "pose/3.txt", np.full((4, 4), -np.inf), fmt="%f")
    cv2.imwrite(str(scene / "depth/5.png"), np.zeros((48, 64), np.uint16))
    make_pairs(scene.parent, tmp_path / "out", **QUICK)
    (part,) = parts(tmp_path / "out")
    assert (part["frames"], part["frames_without_pose"], part["frames_without_depth"]) == (FRAMES - 2, 1, 1)
    numbers = {int(Path(path).stem) for line in pairs_of(tmp_path / "out") for path in line}
    assert len(numbers) > 10 and not numbers & {3, 5}
