"""MultiMAE's folders: which files belong together, damaged files, joint crops, and its check."""

import pickle
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from croco_bench.data.datasets.multimae import MultimaeReader, check
from croco_bench.data.miniatures.habitat import HabitatMini, pairs_of, room_jobs, write_habitat
from croco_bench.data.miniatures.multimae import DEPTH_UNITS_PER_M, write_multimae
from croco_bench.data.rooms.classes import CLASSES
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.transforms.joint_crop import JointCrop, standardised
from croco_bench.errors import DataError
from croco_bench.types import Array

SPEC = HabitatMini(pairs=3, pairs_per_scene=2, side=40)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rooms in both layouts."""
    root = tmp_path_factory.mktemp("rooms")
    counts: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        for name, write in (("pairs", write_habitat), ("multimae", write_multimae)):
            (root / name).mkdir()
            write(root / name, SPEC, 3, pool, counts.append)
    assert counts == [2, 1, 2, 1]
    return root


def maps(size: tuple[int, int] = (12, 16), seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        "rgb": rng.integers(0, 256, (*size, 3)).astype(np.uint8),
        "depth": rng.integers(0, 65536, size).astype(np.uint16),
        "semseg": rng.integers(0, 20, size).astype(np.uint8),
    }


def write(
    root: Path, name: str, seed: int = 0, order: str = "train/{kind}", changes: Mapping[str, Array] | None = None
) -> None:
    """One image's three files, all `.png`."""
    for kind, values in {**maps(seed=seed), **(changes or {})}.items():
        path = root / order.format(kind=kind) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)


def sentence(error: pytest.ExceptionInfo[DataError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_writers_images_are_those_of_the_pairs(rooms: Path) -> None:
    lines = (rooms / "pairs" / "pairs.txt").read_text().split()
    assert len(lines) == 6
    for line in lines:
        twin = rooms / "multimae" / "train" / "rgb" / Path(line).relative_to("rooms/train")
        assert twin.read_bytes() == (rooms / "pairs" / line).read_bytes()
    assert len(list((rooms / "multimae").rglob("*.jpeg"))) == 6
    assert len(list((rooms / "multimae").rglob("*.png"))) == 12


def test_depth_and_classes_are_those_of_the_views(rooms: Path) -> None:
    reader = MultimaeReader(rooms / "multimae", classes=len(CLASSES))
    views = []
    for job in room_jobs(rooms, SPEC, 3):
        for _, pair in pairs_of(make_scene(job.seed), job):
            views += [pair.view1, pair.view2]
    assert len(reader) == len(views) == 6
    for view, sample in zip(views, (reader[index] for index in range(len(reader))), strict=True):
        assert sample["depth"].dtype == np.uint16 and sample["semseg"].dtype == np.uint8
        assert np.abs(sample["depth"] / DEPTH_UNITS_PER_M - view.depth_m).max() <= 0.5001 / DEPTH_UNITS_PER_M
        assert np.array_equal(sample["semseg"], view.semantic)
        assert np.abs(sample["image"].astype(float) - view.rgb).mean() < 6  # JPEG
    assert [Path(reader[index]["id"]).name for index in range(4)] == [
        "00000000_1",
        "00000000_2",
        "00000001_1",
        "00000001_2",
    ]


def test_check_finds_the_writers_folder_in_order(rooms: Path) -> None:
    findings = check(rooms / "multimae")
    assert len(findings) == 6 and all(finding.ok for finding in findings)
    assert "6 images" in findings[0].what and "40x40" in findings[1].what


@pytest.mark.parametrize("order", ["train/{kind}", "{kind}/train"])
def test_images_are_paired_by_class_and_name(tmp_path: Path, order: str) -> None:
    names = ["b/2", "a/10", "a/deep/er", "b/1.x"]
    for seed, name in enumerate(names):
        write(tmp_path, name, seed, order)
    rgb = tmp_path / order.format(kind="rgb")
    (rgb / "b" / "2.png").rename(rgb / "b" / "2.PNG")
    for other in ("notes.txt", "README", "._2.png", ".png"):
        (rgb / "b" / other).write_text("no image")
    reader = MultimaeReader(tmp_path)
    assert [reader[index]["id"] for index in range(len(reader))] == ["a/10", "a/deep/er", "b/1.x", "b/2"]
    for index in range(len(reader)):
        sample = reader[index]
        expected = maps(seed=names.index(sample["id"]))
        for key, kind in (("image", "rgb"), ("depth", "depth"), ("semseg", "semseg")):
            assert np.array_equal(sample[key], expected[kind])
            assert sample[key].dtype == expected[kind].dtype
    assert pickle.loads(pickle.dumps(reader))[3]["id"] == "b/2"
    with pytest.raises(IndexError):
        reader[4]


def test_listing_opens_no_image_and_keeps_names_small(tmp_path: Path) -> None:
    for kind in ("rgb", "depth", "semseg"):
        for group in range(20):
            folder = tmp_path / "train" / kind / f"n{group:08d}"
            folder.mkdir(parents=True)
            for number in range(50):
                (folder / f"n{group:08d}_{number:05d}.jpg").touch()
    reader = MultimaeReader(tmp_path)
    assert len(reader) == 1000 and reader.paths(51)["depth"].name == "n00000001_00001.jpg"
    assert len(pickle.dumps(reader)) < 45 * 1000


def test_other_kinds_of_files(tmp_path: Path) -> None:
    write(tmp_path, "a/1", changes={"depth": maps()["depth"].astype(np.uint8)})
    palette = Image.fromarray(maps()["semseg"])
    palette.putpalette(list(range(255, -1, -1)) * 3)
    palette.save(tmp_path / "train/semseg/a/1.png")
    Image.fromarray(maps()["rgb"][:, :, 0]).save(tmp_path / "train/rgb/a/1.png")
    sample = MultimaeReader(tmp_path)[0]
    assert np.array_equal(sample["semseg"], maps()["semseg"])  # indices, not colours
    assert sample["depth"].dtype == np.uint8
    assert np.array_equal(sample["image"], np.repeat(maps()["rgb"][:, :, :1], 3, axis=2))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder") as error:
        MultimaeReader(tmp_path)
    assert "train/rgb" in sentence(error)
    for kind in ("rgb", "depth", "semseg"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    with pytest.raises(DataError, match="holds no images"):
        MultimaeReader(tmp_path)
    for number in range(3):
        write(tmp_path, f"a/{number}")
    (tmp_path / "train/depth/a/1.png").unlink()
    with pytest.raises(DataError, match=r"depth lacks a/1, which") as error:
        MultimaeReader(tmp_path)
    (tmp_path / "train/depth/a/2.png").unlink()
    with pytest.raises(DataError, match=r"depth lacks a/1 and 1 more, which") as error:
        MultimaeReader(tmp_path)
    sentence(error)
    findings = check(tmp_path)
    assert len(findings) == 1 and not findings[0].ok and "a/1" in findings[0].what


@pytest.mark.parametrize("extra", ["b/0", "a/9"])
def test_labels_without_an_image_are_refused_too(tmp_path: Path, extra: str) -> None:
    write(tmp_path, "a/0")
    write(tmp_path, extra)
    (tmp_path / f"train/rgb/{extra}.png").unlink()
    if extra.startswith("b"):
        (tmp_path / "train/rgb/b").rmdir()
    with pytest.raises(DataError, match=f"rgb lacks {extra if extra == 'a/9' else 'b'}, which"):
        MultimaeReader(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a/0")
    (tmp_path / "train/rgb/a/0.jpg").touch()
    with pytest.raises(DataError, match=r"holds both .*keep one"):
        MultimaeReader(tmp_path)


def test_a_file_that_goes_away_later(tmp_path: Path) -> None:
    write(tmp_path, "a/0")
    reader = MultimaeReader(tmp_path)
    (tmp_path / "train/semseg/a/0.png").unlink()
    with pytest.raises(DataError, match=r"there is no readable .*semseg/a/0\.png"):
        reader[0]


@pytest.mark.parametrize("kind", ["rgb", "depth", "semseg"])
@pytest.mark.parametrize("keep", [0, 20, 100])
def test_truncated_files(tmp_path: Path, kind: str, keep: int) -> None:
    write(tmp_path, "a/0")
    path = tmp_path / "train" / kind / "a" / "0.png"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="truncated or damaged") as error:
        MultimaeReader(tmp_path)[0]
    assert str(path) in sentence(error)
    assert [finding.ok for finding in check(tmp_path)] == [True, False]


def test_damaged_bytes(tmp_path: Path) -> None:
    write(tmp_path, "a/0")
    path = tmp_path / "train/depth/a/0.png"
    content = bytearray(path.read_bytes())
    for place in (12, 18, 30, 45, 60):
        broken = bytearray(content)
        broken[place] ^= 0xFF
        path.write_bytes(broken)
        with pytest.raises(DataError) as error:
            MultimaeReader(tmp_path)[0]
        sentence(error)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"depth": maps((12, 17))["depth"]}, "depth/a/0.png has 12x17 pixels, but .*rgb/a/0.png has 12x16"),
        ({"semseg": maps((6, 8))["semseg"]}, "semseg/a/0.png has 6x8 pixels"),
        ({"depth": maps()["rgb"]}, "depth in one channel of 8 or 16 bits"),
        ({"semseg": maps()["depth"]}, "class ids in one channel of 8 bits"),
        ({"semseg": np.full((12, 16), 20, np.uint8)}, "class id 20, but the settings have 20 classes, 0 to 19"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, changes: dict[str, Array], words: str) -> None:
    write(tmp_path, "a/0", changes=changes)
    with pytest.raises(DataError, match=words) as error:
        MultimaeReader(tmp_path, classes=20)[0]
    sentence(error)


def test_the_fingerprint_tells_datasets_apart(tmp_path: Path) -> None:
    write(tmp_path, "a/0")
    write(tmp_path, "a/1", 1)
    first = MultimaeReader(tmp_path).fingerprint()
    assert MultimaeReader(tmp_path).fingerprint() == first
    for kind in ("rgb", "depth", "semseg"):
        path = tmp_path / "train" / kind / "a" / "1.png"
        path.rename(path.with_name("2.png"))
    renamed = MultimaeReader(tmp_path).fingerprint()
    write(tmp_path, "a/0", changes={"depth": np.zeros((12, 16), np.uint16)})
    assert len({first, renamed, MultimaeReader(tmp_path).fingerprint()}) == 3


def ramps(height: int, width: int) -> dict[str, Array]:
    """A sample in which all three say where a pixel lies: its column, and its row in the second colour."""
    row, column = np.mgrid[:height, :width]
    image = np.stack([column, row, column], axis=-1).astype(np.uint8)
    return {"image": image, "depth": (column * 200).astype(np.uint16), "semseg": column.astype(np.uint8)}


PLAIN = JointCrop(side=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.mark.parametrize("mirror", [False, True])
def test_all_three_go_through_the_same_crop(mirror: bool) -> None:
    window = (10, 30, 64, 96)
    cut = PLAIN.cut(ramps(120, 200), window, mirror=mirror)
    assert {name: tuple(value.shape) for name, value in cut.items()} == {
        "view1": (3, 32, 32),
        "depth": (1, 32, 32),
        "semseg": (32, 32),
    }
    columns = 30 + (np.arange(32) + 0.5) * 3 - 0.5
    rows = 10 + (np.arange(32) + 0.5) * 2 - 0.5
    columns = columns[::-1] if mirror else columns
    middle = np.s_[3:-3, 3:-3]  # at the edges the filter has less to see
    image = 255 * cut["view1"].numpy()
    assert np.abs(image[0] - columns)[middle].max() < 1
    assert np.abs(image[1] - rows[:, None])[middle].max() < 1
    assert np.abs(cut["semseg"].numpy() - columns)[middle].max() <= 1 and cut["semseg"].dtype.is_signed
    slope, offset = np.polyfit(columns[3:-3], cut["depth"][0, 16, 3:-3].numpy(), 1)
    assert slope > 0 and np.abs(slope * columns + offset - cut["depth"][0].numpy())[middle].max() < 0.02


def test_ids_are_never_mixed() -> None:
    semseg = np.random.default_rng(0).choice(np.array([3, 90], np.uint8), (50, 70))
    sample = {**ramps(50, 70), "semseg": semseg}
    for seed in range(5):
        cut = JointCrop(side=24)(sample, np.random.default_rng(seed))
        assert set(np.unique(cut["semseg"].numpy())) <= {3, 90}


def test_windows_lie_inside_and_have_the_drawn_area_and_aspect() -> None:
    crop, rng = JointCrop(), np.random.default_rng(0)
    shares, aspects = [], []
    for _ in range(2000):
        top, left, height, width = crop.window((300, 400), rng)
        assert 0 <= top <= top + height <= 300 and 0 <= left <= left + width <= 400
        shares.append(height * width / (300 * 400))
        aspects.append(width / height)
    assert 0.19 < min(shares) < 0.23 and 0.9 < max(shares) <= 1
    assert 0.74 < min(aspects) < 0.78 and 1.29 < max(aspects) < 1.35
    assert JointCrop().window((10, 1000), rng) == (0, 493, 10, 13)  # no window of a fifth fits: the middle
    assert JointCrop(area=(1, 1), aspect=(1, 1)).window((30, 50), rng) == (0, 10, 30, 30)


def test_a_crop_is_a_function_of_its_generator() -> None:
    sample, crop = ramps(60, 80), JointCrop(side=16)
    first, again, other = (crop(sample, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(bool((first[name] == again[name]).all()) for name in first)
    assert any(not bool((first[name] == other[name]).all()) for name in first)


@pytest.mark.slow
def test_half_of_the_crops_are_mirrored() -> None:
    rng = np.random.default_rng(0)
    views = [PLAIN(ramps(60, 80), rng)["view1"][0].numpy() for _ in range(200)]
    assert 75 < sum(view[:, 0].mean() > view[:, -1].mean() for view in views) < 125


def test_standardised_depth() -> None:
    depth = np.random.default_rng(0).integers(1000, 60000, (40, 50))
    standard = standardised(depth)
    order = np.argsort(depth.ravel(), kind="stable")
    middle = standard.ravel()[order[200:1800]]
    assert standard.dtype == np.float32 and abs(middle.mean()) < 1e-5 and abs(middle.std(ddof=1) - 1) < 1e-3
    outliers = depth.copy()
    outliers.ravel()[order[-100:]] = 65535
    outliers.ravel()[order[:100]] = 0
    assert np.allclose(standardised(outliers).ravel()[order[200:1800]], middle)
    assert np.allclose(standardised(depth // 2 + 7000), standard, atol=2e-3)
    assert not standardised(np.full((8, 8), 1234)).any()


def test_a_written_room_survives_the_whole_way(rooms: Path) -> None:
    reader, rng = MultimaeReader(rooms / "multimae", classes=len(CLASSES)), np.random.default_rng(0)
    for index in range(len(reader)):
        sample = JointCrop(side=32)(reader[index], rng)
        assert bool(sample["view1"].isfinite().all()) and float(sample["view1"].abs().max()) < 3
        assert float(sample["depth"].abs().max()) < 20 and int(sample["semseg"].max()) < len(CLASSES)


def test_links_in_circles_end(tmp_path: Path) -> None:
    write(tmp_path, "a/0")
    for kind in ("rgb", "depth", "semseg"):
        folder = tmp_path / "train" / kind / "a"
        for name in ("one", "two"):
            (folder / name).symlink_to(".")
        (folder / "up").symlink_to("..")
    assert len(MultimaeReader(tmp_path)) == 1
    aside = tmp_path / "aside"
    for kind in ("rgb", "depth", "semseg"):
        (aside / kind).mkdir(parents=True)
        (aside / kind / "1.png").write_bytes((tmp_path / "train" / kind / "a/0.png").read_bytes())
        (tmp_path / "train" / kind / "a" / "more").symlink_to(aside / kind)
    assert len(MultimaeReader(tmp_path)) == 2
