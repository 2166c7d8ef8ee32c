"""Lists of pairs for ablations: each kind of second view is what its name says."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import pair_lists
from croco_bench.data.miniatures.habitat import HabitatMini, write_habitat
from croco_bench.data.pairs import open_pairs


def test_lists_of_a_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(1) as pool:
        write_habitat(tmp_path / "data", HabitatMini(pairs=10, pairs_per_scene=2, side=8), 0, pool, lambda _: None)
    monkeypatch.setattr(sys, "argv", ["pair_lists.py", str(tmp_path / "data"), str(tmp_path / "lists")])
    pair_lists.main()

    listed = {}
    for file in (tmp_path / "lists").iterdir():
        lines = file.read_text(encoding="utf-8").splitlines()
        listed[file.stem] = [(Path(first), Path(second)) for first, second in (line.split() for line in lines)]
        assert len(open_pairs(file)) == len(lines)
    assert all(first == second for first, second in listed["same"])
    assert all(first.parent != second.parent for first, second in listed["wrong"])
    seen = {name: [pair_lists.covisibility(pair) for pair in listed[name]] for name in ("low", "fifth", "high")}
    assert [len(shares) for shares in seen.values()] == [2, 2, 2]
    assert max(seen["low"]) < min(seen["high"])
    assert min(seen["low"]) <= min(seen["fifth"]) <= max(seen["fifth"]) <= max(seen["high"])


@pytest.mark.parametrize("content", [None, "", "one\n", "a/1.jpeg a/2.jpeg\n", "a/1.jpeg a/2.jpeg\n" * 6])
def test_other_folders_are_one_sentence(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "pairs.txt").write_text(content)
    monkeypatch.setattr(sys, "argv", ["pair_lists.py", str(tmp_path), str(tmp_path / "lists")])
    with pytest.raises(SystemExit) as stopped:
        pair_lists.main()
    said = capsys.readouterr().err
    assert stopped.value.code == 1 and said.count("\n") == 1 and "should hold pairs.txt" in said
    assert not (tmp_path / "lists").exists()


def test_a_folder_that_cannot_be_written_is_not_blamed_on_the_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        write_habitat(tmp_path / "data", HabitatMini(pairs=6, pairs_per_scene=2, side=8), 0, pool, lambda _: None)
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["pair_lists.py", str(tmp_path / "data"), str(tmp_path / "file")])
    with pytest.raises(SystemExit):
        pair_lists.main()
    assert "can't be written" in capsys.readouterr().err
