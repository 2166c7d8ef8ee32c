"""Targets: archives of datasets, and what is kept about them."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.io
from hypothesis import strategies as st

from croco_bench.data.catalogue import DatasetInfo
from croco_bench.data.datasets.imagenet import open_split
from croco_bench.data.datasets.scannet1500 import open_scannet1500
from croco_bench.workflows import get_data
from tests.fuzz.damage import damaged_bytes, damaged_json, damaged_text
from tests.fuzz.target import Edit, Input, Target, of_file, of_folder

_FAMILY = "archives"
_TAR_FIELDS = [(100, 8), (108, 8), (124, 12), (136, 12), (148, 8), (156, 1), (157, 100), (257, 8), (345, 155)]
_TAR_VALUES = [b"0" * 11 + b"\0", b"7" * 12, b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-1", b""]
_TAR_VALUES += [b"S", b"x", b"g", b"L", b"K", b"2", b"5", b"9"]  # kinds of members


def archives(data: Path) -> list[Target]:
    """ImageNet's archives of the miniature in `data`, ScanNet-1500, downloads."""
    return [
        of_folder("ImageNet's archives", _FAMILY, partial(_tars, data / "imagenet"), _imagenet, _damaged_tar),
        Target("list of an archive", _FAMILY, partial(_tars, data / "imagenet"), _kept_lists, _imagenet),
        of_folder("ScanNet-1500", _FAMILY, _scannet, _poses, _damaged_scannet),
        *downloads(),
    ]


def downloads() -> list[Target]:
    """Archives that `data get` has downloaded."""
    return [
        _download("x.zip", _zip(), knowable=lambda before, after: True),
        _download("x.tar", _tar("w"), damaged=_tar_damage),
        _download("x.tar.gz", _tar("w:gz"), knowable=lambda before, after: True),
    ]


def _tars(source: Path, folder: Path) -> None:
    _put_tar(folder / "ILSVRC2012_img_train.tar", _class_tars(source / "train"))
    images = sorted((source / "val").glob("*/*"))
    _put_tar(folder / "ILSVRC2012_img_val.tar", {path.name: path.read_bytes() for path in images})
    classes = sorted(path.name for path in (source / "train").iterdir())
    synsets = np.array([(k, name) for k, name in enumerate(classes, 1)], dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
    stream: Any = io.BytesIO()  # scipy's stubs don't list file objects
    scipy.io.savemat(stream, {"synsets": synsets}, do_compression=False)
    by_name = sorted((path.name, path.parent.name) for path in images)
    truth = "".join(f"{classes.index(name) + 1}\n" for _, name in by_name).encode()
    inside = "ILSVRC2012_devkit_t12/data"
    content = {f"{inside}/meta.mat": stream.getvalue(), f"{inside}/ILSVRC2012_validation_ground_truth.txt": truth}
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as kit:
        _fill(kit, content)
    _imagenet(folder)  # so that the lists are kept


def _class_tars(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.iterdir()):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            _fill(archive, {image.name: image.read_bytes() for image in sorted(path.iterdir())})
        found[f"{path.name}.tar"] = stream.getvalue()
    return found


def _put_tar(path: Path, content: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        _fill(archive, content)


def _fill(archive: tarfile.TarFile, content: dict[str, bytes]) -> None:
    for name, inner in content.items():
        facts = tarfile.TarInfo(name)
        facts.size = len(inner)
        archive.addfile(facts, io.BytesIO(inner))


def _imagenet(folder: Path) -> object:
    os.environ["CROCO_BENCH_CACHE"] = str(folder / "cache")
    return [
        [reader[index] for index in range(len(reader))] for reader in (open_split(folder, s) for s in ("train", "val"))
    ]


def _damaged_tar(path: Path, content: bytes) -> st.SearchStrategy[bytes]:
    if path.suffix == ".json":
        return damaged_json(json.loads(content))
    return _tar_damage(content) if path.suffix == ".tar" else damaged_bytes(content)


def _tar_damage(content: bytes) -> st.SearchStrategy[bytes]:
    """Damage of bytes, and odd values in fields of a header."""
    headers = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    field = st.tuples(st.sampled_from(headers), st.sampled_from(_TAR_FIELDS), st.sampled_from(_TAR_VALUES))
    return st.one_of(damaged_bytes(content), field.map(lambda change: _with_field(content, *change)))


def _with_field(content: bytes, at: int, field: tuple[int, int], value: bytes) -> bytes:
    """The archive with another value in one field of the header at `at`, and its checksum made right."""
    header = bytearray(content[at : at + 512])
    start, size = field
    header[start : start + size] = value[:size].ljust(size, b"\0")
    if start != 148:
        header[148:156] = b" " * 8
        header[148:156] = f"{sum(header):06o}\0 ".encode()
    return content[:at] + bytes(header) + content[at + 512 :]


def _kept_lists(folder: Path) -> st.SearchStrategy[Input]:
    paths = sorted((folder / "cache" / "archives").glob("*.json"))
    return st.sampled_from(paths).flatmap(
        lambda path: damaged_json(json.loads(path.read_text())).map(
            lambda content: Input((Edit(str(path.relative_to(folder)), "write", content),))
        )
    )


def _scannet(folder: Path) -> None:
    scene = folder / "scannet_test_1500" / "scene0707_00"
    for part in ("color", "pose", "intrinsic"):
        (scene / part).mkdir(parents=True)
    for frame in (15, 585):
        np.savetxt(scene / f"pose/{frame}.txt", np.eye(4), fmt="%f")
    np.savetxt(scene / "intrinsic/intrinsic_depth.txt", np.diag([577.0, 577.0, 1.0, 1.0]), fmt="%f")
    np.savez(folder / "test.npz", name=np.array([[707, 0, 15, 585]] * 3, dtype=np.uint16))


def _poses(folder: Path) -> object:
    reader = open_scannet1500(folder)
    return [reader.views.names, reader.views.K, reader.views.cam2world, list(reader.groups)]


def _damaged_scannet(path: Path, content: bytes) -> st.SearchStrategy[bytes]:
    return damaged_text(content.decode()) if path.suffix == ".txt" else damaged_bytes(content)


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/a.txt", "a" * 300)
    return stream.getvalue()


def _tar(mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        _fill(archive, {"data/a.txt": b"a" * 600, "data/b.txt": b"b" * 60})
    return stream.getvalue()


def _download(name: str, content: bytes, **options: Any) -> Target:
    """The target of an archive that lies where `data get` downloads to."""
    return of_file(f"download of {name}", _FAMILY, content, _got, file=f".downloads/{name}", **options)


def _got(path: Path) -> object:
    """All files that `data get` unpacks from a downloaded archive into a folder, where no server answers."""
    root = path.parents[1].with_name("unpacked")
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(path.parents[1], root, symlinks=True)
    dataset = DatasetInfo("x", "x", "", "", "", "", "", downloads=f"https://localhost:9/{path.name}")
    with mock.patch.object(get_data, "_size", return_value=0):
        get_data.get_dataset(dataset, root, keep=True)
    found = (one for one in sorted(root.rglob("*")) if one.is_file() and ".downloads" not in one.parts)
    return {str(one.relative_to(root)): one.read_bytes() for one in found}
