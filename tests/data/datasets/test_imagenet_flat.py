"""ImageNet's validation images in one folder, with Kaggle's table or the development kit."""

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.imagenet import open_split
from croco_bench.errors import DataError


@pytest.fixture
def sorted_root(tiny_data: Path, tmp_path: Path) -> Path:
    """Class folders whose validation images have the official names."""
    root = Path(shutil.copytree(tiny_data / "imagenet", tmp_path / "sorted"))
    for number, path in enumerate(sorted((root / "val").glob("*/*"), key=lambda path: path.name[::-1]), start=1):
        path.rename(path.with_name(f"ILSVRC2012_val_{number:08d}.JPEG"))
    return root


@pytest.fixture
def flat(sorted_root: Path, tmp_path: Path) -> Path:
    """The same with all validation images in one folder."""
    root = tmp_path / "flat"
    shutil.copytree(sorted_root / "train", root / "train")
    (root / "val").mkdir()
    for path in (sorted_root / "val").glob("*/*"):
        shutil.copy2(path, root / "val")
    (root / "val/.DS_Store").write_bytes(b"")
    return root


def write_table(root: Path, sorted_root: Path) -> None:
    lines = [
        f"{path.stem},{path.parent.name} 1 2 3 4 {path.parent.name} 5 6 7 8 "
        for path in (sorted_root / "val").glob("*/*")
    ]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *lines]))


def require_equal(ours: Path, theirs: Path) -> None:
    one, two = open_split(ours, "val"), open_split(theirs, "val")
    assert len(one) == len(two) == 12 and one.fingerprint() == two.fingerprint()
    for index in range(12):
        assert one[index]["label"] == two[index]["label"] and one[index]["id"] == two[index]["id"]
        assert np.array_equal(one[index]["image"], two[index]["image"])


def test_kaggles_table_says_the_classes(sorted_root: Path, flat: Path, tmp_path: Path) -> None:
    write_table(flat, sorted_root)
    require_equal(flat, sorted_root)
    nested = tmp_path / "nested"
    shutil.copytree(flat, nested / "ILSVRC/Data/CLS-LOC", ignore=shutil.ignore_patterns("*.csv"))
    shutil.copy(flat / "LOC_val_solution.csv", nested)
    require_equal(nested, sorted_root)
    assert len(open_split(nested, "train")) == 24
    assert all(finding.ok for finding in dataset_info("imagenet").check(nested))


def test_the_development_kit_says_the_classes(sorted_root: Path, flat: Path) -> None:
    classes = open_split(sorted_root, "train").classes
    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "O")]
    synsets, meta = np.array([(3 - k, name) for k, name in enumerate(classes)], dtype=kinds), io.BytesIO()
    scipy.io.savemat(meta, {"synsets": synsets})  # type: ignore[arg-type]  # files are fine
    order = sorted((sorted_root / "val").glob("*/*"), key=lambda path: path.name)
    truth = "\n".join(str(3 - classes.index(path.parent.name)) for path in order).encode()
    with tarfile.open(flat / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as kit:
        for name, content in (("meta.mat", meta.getvalue()), ("ILSVRC2012_validation_ground_truth.txt", truth)):
            facts = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
            facts.size = len(content)
            kit.addfile(facts, io.BytesIO(content))
    require_equal(flat, sorted_root)
    order[0].unlink()
    (flat / "val" / order[0].name).unlink()
    with pytest.raises(DataError, match="has 12 labels, but there are 11 images"):
        open_split(flat, "val")


def test_without_a_list_the_sentence_names_two(flat: Path) -> None:
    with pytest.raises(
        DataError, match=r"12 images and no class folders, .* put LOC_val_solution\.csv .* or ILSVRC2012_devkit"
    ):
        open_split(flat, "val")


def test_a_table_of_other_images_is_named(sorted_root: Path, flat: Path) -> None:
    write_table(flat, sorted_root)
    text = (flat / "LOC_val_solution.csv").read_text()
    (flat / "LOC_val_solution.csv").write_text(text.replace("val_00000003", "val_00000099"))
    with pytest.raises(DataError, match=r"has no class of .*val_00000003\.JPEG"):
        open_split(flat, "val")
    name = open_split(flat, "train").classes[0]
    (flat / "LOC_val_solution.csv").write_text(text.replace(name, "n99999999"))
    with pytest.raises(DataError, match="the class n99999999, but train/ has no folder of that name"):
        open_split(flat, "val")
