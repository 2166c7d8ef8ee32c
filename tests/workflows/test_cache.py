"""The cache: what is listed and what is removed."""

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from croco_bench.cli.main import app
from croco_bench.errors import RecordError
from croco_bench.workflows.cache import clear, entries


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Vectors, a list of an archive and a download of 2000, 300 and 40 bytes; the vectors are ten days old."""
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path))
    (tmp_path / "vectors/abc").mkdir(parents=True)
    (tmp_path / "vectors/abc/begun").write_text("net, imagenet val, 12 images of 32x32\n")
    (tmp_path / "vectors/abc/mean.npy").write_bytes(bytes(2000 - 38))
    then = time.time() - 10 * 86400
    for path in (tmp_path / "vectors/abc").iterdir():
        os.utime(path, (then, then))
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/def.json").write_bytes(bytes(300))
    (tmp_path / "0123456789ab").mkdir()
    (tmp_path / "0123456789ab/net.pth").write_bytes(bytes(40))
    (tmp_path / "0123456789ab/lock").touch()
    return tmp_path


def test_entries_are_listed_with_size_and_age(cache: Path) -> None:
    found = entries()
    assert [(entry.kind, entry.size) for entry in found] == [("vectors", 2000), ("archives", 300), ("downloads", 40)]
    assert [entry.about for entry in found[::2]] == ["net, imagenet val, 12 images of 32x32", "net.pth"]
    assert found[0].age_days == pytest.approx(10, abs=0.1) and found[1].age_days < 1


def test_only_what_was_asked_for_is_removed(cache: Path) -> None:
    assert [entry.kind for entry in clear(("vectors", "downloads"), older_than_days=5)[0]] == ["vectors"]
    assert [entry.kind for entry in entries()] == ["archives", "downloads"]
    assert [entry.kind for entry in clear(("vectors", "archives", "downloads"))[0]] == ["archives", "downloads"]
    assert not entries() and not (cache / "0123456789ab").exists()


def test_what_another_process_uses_stays(cache: Path) -> None:
    with FileLock(cache / "vectors/.abc.lock"):
        removed, used = clear(("vectors",))
    assert not removed and [entry.path.name for entry in used] == ["abc"]
    assert (cache / "vectors/abc/mean.npy").is_file()


def test_compiled_networks_are_listed_and_removed(cache: Path) -> None:
    (cache / "compiled/torch-2/ab").mkdir(parents=True)
    (cache / "compiled/torch-2/ab/code.py").write_bytes(bytes(500))
    (entry,) = (entry for entry in entries() if entry.kind == "compiled")
    assert (entry.size, entry.path.name, entry.about) == (500, "torch-2", "compiled networks of one version of torch")
    assert "removed 1 entries" in CliRunner().invoke(app, ["cache", "--clear", "compiled"]).output
    assert not (cache / "compiled/torch-2").exists()


def test_the_command_says_both(cache: Path) -> None:
    listed = CliRunner().invoke(app, ["cache"]).output
    assert "net, imagenet val" in listed and f"in {cache}" in listed
    assert "removed 3 entries" in CliRunner().invoke(app, ["cache", "--clear", "all"]).output
    assert CliRunner().invoke(app, ["cache"]).output.split() == ["0.0", "MB", "in", str(cache)]


def test_a_cache_that_isnt_there_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "nowhere"))
    assert entries() == [] and clear(("vectors",)) == ([], [])


def test_odd_content_is_listed_and_removed(cache: Path) -> None:
    (cache / "vectors/abc/begun").write_bytes(b"\xff\xfe")
    (cache / "vectors/link").symlink_to("/dev/null")
    (cache / "vectors/nowhere").symlink_to("nowhere")
    (cache / "tokens").write_text("a file")
    assert len(entries()) == 5
    assert len(clear(("vectors", "tokens"))[0]) == 3 and not list((cache / "vectors").glob("[!.]*"))


def test_a_folder_that_cannot_be_read_is_one_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(cache))

    monkeypatch.setattr(Path, "iterdir", refuse)
    done = CliRunner().invoke(app, ["cache"])
    assert isinstance(done.exception, RecordError)
    assert str(done.exception) == f"can't read {cache} (Permission denied); check its permissions"
