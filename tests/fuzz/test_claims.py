"""Small files that claim to be large: each ends in a sentence, within the limits of the fuzzer's child process."""

import io
import json
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import torch

from croco_bench import load_backbone, registry
from croco_bench.config.load import options_of
from croco_bench.data.datasets.imagenet import open_split
from croco_bench.data.datasets.multimae import MultimaeReader
from croco_bench.data.datasets.scannet1500 import open_scannet1500
from croco_bench.data.formats import disparity, flow, images
from croco_bench.files import parse_toml
from tests.fuzz.archives import _tars
from tests.fuzz.checkpoints import _network, _pretrained, _with_header, state_of_vit
from tests.fuzz.child import outcome_of
from tests.fuzz.target import described

PART = 2**24
LARGE = 5 * 2**28  # bytes, above what a child may take


def zeros(size: int) -> Iterator[bytes]:
    """Zeros in parts."""
    for start in range(0, size, PART):
        yield bytes(min(PART, size - start))


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(side: int, *, whole: bool) -> bytes:
    """A black square with one channel; without its pixels unless `whole`."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    packer = zlib.compressobj(1)
    pixels = b"".join([*map(packer.compress, zeros(side * (side + 1) if whole else 0)), packer.flush()])
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    """An image of 16 x 16 pixels with a header of 65,500 x 65,500."""
    content = cv2.imencode(".jpg", np.zeros((16, 16), np.uint8))[1].tobytes()
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", 65500, 65500) + content[at + 4 :]


IMAGES: dict[str, Callable[[], bytes]] = {
    "x.png": partial(png, 20_000, whole=True),
    "header.png": partial(png, 40_000, whole=False),
    "header.jpg": jpeg,
    "header.hdr": lambda: b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 40000 +X 40000\n",
}
READERS: dict[str, Callable[[Path], object]] = {
    "rgb": images.read_rgb,
    "any": images.read_any,
    "pillow": images.read_pillow,
    "gray": partial(images.read_gray, kind=np.uint8),
    "flow of KITTI": flow.read_kitti_flow,
    "disparity of KITTI": disparity.read_kitti_disparity,
    "disparity of CREStereo": disparity.read_crestereo_disparity,
}


def ended(read: Callable[[Any], object], file: object) -> str:
    """How reading ends, with the error or place."""
    found = outcome_of(lambda: described(read(file)))
    return f"{found.kind}: {found.text}"


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(IMAGES[name]())
    assert path.stat().st_size < 2e6
    ends = {reader: ended(read, path) for reader, read in READERS.items()}
    assert all(text.startswith("sentence") for text in ends.values()), ends


@pytest.mark.processes
@pytest.mark.parametrize(
    ("key", "shape", "read"),
    [("flow", (10**4, 10**4, 2), flow.read_flo5), ("disparity", (10**4, 3 * 10**4), disparity.read_dsp5)],
)
def test_arrays_of_empty_chunks(
    key: str, shape: tuple[int, ...], read: Callable[[Path], object], tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "x", "w") as file:
        file.create_dataset(key, shape=shape, dtype="float32", chunks=True, compression="gzip")
    assert ended(read, tmp_path / "x").startswith("sentence")


def save_deflated(path: Path) -> None:
    """A checkpoint with one tensor of zeros, compressed."""
    stream = io.BytesIO()
    torch.save({"model": {**state_of_vit(), "big": torch.zeros(4)}}, stream)
    with zipfile.ZipFile(stream) as before, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as after:
        for name in before.namelist():
            content = before.read(name)
            if content == bytes(16):
                with after.open(name, "w", force_zip64=True) as member:
                    for part in zeros(LARGE):
                        member.write(part)
            else:
                after.writestr(name, content)


def save_expanded(path: Path) -> None:
    """A checkpoint with one number that is said to be 10^11."""
    torch.save({"model": {**state_of_vit(), "blocks.0.norm1.weight": torch.zeros(1).expand(10**6, 10**5)}}, path)


def save_deep(part: str, path: Path) -> None:
    """A checkpoint of ours that says it has a million layers."""
    _pretrained(path.parent)
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    facts = header["__metadata__"]
    key = next(name for name, text in facts.items() if '"depth"' in text)
    plan = json.loads(facts[key])
    (plan if part == "encoder" else plan["decoder"])["depth"] = 10**6
    facts[key] = json.dumps(plan)
    path.write_bytes(_with_header(content[8 + size :], json.dumps(header).encode()))


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("x.pth", save_deflated),
        ("x.pth", save_expanded),
        ("x.safetensors", partial(save_deep, "encoder")),
        ("x.safetensors", partial(save_deep, "decoder")),
    ],
)
def test_checkpoints(name: str, save: Callable[[Path], None], tmp_path: Path) -> None:
    save(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 2e7
    _network()  # imports in this process what reading needs
    assert ended(partial(load_backbone, image_size=32), tmp_path / name).startswith("sentence")


@pytest.mark.slow
@pytest.mark.processes
def test_a_devkit(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "cache"))
    _tars(tiny_data / "imagenet", tmp_path)
    with (
        (tmp_path / "zeros").open("wb") as stream,
        tarfile.open(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", "w:gz", compresslevel=1) as kit,
    ):
        os.truncate(stream.fileno(), LARGE)
        kit.add(tmp_path / "zeros", "ILSVRC2012_devkit_t12/data/meta.mat")
        kit.add(Path(__file__), "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt")
    assert "CROCO_BENCH_MAX_TEXT_MB" in ended(partial(open_split, split="val"), tmp_path)


@pytest.mark.slow
@pytest.mark.processes
def test_lists(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "test.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("name.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(
            member,
            {"descr": "<u2", "fortran_order": False, "shape": (LARGE // 8, 4)},
        )
        for part in zeros(LARGE):
            member.write(part)
    (tmp_path / "scannet_test_1500").mkdir()
    assert "CROCO_BENCH_MAX_TEXT_MB" in ended(open_scannet1500, tmp_path)


@pytest.mark.processes
def test_links_in_a_circle_are_not_followed(tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_data / "multimae", tmp_path, dirs_exist_ok=True)
    folder = next(path for path in sorted(tmp_path.rglob("*")) if path.is_dir() and any(path.glob("*.png")))
    for name in ("a", "b"):
        (folder / name).symlink_to(".")
    assert ended(lambda root: len(MultimaeReader(root)), tmp_path).startswith(("sentence", "other"))


@pytest.mark.processes
def test_texts_and_settings() -> None:
    found = outcome_of(lambda: described(parse_toml(".".join(["a"] * 20_000) + "=1")))
    assert found.kind == "traceback" and "ValueError: it has a key of too many parts" in found.text
    task_type = registry.tasks()["sintel-flow"].load()
    found = outcome_of(lambda: str(options_of(task_type.Options, {"overlap": 0.999999}, "task")))
    assert found.kind == "sentence", found
