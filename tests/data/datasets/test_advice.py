"""Advice of readers: it can be followed, and what the system refuses is never called damaged."""

import errno
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets import imagenet, taskonomy
from croco_bench.data.datasets.imagenet_c import open_corrupted
from croco_bench.data.datasets.imagenet_files import webdataset
from croco_bench.data.datasets.imagenet_files.archives import TARS
from croco_bench.data.formats.arrays import read_npy
from croco_bench.data.formats.images import write_image
from croco_bench.errors import DataError


def refuse(*_: object, **__: object) -> Any:
    raise PermissionError(errno.EACCES, "Permission denied", "some file")


def forbid(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """The system lets nobody open files of this ending."""
    own = Path.open

    def opened(path: Path, *given: Any, **named: Any) -> Any:
        return refuse() if path.suffix == ending else own(path, *given, **named)

    monkeypatch.setattr(Path, "open", opened)


def test_archives_of_taskonomy_unpacked_as_is_advised_are_read(tiny_data: Path, tmp_path: Path) -> None:
    """An archive <building>_<domain>.tar of the release has a folder <domain>."""
    source, root = tiny_data / "taskonomy", tmp_path / "taskonomy"
    root.mkdir()
    for path in source.glob("tiny_*.csv"):
        shutil.copy(path, root)
    for domain in ("rgb", "depth_zbuffer"):
        for building in (source / domain).iterdir():
            with tarfile.open(root / f"{building.name}_{domain}.tar", "w") as archive:
                archive.add(building, domain)
    with pytest.raises(DataError, match="holds archives such as ") as caught:
        taskonomy.open_split(root, "test", domain="depth")
    assert (
        caught.value.advice == f"unpack each <building>_<domain>.tar into {root}/<building>/: it has a folder <domain>"
    )
    for path in root.glob("*.tar"):
        with tarfile.open(path) as archive:
            archive.extractall(root / path.stem.partition("_")[0], filter="data")
    assert len(taskonomy.open_split(root, "test", domain="depth")) == 6


def test_a_file_of_taskonomy_that_may_not_be_read_is_not_damaged(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(tiny_data / "taskonomy", tmp_path / "taskonomy"))
    forbid(monkeypatch, ".png")
    with pytest.raises(DataError, match=r"no readable .*Permission denied.*; this user may not read it"):
        taskonomy.open_split(root, "test", domain="depth")


def test_archives_that_may_not_be_read_are_not_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / TARS["train"]).write_bytes(bytes(1024))
    forbid(monkeypatch, ".tar")
    with pytest.raises(DataError, match=r"no readable .*ILSVRC2012_img_train\.tar .*; this user may not read it"):
        imagenet.open_split(tmp_path, "train")
    monkeypatch.setattr(tarfile, "open", refuse)
    with pytest.raises(DataError, match="this user may not read it"):
        list(webdataset.look_at_tar(tmp_path / TARS["train"]))


def test_a_truncated_shard_is_to_be_copied_from_where_it_came(tmp_path: Path) -> None:
    """Nobody knows the page of a shard: ImageNet's own has none."""
    for split in ("train", "validation"):
        (tmp_path / f"{split}-0.tar").write_bytes(b"\0" * 10)
    with pytest.raises(DataError, match=r"truncated or isn't a tar archive .*; copy it anew from where it came"):
        imagenet.open_split(tmp_path, "train")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (NotImplementedError("codec 'lzo'"), "needs what this pyarrow can't .codec 'lzo'.; install a newer pyarrow"),
        (PermissionError(errno.EACCES, "Permission denied"), "this user may not read it"),
        (TypeError("no image"), "is truncated, or no file of its ending"),
    ],
)
def test_errors_of_pyarrow_say_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    for split in ("train", "validation"):
        (tmp_path / f"{split}.parquet").write_bytes(b"PAR1")

    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(DataError, match=sentence):
        imagenet.open_split(tmp_path, "train")


def test_an_image_of_another_format_is_not_to_be_downloaded_again(tiny_data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_data / "imagenet", tmp_path / "imagenet"))
    reader = imagenet.open_split(root, "val")
    path = reader.items[0].file
    content = path.read_bytes()
    path.write_bytes(b"8BPS" + content)
    with pytest.raises(
        DataError, match=r"its format, or its kind of pixels, isn't read.; write it as JPEG, or leave it out"
    ):
        reader[0]
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="it is truncated or damaged: copy it anew from where it came"):
        reader[0]


def test_classes_that_imagenet_c_has_beyond_those_to_train_on(tmp_path: Path) -> None:
    for severity in range(1, 6):
        for name in ("n01", "n02"):
            folder = tmp_path / f"fog/{severity}/{name}"
            folder.mkdir(parents=True)
            write_image(folder / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"too many: n02; .*of the same classes: move the others away"):
        open_corrupted(tmp_path, ["n01"])
    with pytest.raises(DataError, match="lacks the class folder: n03; unpack the rest of https://zenodo"):
        open_corrupted(tmp_path, ["n01", "n02", "n03"])


def test_numpy_files_of_other_objects_are_not_only_truncated(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(
        DataError, match=r"truncated or no \.npy file of numbers .*objects.*; copy it anew, or write it"
    ):
        read_npy(tmp_path / "a.npy", "f")


def test_pairs_of_habitat_are_rendered_by_each_user(tiny_data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(tiny_data / "habitat_release", tmp_path / "habitat_release"))
    first = (root / "pairs.txt").read_text().split()[0]
    (root / first).write_bytes(b"")
    (bad,) = [finding for finding in dataset_info("habitat_release").check(root) if not finding.ok and finding.stops]
    assert bad.advice == "render the pair again, or leave it out of pairs.txt"
