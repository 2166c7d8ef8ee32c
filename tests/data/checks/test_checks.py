"""Checks of datasets: of every miniature, of empty folders, of damaged Habitat pairs; and where datasets are looked for."""

import importlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from croco_bench.data.catalogue import CATALOGUE, dataset_info
from croco_bench.data.checks.run_check import Finding
from croco_bench.data.folders import MARKER, data_folder, is_miniature
from croco_bench.data.formats.images import read_rgb
from croco_bench.data.miniatures.make import MINIATURES
from croco_bench.errors import DataError, UsageError


@pytest.fixture
def pairs(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny pairs, to damage."""
    return Path(shutil.copytree(tiny_data / "habitat_release", tmp_path / "habitat_release"))


def wrong(root: Path) -> list[Finding]:
    return [finding for finding in dataset_info("habitat_release").check(root) if not finding.ok]


def only(root: Path) -> Finding:
    """The one thing that is wrong: in one line, with advice."""
    findings = wrong(root)
    assert len(findings) == 1
    assert "\n" not in findings[0].what and findings[0].advice
    return findings[0]


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_dataset_describes_itself_and_has_a_check(name: str) -> None:
    one = dataset_info(name)
    assert one.name == name and f"{name}/\n" in one.layout
    assert one.title and one.size and one.license and "http" in one.link
    assert one.module.startswith("croco_bench.data.datasets.")
    module = importlib.import_module(one.module)
    assert callable(getattr(module, one.check_function))
    assert getattr(module, "LINK", "") in one.link


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_the_miniatures_are_in_order(tiny_data: Path, name: str) -> None:
    findings = dataset_info(name).check(tiny_data / name)
    # CREStereo has one split and no masks, so less is said of it.
    assert len(findings) >= (3 if name == "crestereo" else 4)
    assert [finding for finding in findings if not finding.ok] == []
    assert all("\n" not in finding.what for finding in findings)
    assert is_miniature(tiny_data / name) and not is_miniature(tiny_data)


def test_pairs_have_their_images_cameras_and_metadata(tiny_data: Path) -> None:
    root = tiny_data / "habitat_release"
    lines = [line.split(" ") for line in (root / "pairs.txt").read_text().splitlines()]
    assert len(lines) == len({first for first, _ in lines}) == 6
    expected = {MARKER, "pairs.txt"}
    for first, second in lines:
        assert first.endswith("_1.jpeg") and second == first.replace("_1.jpeg", "_2.jpeg")
        facts = json.loads((root / first).with_name("metadata.json").read_text())
        pair = facts["multiviews"][Path(first).name[:8]]
        assert facts["resolution"] == [40, 40] and facts["views_count"] == 2 and facts["size"] == 2
        assert all(0.45 <= share <= 1 for share in pair["covisibility_ratios"])
        for number, image in enumerate((first, second)):
            assert read_rgb(root / image).shape == (40, 40, 3)
            camera = json.loads((root / image.replace(".jpeg", "_camera_params.json")).read_text())
            rotation = np.array(camera["R_cam2world"])
            assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-9) and np.linalg.det(rotation) > 0
            w, x, y, z = pair["orientations"][number]
            assert np.allclose(Rotation.from_quat([x, y, z, w]).as_matrix(), rotation)
            assert pair["positions"][number] == camera["t_cam2world"]
            focal = 20 / np.tan(np.radians(facts["hfov"] / 2))
            assert np.allclose(camera["camera_intrinsics"], [[focal, 0, 19.5], [0, focal, 19.5], [0, 0, 1]])
            expected |= {image, image.replace(".jpeg", "_camera_params.json")}
        expected.add(str(Path(first).with_name("metadata.json")))
    assert {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} == expected


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_an_empty_folder_is_a_finding(tmp_path: Path, name: str) -> None:
    findings = dataset_info(name).check(tmp_path)
    assert [finding.ok for finding in findings] == [False]
    assert str(tmp_path) in findings[0].what and findings[0].advice


def test_an_unknown_dataset() -> None:
    with pytest.raises(UsageError, match=r"no dataset is called 'nyuv3'; did you mean nyuv2\?"):
        dataset_info("nyuv3")


def test_a_missing_list_is_reported(pairs: Path) -> None:
    (pairs / "pairs.txt").unlink()
    assert only(pairs).what == f"there is no {pairs / 'pairs.txt'}"


@pytest.mark.parametrize(
    ("text", "where"),
    [(b"", "the file"), (b"\n\n", "the file"), (b"a b\nc\n", "line 2"), (b"a b c\n", "line 1"), (b"\xff\n", "line 1")],
)
def test_a_damaged_list_is_reported(pairs: Path, text: bytes, where: str) -> None:
    (pairs / "pairs.txt").write_bytes(text)
    assert only(pairs).what == f"{pairs / 'pairs.txt'}: {where} should hold two paths"


def test_bytes_that_are_no_text_are_reported(pairs: Path) -> None:
    (pairs / "pairs.txt").write_bytes(b"\xff\xfe.jpeg \x80.jpeg\n")
    assert "there is no readable" in only(pairs).what


@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_image_is_reported(pairs: Path, number: int) -> None:
    image = pairs / f"rooms/train/00000/00000000_{number}.jpeg"
    image.unlink()
    assert str(image) in only(pairs).what


@pytest.mark.parametrize("keep", [0, 10, 600, -30])
def test_a_truncated_image_is_reported(pairs: Path, keep: int) -> None:
    # The last pair of the list: samples are spread over all of it.
    image = pairs / (pairs / "pairs.txt").read_text().split()[-1]
    image.write_bytes(image.read_bytes()[:keep])
    where = ": it ends before its end marker" if keep else ""
    assert only(pairs).what == (
        f"{image} can't be decoded as an image ({image.stat().st_size} bytes); it is truncated or damaged{where}"
    )


def test_two_sizes_in_a_pair_are_reported(pairs: Path) -> None:
    image = pairs / "rooms/train/00000/00000000_2.jpeg"
    assert cv2.imwrite(str(image), np.zeros((40, 20, 3), np.uint8))
    assert "(40, 40) and (40, 20) pixels" in only(pairs).what


def test_only_the_whole_release_counts_as_official(pairs: Path) -> None:
    (pairs / MARKER).unlink()
    assert only(pairs) == Finding(False, "pairs.txt: 6 pairs", "the release has 1801209 for training")


def test_images_are_read_as_rgb(tmp_path: Path) -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :, 0], image[1, 2, 1] = 250, 30
    path = tmp_path / "ä.png"
    path.write_bytes(cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())
    read = read_rgb(path)
    assert np.array_equal(read, image) and read.flags.c_contiguous


def test_the_data_root_is_given_or_in_the_environment(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROCO_BENCH_DATA", raising=False)
    assert data_folder(tiny_data, "nyuv2") == tiny_data / "nyuv2"
    for setting in (None, ""):
        if setting is not None:
            monkeypatch.setenv("CROCO_BENCH_DATA", setting)
        with pytest.raises(DataError, match="where is the nyuv2 dataset") as caught:
            data_folder(None, "nyuv2")
        assert "--data-root" in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setenv("CROCO_BENCH_DATA", str(tiny_data))
    assert data_folder(None, "nyuv2") == tiny_data / "nyuv2"
    with pytest.raises(DataError, match="there is no folder") as caught:
        data_folder(tmp_path, "nyuv2")  # what is given wins over the environment
    assert str(tmp_path / "nyuv2") in str(caught.value)
    (tmp_path / "nyuv2").write_text("a file")
    with pytest.raises(DataError, match="there is no folder"):
        data_folder(tmp_path, "nyuv2")
