"""Independent parts of a dataset are all checked; truth with another convention is named, before anything is trained."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import typer.testing

from croco_bench.cli.main import app
from croco_bench.data.catalogue import dataset_info
from croco_bench.data.checks.image_pairs import Part, better_reading, look_at
from croco_bench.data.checks.run_check import Finding, run_check
from croco_bench.data.checks.values import require_usual
from croco_bench.data.datasets.matching import crestereo, kitti, sintel
from croco_bench.data.formats.disparity import read_pfm_disparity, write_kitti_disparity
from croco_bench.data.formats.flow import read_flo, write_flo, write_pfm
from croco_bench.data.formats.images import write_image
from croco_bench.data.mixtures.flow import open_mixture
from croco_bench.errors import DataError
from croco_bench.types import Array, Sample

TEXTURE = np.random.default_rng(0).integers(0, 256, (24, 80, 3), dtype=np.uint8)


def check(name: str, data_root: Path) -> tuple[int, str]:
    done = typer.testing.CliRunner().invoke(app, ["data", "check", name, "--data-root", str(data_root)])
    return done.exit_code, done.output


def test_kitti_for_stereo_alone_is_no_fault(tmp_path: Path) -> None:
    base = tmp_path / "kitti2015/training"
    for folder in ("image_2", "image_3", "disp_occ_0"):
        (base / folder).mkdir(parents=True)
    for number in range(3):
        name = f"{number:06d}_10.png"
        write_image(base / "image_2" / name, TEXTURE)
        write_image(base / "image_3" / name, np.roll(TEXTURE, -5, axis=1))
        write_kitti_disparity(base / "disp_occ_0" / name, np.full(TEXTURE.shape[:2], 5.0, np.float32))
    code, said = check("kitti2015", tmp_path)
    assert code == 0, said
    assert "but train, stereo: 3 pairs" in said and "ok  train, stereo: 100% known, 5.0 pixels" in said
    assert "image_2 holds no *_11.png" in said.partition("–")[2]
    assert len(kitti.open_stereo(tmp_path / "kitti2015", "train", year=2015)) == 3
    (base / "image_3/000001_10.png").unlink()
    code, said = check("kitti2015", tmp_path)
    assert code == 1 and "BAD there is no" in said and "image_3/000001_10.png" in said


def test_sintel_without_its_test_part_can_be_run(tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_data / "sintel", tmp_path / "sintel", ignore=shutil.ignore_patterns("test"))
    code, said = check("sintel", tmp_path)
    assert code == 0 and "–   " in said
    next((tmp_path / "sintel/training/clean").glob("*/frame_0002.png")).unlink()
    code, said = check("sintel", tmp_path)
    assert code == 1 and "ok  train, final" in said


def sample(motion: Array) -> Sample:
    """The second image shows the first's texture 4 pixels further left and 2 lower."""
    second = np.roll(TEXTURE, (2, -4), axis=(0, 1))
    valid = np.ones(TEXTURE.shape[:2], dtype=np.bool_)
    flow = np.broadcast_to(motion.astype(np.float32), (*valid.shape, 2))
    return {"image1": TEXTURE, "image2": second, "flow_px": flow, "valid": valid, "id": "a"}


@pytest.mark.parametrize(
    ("motion", "words"),
    [
        ((-4, 2), None),
        ((4, -2), "the other sign"),
        ((2, -4), "u and v exchanged"),
        ((-4, -2), "v upwards"),
        ((30, 1), None),
    ],
)
def test_flow_in_another_convention_is_named(motion: tuple[int, int], words: str | None) -> None:
    said = better_reading([sample(np.array(motion))])
    assert said is None if words is None else said is not None and words in said


def test_pairs_without_a_mask_are_left_out_of_its_share() -> None:
    with_mask = {**sample(np.array((-4, 2))), "occluded": np.ones(TEXTURE.shape[:2], dtype=np.bool_)}
    samples = {0: with_mask, 1: sample(np.array((-4, 2)))}

    class Pairs:
        dataset, groups, miniature = "x", ["a", "b"], True

        def __len__(self) -> int:
            return len(samples)

        def __getitem__(self, index: int) -> Sample:
            return samples[index]

    for number in (0, 1):
        samples[number]["id"] = str(number)
    for _ in range(2):
        found = list(look_at(Part("some", Pairs, None), "x"))  # type: ignore[arg-type]
        assert [one.ok for one in found if "100.0% occluded" in one.what] == [False]
        samples[0], samples[1] = samples[1], samples[0]


def test_training_on_exchanged_flow_stops_before_it_begins(tiny_data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_data, tmp_path / "data", ignore=shutil.ignore_patterns("[0-9]*", "[a-eg-z]*")))
    scenes = sintel.scenes_of(tiny_data / "sintel", "train")
    shutil.copytree(tiny_data / "sintel", root / "sintel")
    require_usual([open_mixture(root, {"sintel": 1.0}, sintel_scenes=scenes, seed=0)[0]])
    for path in (root / "sintel/training/flow").rglob("*.flo"):
        write_flo(path, -read_flo(path)[0])
    with pytest.raises(DataError, match=r"sintel: the truth of the pairs .* fits the images with the other sign"):
        require_usual([open_mixture(root, {"sintel": 1.0}, sintel_scenes=scenes, seed=0)[0]])


def test_disparities_of_the_other_sign_are_named(tmp_path: Path) -> None:
    write_pfm(tmp_path / "d.pfm", np.full((4, 6), -3, np.float32))
    with pytest.raises(
        DataError, match=r"all disparities of .*d\.pfm are negative: .* other sign .*; take the absolute"
    ):
        read_pfm_disparity(tmp_path / "d.pfm")
    for others in ((-3, 0), (-3, 2), (np.inf, np.inf), (-3, np.inf)):
        write_pfm(tmp_path / "d.pfm", np.array([others, others], np.float32))
        if others == (-3, np.inf):
            with pytest.raises(DataError, match="negative"):
                read_pfm_disparity(tmp_path / "d.pfm")
        else:
            assert read_pfm_disparity(tmp_path / "d.pfm")[1].any() == (others == (-3, 2))


def test_truth_that_is_known_nowhere_is_named(tiny_data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_data / "crestereo", tmp_path / "crestereo"))
    require_usual([crestereo.open_split(root)])
    for path in root.rglob("*.disp.png"):
        write_image(path, np.zeros(crestereo.open_split(root)[0]["image1"].shape[:2], np.uint16))
    with pytest.raises(DataError, match=r"crestereo: none of the pairs .* has a known value"):
        require_usual([crestereo.open_split(root)])
    wrong = [finding for finding in dataset_info("crestereo").check(root) if not finding.ok]
    assert [finding.advice.rpartition(": ")[2] for finding in wrong] == ["no pixel of these pairs has a known value"]


def test_a_link_to_nothing_is_a_finding(tiny_data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_data / "imagenet", tmp_path / "imagenet"))
    image = min((root / "train").glob("*/*"))
    image.unlink()
    image.symlink_to("nowhere")
    code, said = check("imagenet", tmp_path)
    assert code == 1 and f"BAD there is no readable {image} (No such file or directory)" in " ".join(said.split())

    def look(root: Path) -> list[Finding]:
        image.stat()
        return []

    (found,) = [one for one in run_check(root, look) if not one.ok]
    assert found.what == f"{image} can't be read (No such file or directory)"
