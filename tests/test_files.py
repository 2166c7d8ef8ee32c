"""Fingerprints, locks and the cache folder, as the whole package uses them."""

import hashlib
import os
import pwd
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from croco_bench.data.datasets.scannet1500 import open_scannet1500
from croco_bench.errors import DataError, RecordError, UsageError
from croco_bench.files import (
    archive_fault,
    atomic,
    atomic_output,
    cache_folder,
    check_unpacked_size,
    exclusive_lock,
    fingerprint,
    parse_json,
    parse_toml,
)


def test_fingerprint_is_the_sha256_of_the_joined_parts() -> None:
    whole = hashlib.sha256("größe,1".encode()).hexdigest()
    assert fingerprint("größe", ",", b"1") == whole[:16]
    assert fingerprint("größe,1", length=12) == whole[:12]


def test_lock_makes_its_folder_and_is_free_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    for _ in range(2):
        with exclusive_lock(path, busy=DataError("busy")):
            assert path.is_file()


def test_a_held_lock_raises_the_given_error_at_once(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / "lock"),
        pytest.raises(DataError, match="at work; wait"),
        exclusive_lock(tmp_path / "lock", busy=DataError("another is at work", "wait")),
    ):
        raise AssertionError("entered while another holds the lock")


@pytest.mark.slow
@pytest.mark.processes
def test_without_an_error_to_raise_it_says_so_and_waits(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    holder = (
        "import sys, time; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); time.sleep(1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with exclusive_lock(tmp_path / "lock", waiting="another extraction runs; waiting"):
            assert "another extraction runs; waiting" in capfd.readouterr().err
            process.wait(timeout=10)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "folder" / "lock"
    sentence = r"can't write in .*folder \(Not a directory\); give another --out"
    with pytest.raises(RecordError, match=sentence), exclusive_lock(path, unwritable="give another --out"):
        raise AssertionError("entered without a folder")
    with pytest.raises(NotADirectoryError), exclusive_lock(path):
        raise AssertionError("entered without a folder")


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("CROCO_BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "croco-bench"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache_folder() == Path.home() / ".cache" / "croco-bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "croco-bench"


def test_devices_and_pipes_are_written_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    with atomic(pipe) as temporary:
        temporary.write_text("a table")
    reader.join(timeout=10)
    assert received == [b"a table"]
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
    with pytest.raises(RecordError, match="No space left"), atomic(Path("/dev/full")) as temporary:
        temporary.write_text("a table")
    assert Path("/dev/full").is_char_device()


def test_links_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link, target = tmp_path / "table.html", tmp_path / "elsewhere" / "table.html"
    link.symlink_to(target)
    for text in ("first", "second"):
        with atomic(link) as temporary:
            temporary.write_text(text)
        assert link.is_symlink() and target.read_text() == text


def test_a_flipped_bit_in_an_archive_is_found(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.arange(5000.0)}, path)
    whole = path.read_bytes()
    assert archive_fault(path) is None
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        fault = archive_fault(path)
        try:
            same = torch.equal(torch.load(path)["weight"], torch.arange(5000.0))
        except Exception:
            continue  # torch itself refuses it
        assert same or fault, place
    path.write_bytes(b"no archive")
    assert archive_fault(path) is None


def test_archives_without_checksums_and_compressed_ones(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.ones(3)}, plain)
    finally:
        torch.serialization.set_crc32_options(True)
    assert archive_fault(plain) is None
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("packed/data/0", bytes(10**6))
    assert "compressed" in (archive_fault(packed) or "")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 500 + "0" + "}" * 500, "", "[1,", "9" * 5000])
def test_json_of_any_kind_is_a_value_error_at_most(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)
    with pytest.raises(ValueError):
        parse_json(text.encode() + b"\xff")


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, ".".join(["a"] * 20_000) + " = 1", "a." * 100 + "b = 1", "a", 'a = "\\x"']
)
def test_toml_of_any_kind_is_a_value_error_at_most(text: str) -> None:
    with pytest.raises(ValueError):
        parse_toml(text)


def test_usual_json_and_toml_is_read() -> None:
    assert parse_json('{"a": [[1, {"b": null}]]}') == {"a": [[1, {"b": None}]]}
    assert parse_toml('a.b = [0.1, 0.2]\ntext = "' + "a word. " * 200 + '"')["a"] == {"b": [0.1, 0.2]}


def test_the_cache_is_never_at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CROCO_BENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    own = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache/croco-bench"
    for given in ("", "here", None):
        monkeypatch.setenv("HOME", given) if given is not None else monkeypatch.delenv("HOME")
        assert cache_folder() == own
    monkeypatch.setenv("HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/.cache/croco-bench")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/somewhere/.cache/croco-bench")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/croco-bench")


def test_a_user_without_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CROCO_BENCH_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(UsageError, match="this user has no home folder; set HOME, or CROCO_BENCH_CACHE"):
        cache_folder()


def test_arrays_of_zeros_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, name=np.zeros((2**18, 4), dtype=np.int64))
    assert path.stat().st_size < 2**14
    check_unpacked_size(path)
    monkeypatch.setenv("CROCO_BENCH_MAX_TEXT_MB", "7")
    with pytest.raises(ValueError, match="that takes 9 MiB, and CROCO_BENCH_MAX_TEXT_MB allows 7"):
        check_unpacked_size(path)
    (tmp_path / "test.npz").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"test\.npz can't be read \(that takes 9 MiB"):
        open_scannet1500(tmp_path)


def test_outputs_remove_what_killed_processes_left_and_nothing_that_is_being_written(tmp_path: Path) -> None:
    leftover, other = tmp_path / ".[p].png.abc.partial", tmp_path / ".q.png.abc.partial"
    for path in (leftover, other):
        path.touch()
    path = tmp_path / "[p].png"
    with atomic_output(path) as first:
        assert not leftover.exists() and other.exists()
        first.write_text("first")
        with atomic_output(path) as second:
            second.write_text("second")
        assert first.exists() and path.read_text() == "second"
    assert path.read_text() == "first" and {one.name for one in tmp_path.iterdir()} == {path.name, other.name}
