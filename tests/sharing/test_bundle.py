"""Bundles: equal bytes, made again from their rows, and refused where something isn't as it should be."""

import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from croco_bench import run
from croco_bench.cli.main import app
from croco_bench.errors import RecordError, UsageError
from croco_bench.records.selection import Selection
from croco_bench.sharing.archive import MANIFEST, unpack
from croco_bench.sharing.bundle import bundle
from croco_bench.sharing.check import check
from croco_bench.sharing.leaderboard import leaderboard

SEED0 = "results/paper/nyuv2-depth/croco-v1/seed0"


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def forged(path: Path, change: Callable[[dict[str, bytes]], None], *, kind: int = zipfile.ZIP_STORED) -> Path:
    """A bundle with changed files, and a list that fits them."""
    files = contents(path)
    manifest = json.loads(files.pop(MANIFEST))
    change(files)
    manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in {MANIFEST: json.dumps(manifest).encode(), **files}.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def made(results: Path, tmp_path: Path) -> Path:
    bundle(results, tmp_path / "ours.zip")
    return tmp_path / "ours.zip"


def test_equal_results_give_equal_bytes_and_hold_what_belongs_to_them(
    results: Path, tmp_path: Path, made: Path
) -> None:
    for path in results.rglob("*"):
        os.utime(path, (1, 1))
    assert bundle(results, tmp_path / "again.zip") == 2
    assert (tmp_path / "again.zip").read_bytes() == made.read_bytes()
    home = "results/paper/nyuv2-depth/croco-v1"
    files = {f"{home}/{name}" for name in ("seed0.json", "seed0.npz", "seed1.json", "seed1.npz", "seed1/sheet.png")}
    assert contents(made).keys() == {MANIFEST, "recipes/nyuv2-depth/paper.toml", *files}
    bundle(results, tmp_path / "weights.zip", weights=True)
    assert contents(tmp_path / "weights.zip").keys() - contents(made).keys() == {f"{home}/seed1/weights.safetensors"}


def test_every_metric_is_made_again_from_rows(made: Path) -> None:
    checked = check(made)
    assert (checked.results, checked.again, checked.faults, checked.unscored) == (2, 4, [], set())


def test_a_number_that_its_rows_do_not_give_is_named(made: Path) -> None:
    def better(files: dict[str, bytes]) -> None:
        result = json.loads(files[f"{SEED0}.json"])
        result["metrics"]["delta1"]["value"] += 1.0
        files[f"{SEED0}.json"] = json.dumps(result).encode()

    (fault,) = check(forged(made, better)).faults
    assert fault == "paper/nyuv2-depth/croco-v1/seed0: delta1 is 81, but 80 from its rows"
    outcome = CliRunner().invoke(app, ["bundle", "check", str(made)])
    assert outcome.exit_code == 1 and fault in outcome.stdout and "don't agree" in str(outcome.exception)


def test_a_result_in_another_ones_place_is_named(made: Path) -> None:
    def move(files: dict[str, bytes]) -> None:
        for end in (".json", ".npz"):
            files[SEED0.replace("croco-v1", "better") + end] = files.pop(SEED0 + end)

    (fault,) = check(forged(made, move)).faults
    assert "paper/nyuv2-depth/better/seed0 holds a result of paper/nyuv2-depth/croco-v1/0" in fault


@pytest.mark.parametrize(
    "name",
    ["../outside", "/tmp/outside", "results/../../x/y/seed0.json", "results/a/b/c/seed0/run.py", "results/a/b/..", "x"],
)
def test_nothing_is_written_outside(name: str, made: Path, tmp_path: Path) -> None:
    forged(made, lambda files: files.update({name: b"evil"}))
    with pytest.raises(RecordError, match="which a bundle can't have"):
        unpack(made, tmp_path / "in" / "folder")
    assert not (tmp_path / "in").exists()


def test_changed_missing_unlisted_and_compressed_files_are_refused(made: Path, tmp_path: Path) -> None:
    whole = made.read_bytes()

    def refused(message: str) -> None:
        with pytest.raises(RecordError, match=message):
            unpack(made, tmp_path / "folder")
        made.write_bytes(whole)

    made.write_bytes(whole.replace(b'"delta1"', b'"delta9"'))
    refused("checksum|CRC|isn't the file")
    made.write_bytes(whole[: len(whole) // 2])
    refused("can't be read as a bundle")
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("results/a/b/c/seed0.json", "{}")
    refused("which it doesn't list")
    forged(made, lambda files: None, kind=zipfile.ZIP_DEFLATED)
    refused("compressed")
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.txt", "")
    refused("it has no bundle.json")
    for text, message in (
        ("[]", "no list of files"),
        ("{", "can't be read as a bundle"),
        ('{"format": 1, "files": {"a": 1}}', "no list of files"),
        ('{"format": 2, "files": {}}', "has format 2, not 1"),
    ):
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr(MANIFEST, text)
        refused(message)
    made.unlink()
    with pytest.raises(RecordError, match="there is no file"):
        unpack(made, tmp_path / "folder")


def test_files_that_share_bytes_are_refused(made: Path, tmp_path: Path) -> None:
    """A member's content may hold the next ones: listed one by one, they take far more space than the bundle."""
    content, name = os.urandom(2**16), b"results/a/b/c/seed%d.npz"
    inner = {name % 2: content, name % 1: _member(name % 2, content)}
    digests = {key.decode(): hashlib.sha256(value).hexdigest() for key, value in inner.items()}
    manifest = json.dumps({"format": 1, "files": digests}).encode()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(MANIFEST, manifest)
        archive.writestr((name % 1).decode(), inner[name % 1])
        second = zipfile.ZipInfo((name % 2).decode())
        first = archive.getinfo((name % 1).decode())
        second.file_size = second.compress_size = len(content)
        second.CRC, second.header_offset = zlib.crc32(content), first.header_offset + 30 + len(name % 1)
        archive.filelist.append(second)
    with pytest.raises(RecordError, match="share bytes"):
        unpack(made, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def _member(name: bytes, content: bytes) -> bytes:
    """The local header of a stored member, and its content."""
    fields = struct.pack(
        "<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, zlib.crc32(content), *[len(content)] * 2, len(name), 0
    )
    return fields + name + content


def test_only_what_is_chosen_is_bundled_and_results_need_their_rows(results: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no backbone is called 'croco-v2'"):
        bundle(results, tmp_path / "x.zip", selection=Selection(models=("croco-v2",)))
    with pytest.raises(RecordError, match="there are no such results"):
        bundle(results, tmp_path / "x.zip", recipe="mini")
    (results / "paper/nyuv2-depth/croco-v1/seed1.npz").unlink()
    with pytest.raises(RecordError, match="no per-image values"):
        bundle(results, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_a_page_has_all_bundles_that_are_whole(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    folder.mkdir()
    made.rename(folder / "ours.zip")
    (folder / "damaged.zip").write_bytes(b"nothing")
    count, complaints = leaderboard(folder, tmp_path / "page.html")
    assert count == 1 and "damaged.zip" in complaints[0]
    assert "croco-v1" in (tmp_path / "page.html").read_text()
    (folder / "ours.zip").unlink()
    with pytest.raises(RecordError, match="damaged"):
        leaderboard(folder, tmp_path / "page.html")


@pytest.mark.slow
def test_weights_are_scored_again_elsewhere(tiny_data: Path, tmp_path: Path) -> None:
    changes = ["train.steps=3", "train.workers=0"]
    settings = {"recipe": "smoke", "data_root": tiny_data, "device": "cpu", "changes": changes}
    run("nyuv2-depth", "random:mini-croco", results=tmp_path / "results", **settings)  # type: ignore[arg-type]
    bundle(tmp_path / "results", tmp_path / "ours.zip", weights=True)
    checked = check(tmp_path / "ours.zip", data_root=tiny_data, device="cpu")
    assert (checked.scored, checked.faults, checked.notes) == (1, [], [])
    bundle(tmp_path / "results", tmp_path / "ours.zip")
    checked = check(tmp_path / "ours.zip", data_root=tiny_data, device="cpu")
    assert checked.scored == 0 and "comes without fine-tuned weights" in checked.notes[0]
