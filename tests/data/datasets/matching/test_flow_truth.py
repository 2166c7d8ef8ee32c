"""What samples of flow say beside the flow: what is occluded, what is invalid, four values for a pixel; and what checks see."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from croco_bench.data.datasets.matching import flyingchairs, hd1k, kitti, sintel, spring, tartanair
from croco_bench.data.folders import MARKER
from croco_bench.data.formats.flow import write_flo, write_flo5, write_kitti_flow
from croco_bench.errors import DataError
from croco_bench.types import Array

H, W = 12, 16


def save(path: Path, image: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def frame(number: int) -> Array:
    """Grey values that slide to the right by 2 and down by 1 pixel a frame."""
    noise = np.random.default_rng(7).integers(0, 256, (H, W)).astype(np.float32)
    base = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.roll(base, (number, 2 * number), axis=(0, 1))


def flow(u: float = 2, v: float = 1, height: int = H, width: int = W) -> Array:
    return np.full((height, width, 2), (u, v), np.float32)


def mask_of(*pixels: tuple[int, int], value: int = 255) -> Array:
    mask = np.zeros((H, W), np.uint8)
    for pixel in pixels:
        mask[pixel] = value
    return mask


def written(root: Path, name: str, write: Callable[[Path, Array, Array | None], None], *content: Any) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, *content)
    return path


def write_sintel(root: Path, scene: str = "alley_1") -> None:
    for number in (1, 2):
        for passed in ("clean", "final"):
            save(root / f"training/{passed}/{scene}/frame_{number:04d}.png", frame(number))
    written(root, f"training/flow/{scene}/frame_0001.flo", write_flo, flow())


@pytest.mark.parametrize("value", [255, 1])  # the files have 255, their description says 1
def test_sintel_says_what_is_occluded_and_what_is_invalid(value: int, tmp_path: Path) -> None:
    write_sintel(tmp_path)
    assert sintel.open_split(tmp_path, "train")[0].keys() == {"image1", "image2", "flow_px", "valid", "id"}
    save(tmp_path / "training/occlusions/alley_1/frame_0001.png", mask_of((3, 4), (5, 6), value=value))
    save(tmp_path / "training/invalid/alley_1/frame_0001.png", mask_of((7, 8), value=value))
    reader = sintel.open_split(tmp_path, "train")
    for sample in (reader[0], reader[1]):
        assert sample["occluded"].dtype == sample["invalid"].dtype == np.bool_
        assert np.argwhere(sample["occluded"]).tolist() == [[3, 4], [5, 6]]
        assert np.argwhere(sample["invalid"]).tolist() == [[7, 8]]
        assert sample["valid"].all()
    for wrong, words in (
        (np.zeros((H, W, 3), np.uint8), "one-channel uint8 image"),
        (np.zeros((H, W), np.uint16), "one-channel uint8 image"),
        (np.zeros((H, W - 1), np.uint8), "belongs to an image of 12x15"),
    ):
        save(tmp_path / "training/invalid/alley_1/frame_0001.png", wrong)
        with pytest.raises(DataError, match=rf"invalid/alley_1/frame_0001\.png .*{words}"):
            sintel.open_split(tmp_path, "train")[0]


def test_kitti_is_occluded_where_truth_is_known_but_not_of_what_both_views_see(tmp_path: Path) -> None:
    known = np.random.default_rng(0).random((H, W)) < 0.5
    seen = known & (np.arange(W) < W - 4)
    for which in (10, 11):
        save(tmp_path / f"training/image_2/000000_{which}.png", frame(which))
    written(tmp_path, "training/flow_occ/000000_10.png", write_kitti_flow, flow(), known)
    assert "occluded" not in kitti.open_flow(tmp_path, "train", year=2015)[0]
    path = written(tmp_path, "training/flow_noc/000000_10.png", write_kitti_flow, flow(), seen)
    sample = kitti.open_flow(tmp_path, "train", year=2015)[0]
    np.testing.assert_array_equal(sample["valid"], known)
    np.testing.assert_array_equal(sample["occluded"], known & ~seen)
    write_kitti_flow(path, flow(width=W + 1), None)
    with pytest.raises(DataError, match=r"flow_noc/000000_10\.png belongs to an image of 12x17, but"):
        kitti.open_flow(tmp_path, "train", year=2015)[0]


def test_tartanair_is_occluded_where_its_mask_isnt_0(tmp_path: Path) -> None:
    folder = tmp_path / "ocean/Easy/P000"
    for number in (0, 1):
        save(folder / f"image_left/{number:06d}_left.png", frame(number))
    (folder / "flow").mkdir()
    np.save(folder / "flow/000000_000001_flow.npy", flow())
    assert "occluded" not in tartanair.open_split(tmp_path)[0]
    mask = folder / "flow/000000_000001_mask.npy"
    np.save(mask, mask_of((1, 2), value=1) + mask_of((1, 3), value=100))
    assert np.argwhere(tartanair.open_split(tmp_path)[0]["occluded"]).tolist() == [[1, 2], [1, 3]]
    for wrong, words in (
        (np.zeros((H, W)), "should be whole numbers"),
        (np.zeros((H, W, 2), np.uint8), "should be whole numbers"),
        (np.zeros((H - 1, W), np.uint8), "belongs to an image of 11x16"),
    ):
        np.save(mask, wrong)
        with pytest.raises(DataError, match=f"000001_mask.npy {words}"):
            tartanair.open_split(tmp_path)[0]


def test_spring_has_four_values_for_a_pixel_and_their_mean(tmp_path: Path) -> None:
    for number in (1, 2):
        save(tmp_path / f"train/0001/frame_left/frame_left_{number:04d}.png", frame(number))
    values = flow(height=2 * H, width=2 * W)
    values[0:2, 0:2, 1] = [[1, 2], [3, 10]]
    values[2:4, 2:4] = np.nan
    values[4, 5], values[5, 4] = np.nan, (6, 4)
    name = "train/0001/flow_FW_left/flow_FW_left_0001.flo5"
    path = written(tmp_path, name, write_flo5, values)
    reader = spring.open_split(tmp_path, "train", directions=("FW",), cameras=("left",))
    sample = reader[0]
    four, known = sample["flow4_px"], sample["valid4"]
    assert (four.shape, known.shape) == ((H, W, 4, 2), (H, W, 4)) and four.dtype == np.float32
    assert four[0, 0].tolist() == [[2, 1], [2, 2], [2, 3], [2, 10]] and sample["flow_px"][0, 0].tolist() == [2, 4]
    assert not four[1, 1].any() and not known[1, 1].any() and not sample["flow_px"][1, 1].any()
    assert known[2, 2].tolist() == [True, False, True, True]
    assert four[2, 2].tolist() == [[2, 1], [0, 0], [6, 4], [2, 1]]
    np.testing.assert_allclose(sample["flow_px"][2, 2], (10 / 3, 2))
    assert np.argwhere(~sample["valid"]).tolist() == [[1, 1]]
    # Any pixel: its four are the square of two rows and columns.
    values = np.random.default_rng(0).normal(size=(2 * H, 2 * W, 2)).astype(np.float32)
    write_flo5(path, values)
    square = reader[0]["flow4_px"][7, 9]
    np.testing.assert_array_equal(square, values[14:16, 18:20].reshape(4, 2))
    for height, width, words in (
        (2 * H - 1, 2 * W, "is 23x32, but should have two rows and columns for each of the image"),
        (H, W, "belongs to an image of 6x8, but .* is 12x16"),
    ):
        write_flo5(path, flow(height=height, width=width))
        with pytest.raises(DataError, match=f"flow_FW_left_0001.flo5 {words}"):
            reader[0]


@pytest.mark.parametrize("form", ["ppm", "png"])
def test_a_truncated_image_is_one_sentence(form: str, tmp_path: Path) -> None:
    write_sintel(tmp_path)
    path = tmp_path / "training/clean/alley_1/frame_0002.png"
    content = cv2.imencode(f".{form}", np.dstack([frame(2)] * 3))[1].tobytes()
    path.write_bytes(content)
    reader = sintel.open_split(tmp_path, "train", passes=("clean",))
    assert reader[0]["image2"].shape == (H, W, 3)
    for keep in (0, 5, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:keep])
        with pytest.raises(DataError, match=r"frame_0002\.png can't be decoded") as caught:
            reader[0]
        assert "\n" not in str(caught.value)


def test_splits_without_truth_have_images_alone(tmp_path: Path) -> None:
    for number in (0, 1):
        save(tmp_path / f"hd1k_challenge/image_2/000000_{number:04d}.png", frame(number))
        save(tmp_path / f"testing/image_2/000000_{number + 10}.png", frame(number))
        save(tmp_path / f"test/clean/wall/frame_{number + 1:04d}.png", frame(number))
        save(tmp_path / f"test/wall/frame_left/frame_left_{number + 1:04d}.png", frame(number))
    (tmp_path / "test/clean").rename(tmp_path / "clean")
    readers = [
        hd1k.open_split(tmp_path, "test"),
        kitti.open_flow(tmp_path, "test", year=2015),
        spring.open_split(tmp_path, "test", cameras=("left",), directions=("BW",)),
    ]
    (tmp_path / "test/wall").rename(tmp_path / "wall")
    (tmp_path / "clean").rename(tmp_path / "test/clean")
    (tmp_path / "wall").rename(tmp_path / "test/wall")
    readers.append(sintel.open_split(tmp_path, "test", passes=("clean",)))
    for reader in readers:
        sample = reader[0]
        assert sample.keys() == {"image1", "image2", "id"} and reader.split == "test"
        backwards = reader.dataset == "spring"
        np.testing.assert_array_equal(sample["image2" if backwards else "image1"][:, :, 0], frame(0))
        np.testing.assert_array_equal(sample["image1" if backwards else "image2"][:, :, 0], frame(1))


def wrong(findings: list[Any]) -> list[str]:
    return [finding.what for finding in findings if not finding.ok]


def test_check_notices_exchanged_axes_and_blank_images(tmp_path: Path) -> None:
    (tmp_path / "chairs_split.txt").write_text("1\n2\n")
    (tmp_path / MARKER).write_text("{}")
    for number in (1, 2):
        for which in (1, 2):
            save(tmp_path / f"data/{number:05d}_img{which}.ppm", np.dstack([frame(which)] * 3))
        written(tmp_path, f"data/{number:05d}_flow.flo", write_flo, flow())
    assert wrong(flyingchairs.check(tmp_path)) == []
    for u, v in ((-2, -1), (-1, -2)):
        write_flo(tmp_path / "data/00001_flow.flo", flow(u, v))
        (found,) = wrong(flyingchairs.check(tmp_path))
        assert "train: 100% known, 2.2 pixels in the median; grey values differ by" in found
    write_flo(tmp_path / "data/00001_flow.flo", flow(), np.zeros((H, W), bool))
    assert "train: 0% known, nan pixels" in wrong(flyingchairs.check(tmp_path))[0]
    write_flo(tmp_path / "data/00001_flow.flo", flow())
    save(tmp_path / "data/00002_img1.ppm", np.full((H, W, 3), 9, np.uint8))
    assert "val: 00002 has a blank image" in wrong(flyingchairs.check(tmp_path))


def test_check_notices_a_mask_that_is_the_other_way_round(tmp_path: Path) -> None:
    for scene in sintel.SELECT_SCENES:
        write_sintel(tmp_path, scene)
        for kind in ("invalid", "occlusions"):
            save(tmp_path / f"training/{kind}/{scene}/frame_0001.png", mask_of((0, 0)))
    found = wrong(sintel.check(tmp_path))
    assert not any("invalid" in text or "occluded" in text for text in found)
    save(tmp_path / f"training/invalid/{sintel.SELECT_SCENES[0]}/frame_0001.png", 255 - mask_of((0, 0)))
    save(tmp_path / f"training/invalid/{sintel.SELECT_SCENES[1]}/frame_0001.png", 255 - mask_of((0, 0)))
    assert "train, clean: 99.5% invalid" in wrong(sintel.check(tmp_path))
