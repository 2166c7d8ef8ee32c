"""Making miniatures: reproducible, complete or not at all, and never over real data."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from croco_bench.data.folders import MARKER
from croco_bench.data.miniatures.habitat import HabitatMini, write_habitat
from croco_bench.data.miniatures.make import MINIATURES, make_mini
from croco_bench.data.miniatures.miniature import Miniature
from croco_bench.data.miniatures.nyuv2 import NYUv2Mini, write_nyuv2
from croco_bench.errors import BenchError, DataError, UsageError

MAT = "nyu_depth_v2_labeled.mat"


def arrays(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return {key: file[key][()] for key in ("images", "depths", "rawDepths", "labels", "instances")}


def cells(path: Path, key: str) -> list[str]:
    """A cell array of strings, the way MATLAB reads it."""
    with h5py.File(path) as file:
        assert file[key].shape[0] == 1 and file[key].attrs["MATLAB_class"] == b"cell"
        return [file[one][()].astype("<u2").tobytes().decode("utf-16-le") for one in file[key][0]]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def sentence(error: pytest.ExceptionInfo[BenchError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def fake(monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, Any, int, Executor, Any], None]) -> None:
    """A writer of pairs that renders nothing."""
    settings = HabitatMini(2, 1, 8)
    miniature = Miniature("habitat_release", write, default=settings, tiny=settings, count=lambda spec: 2)
    monkeypatch.setitem(MINIATURES, "habitat_release", miniature)


def write_stub(folder: Path, spec: Any, seed: int, pool: Executor, advance: Any) -> None:
    (folder / "pairs.txt").write_text(f"{spec.side} {seed}")


def make_pairs(root: Path, **changes: Any) -> None:
    make_mini(root, datasets=["habitat_release"], workers=1, **changes)


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(tiny_data: Path, tmp_path: Path) -> None:
    make_mini(tmp_path, tiny=True, workers=1)
    one, two = arrays(tmp_path / "nyuv2" / MAT), arrays(tiny_data / "nyuv2" / MAT)
    assert one.keys() == two.keys()
    for key in one:
        assert np.array_equal(one[key], two[key]), key
    for key in ("scenes", "sceneTypes", "names"):
        assert cells(tmp_path / "nyuv2" / MAT, key) == cells(tiny_data / "nyuv2" / MAT, key)
    for name in ("habitat_release", "7scenes", "sintel", "flyingchairs"):
        assert contents(tmp_path / name) == contents(tiny_data / name), name


def test_other_seeds_give_other_rooms(tiny_data: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        for seed in (0, 1):
            for name in ("n", "h"):
                (tmp_path / f"{name}{seed}").mkdir()
            write_nyuv2(tmp_path / f"n{seed}", NYUv2Mini(3, 3, 3, 3, 48, 64), seed, pool, lambda _: None)
            write_habitat(tmp_path / f"h{seed}", HabitatMini(1, 1, 40), seed, pool, lambda _: None)
    same, other = arrays(tmp_path / "n0" / MAT), arrays(tmp_path / "n1" / MAT)
    tiny = arrays(tiny_data / "nyuv2" / MAT)
    for index in range(3):  # written by another process, among more images
        assert np.array_equal(same["images"][index], tiny["images"][index])
    assert all((same["depths"][index] != other["depths"][index]).mean() > 0.5 for index in range(3))
    image = "rooms/train/00000/00000000_1.jpeg"
    pairs = tiny_data / "habitat_release"
    assert (tmp_path / "h0" / image).read_bytes() == (pairs / image).read_bytes()
    assert (tmp_path / "h1" / image).read_bytes() != (pairs / image).read_bytes()


def test_a_finished_one_is_kept_and_another_replaced_only_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, write_stub)
    target = tmp_path / "habitat_release"
    (tmp_path / ".habitat_release.partial-123").mkdir(parents=True)
    make_pairs(tmp_path)
    assert not list(tmp_path.glob(".*partial*"))

    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (target, *target.iterdir())}

    before = times()
    make_pairs(tmp_path)
    make_pairs(tmp_path, overwrite=True)
    assert times() == before
    for change in ({"seed": 1}, {"changes": ["habitat_release.side=9"]}):
        with pytest.raises(DataError, match="a miniature with other settings; give --overwrite") as caught:
            make_pairs(tmp_path, **change)
        sentence(caught)
        assert times() == before
    make_pairs(tmp_path, changes=["habitat_release.side=9"], overwrite=True)
    assert (target / "pairs.txt").read_text() == "9 0"
    (target / MARKER).write_text("[")
    with pytest.raises(DataError, match="other settings"):
        make_pairs(tmp_path)
    make_pairs(tmp_path, overwrite=True)
    facts = json.loads((target / MARKER).read_text())
    assert (facts["seed"], facts["settings"]["side"]) == (0, 8)
    assert [path.name for path in tmp_path.iterdir() if "lock" not in path.name] == ["habitat_release"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_real_data_is_never_touched(tmp_path: Path, overwrite: bool) -> None:
    real = tmp_path / "habitat_release"
    real.mkdir()
    (real / "pairs.txt").write_text("precious")
    (tmp_path / "nyuv2").write_text("a file")
    for name in ("habitat_release", "nyuv2"):
        with pytest.raises(DataError, match="exists and isn't a miniature; real data is never touched") as caught:
            make_mini(tmp_path, datasets=[name], tiny=True, overwrite=overwrite)
        assert str(tmp_path / name) in sentence(caught)
    assert contents(tmp_path).keys() - {".make-mini.lock"} == {"habitat_release/pairs.txt", "nyuv2"}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"datasets": ["nyu"]}, "no miniature is called 'nyu'; did you mean nyuv2 or nyuv2_normals?"),
        ({"changes": ["kitti.train=5"]}, "no miniature is called 'kitti'; "),
        ({"changes": ["nyuv2.trian=5"]}, "no setting of nyuv2 is called 'trian'; did you mean train?"),
        *(
            ({"changes": [f"nyuv2.train{text}"]}, f"--set nyuv2.train{text}: expected a whole number above 0")
            for text in ("", "=", "=0", "=-3", "=2.5", "=many", "=²")
        ),
        ({"changes": ["nyuv2.height=1"]}, "nyuv2: height and width must be at least 2 pixels"),
        ({"changes": ["nyuv2.train=65500"]}, "nyuv2: train and test must be at most 65535 images"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(
        "croco_bench.data.process_pool.ProcessPoolExecutor", None
    )  # a request let through fails at once
    with pytest.raises(UsageError) as caught:
        make_mini(tmp_path / "new", **request_)
    assert message in sentence(caught)
    assert not (tmp_path / "new").exists()


def test_a_failed_write_is_one_sentence_and_leaves_nothing_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, *_: Any) -> None:
        (folder / "pairs.txt").write_text("half")
        raise OSError(28, "No space left on device")

    def killed(folder: Path, spec: Any, seed: int, pool: Executor, advance: Any) -> None:
        pool.submit(os._exit, 1).result()

    for write, message in ((full, "No space left on device"), (killed, "use fewer --workers")):
        fake(monkeypatch, write)
        with pytest.raises(DataError, match=message) as caught:
            make_pairs(tmp_path)
        assert str(tmp_path / "habitat_release") in sentence(caught)
        assert not (tmp_path / "habitat_release").exists()
        assert not list(tmp_path.glob(".*partial*"))  # it would keep the disk full
    fake(monkeypatch, write_stub)
    (tmp_path / ".nyuv2.partial-1").mkdir()  # of a killed call for another dataset
    make_pairs(tmp_path)
    assert not list(tmp_path.glob(".*partial*"))
    with pytest.raises(DataError, match="can't be written") as caught:
        make_pairs(tmp_path / "habitat_release" / "pairs.txt")
    sentence(caught)


@pytest.mark.slow
@pytest.mark.processes
def test_a_full_disk_under_the_mat_file_is_one_sentence(tmp_path: Path) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "from croco_bench.data.miniatures.make import make_mini; from croco_bench.errors import DataError\n"
        f"try: make_mini({str(tmp_path)!r}, datasets=['nyuv2'], tiny=True, workers=1)\n"
        "except DataError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"{tmp_path / 'nyuv2'} can't be written (File too large); free space or choose another DIR\n"
    )
    assert not (tmp_path / "nyuv2").exists()


@pytest.mark.slow
@pytest.mark.processes
def test_killed_in_the_middle(tmp_path: Path) -> None:
    code = (
        "from croco_bench.data.miniatures.make import make_mini\n"
        f"make_mini({str(tmp_path)!r}, datasets=['habitat_release'], changes=['habitat_release.pairs=4000'], workers=2)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as run:
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob(".habitat_release.partial-*/rooms/train/*/metadata.json")):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(DataError, match="another process is writing miniatures into"):
            make_pairs(tmp_path)
        run.kill()
        # The pipe ends only when the processes that rendered have ended too.
        run.communicate(timeout=20)
    assert list(tmp_path.glob(".habitat_release.partial-*")) and not (tmp_path / "habitat_release").exists()
    make_pairs(tmp_path, tiny=True, changes=["habitat_release.pairs=1"])
    assert {path.name for path in tmp_path.iterdir()} - {".make-mini.lock"} == {"habitat_release"}
    assert len((tmp_path / "habitat_release/pairs.txt").read_text().splitlines()) == 1


def test_killed_while_an_old_one_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, write_stub)
    make_pairs(tmp_path)

    def interrupted(folder: Path, **_: Any) -> None:
        (Path(folder) / "pairs.txt").unlink(missing_ok=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", interrupted)
        make_pairs(tmp_path, seed=1, overwrite=True)
    assert (tmp_path / "habitat_release/pairs.txt").read_text() == "8 1"
    make_pairs(tmp_path, seed=2, overwrite=True)
    assert not list(tmp_path.glob(".*partial*"))


def test_killed_between_two_renames_nothing_is_rendered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, write_stub)
    make_pairs(tmp_path, seed=1)
    own = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if target.name == "habitat_release":
            raise SystemExit
        return own(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(SystemExit):
        make_pairs(tmp_path, seed=2, overwrite=True)
    monkeypatch.setattr(Path, "rename", own)
    assert not (tmp_path / "habitat_release").exists() and len(list(tmp_path.glob(".*partial*"))) == 2

    def never(*_: Any) -> None:
        raise AssertionError("it was rendered already")

    fake(monkeypatch, never)
    make_pairs(tmp_path, seed=2)
    assert (tmp_path / "habitat_release/pairs.txt").read_text() == "8 2"
    assert not list(tmp_path.glob(".*partial*"))


def test_half_deleted_miniatures_are_never_taken_for_finished_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, write_stub)
    make_pairs(tmp_path, seed=1)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed before anything else is deleted
    make_pairs(tmp_path, seed=2, overwrite=True)
    monkeypatch.undo()
    fake(monkeypatch, write_stub)
    shutil.rmtree(tmp_path / "habitat_release")
    make_pairs(tmp_path, seed=3)
    assert (tmp_path / "habitat_release/pairs.txt").read_text() == "8 3"
