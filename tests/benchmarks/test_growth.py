"""Work and memory grow with the number of pairs and results, not with its square."""

import pickle
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import growth
from croco_bench import registry
from croco_bench.data.listed_lines import Labels, ListedLines
from croco_bench.data.pairs import open_pairs
from croco_bench.data.splitting import Subset, split_by_group
from croco_bench.errors import DataError
from croco_bench.metrics.pose import reduce_poses
from croco_bench.records.selection import Selection
from croco_bench.records.store import read_all
from croco_bench.report import page
from croco_bench.tables import make
from croco_bench.tables.comparison.sheets import read_rows
from croco_bench.types import Array

MINI = Path(__file__).parents[2] / "results" / "mini"
COUNT = len(list(MINI.glob("*/*/seed*.json")))  # all of them


def bytes_of(folder: Path) -> int:
    """The most memory that is in use at once."""
    work = growth.pairs(folder)
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_pair_of_a_list_takes_few_bytes(tmp_path: Path) -> None:
    """A line has 60 bytes, which stay in the file; its place has 4, its scene 2, its index 4, its place in the order 8."""
    peaks = []
    for count in (150_000, 350_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        growth.write_pairs(folder, count)
        peaks.append(bytes_of(folder))
    assert (peaks[1] - peaks[0]) / 200_000 < 25


def test_values_of_each_protocol_of_a_result_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a page with tests of all columns; again only where the scenes of another file decide (of localisation)."""
    reads: Counter[tuple[Path, str]] = Counter()

    def counted(path: Path, prefix: str) -> dict[str, Array]:
        reads[path, prefix] += 1
        return read_rows(path, prefix)

    monkeypatch.setattr("croco_bench.tables.comparison.sheets.read_rows", counted)
    growth.copy_results(MINI, tmp_path, COUNT)
    make([tmp_path], format=page)
    named_otherwise = {(path, prefix) for path, prefix in reads if path.parents[1].name == "relative-pose"}
    headlines = {entry.name: {metric.name for metric in entry.card.headline} for entry in registry.tasks()}
    # The others are of methods whose predictions failed too often for a headline.
    scored = [file for file in read_all([tmp_path])[0] if headlines[file.result.task.name] & file.result.metrics.keys()]
    assert len({path for path, _ in reads}) == len(scored) > COUNT - 5
    assert {reads[key] for key in reads.keys() - named_otherwise} == {1}
    assert max(reads[key] for key in named_otherwise) <= 2


def test_metrics_of_one_result_are_reduced_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of two metrics reduces as often as that of one."""
    calls: Counter[str] = Counter()

    def counted(rows: Any) -> Any:
        calls[chosen] += 1
        return reduce_poses(rows)

    entry = registry.tasks()["relative-pose"]
    monkeypatch.setattr(type(entry), "load_reduction", lambda self: counted)
    for chosen, metrics in (("one", ("translation_m",)), ("both", ("translation_m", "rotation_deg"))):
        growth.copy_results(MINI, tmp_path / chosen, COUNT)
        make([tmp_path / chosen], selection=Selection(("relative-pose",), metrics))
    assert calls["one"] == calls["both"] > 0


def test_rows_say_what_one_more_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = growth.grow("pairs", [1000, 2000], growth.write_pairs)
    assert [size for size, *_ in rows] == [1000, 2000] and rows[0][2] == 0
    assert "| pairs | 2,000 |" in capsys.readouterr().out


def test_lines_are_found_by_their_places(tmp_path: Path) -> None:
    long = "x" * 10_000
    lines = ["# head", "", "first", " second ", long, "  ", "#", "last"]
    (tmp_path / "list").write_text("\n".join(lines))
    found = ListedLines(tmp_path / "list")
    assert [found[i] for i in range(len(found))] == [b"first", b" second ", long.encode(), b"last"]
    assert b"".join(found.content()) == "\n".join(lines).encode()
    assert [list(indices) for _, indices in found.blocks()] == [[0, 1, 2], [3]]
    assert len(ListedLines(tmp_path / "list", header=True)) == 4, "the first line is none of them anyway"


def test_lists_longer_than_a_block_are_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth.write_pairs(tmp_path, 1200)
    whole = open_pairs(tmp_path)
    expected = [whole.names(index) for index in range(len(whole))], list(whole.groups), whole.fingerprint()
    monkeypatch.setattr("croco_bench.data.listed_lines._BLOCK", 1000)
    again = open_pairs(tmp_path)
    assert ([again.names(index) for index in range(len(again))], list(again.groups), again.fingerprint()) == expected


@pytest.mark.parametrize("line", ["é/1.jpg b/2.jpg", "a\u00a0b/1.jpg", "a/\x1c1.jpg b", "/top.jpg x/y.jpg", "a/b/ c"])
def test_folders_are_those_of_the_names(line: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"a/1.jpg a/2.jpg\n{line}\n", encoding="utf-8")
    reader = open_pairs(tmp_path / "list.txt")
    try:
        expected = [reader.names(index)[0].rpartition("/")[0] for index in (0, 1)]
    except DataError:
        with pytest.raises(DataError, match="doesn't hold a pair"):
            list(reader.groups)
    else:
        assert list(reader.groups) == expected


def test_a_list_that_changes_is_noticed_by_other_processes(tmp_path: Path) -> None:
    growth.write_pairs(tmp_path, 3)
    reader = open_pairs(tmp_path)
    sent = pickle.dumps(reader)
    growth.write_pairs(tmp_path, 4)
    with pytest.raises(DataError, match="has changed since it was opened"):
        pickle.loads(sent).names(0)


def test_labels_are_a_sequence() -> None:
    names = ["b", "a", "b", "c"]
    labels = Labels(iter(names))
    assert list(labels) == names and labels[1] == "a" and labels[1:3] == ["a", "b"] and len(labels) == 4
    assert labels == names and labels != names[:3] and labels != Labels(["b", "a", "b", "d"])
    assert "c" in labels and "d" not in labels
    many = [str(number) for number in range(70_000)]
    assert list(Labels(many, len(many)))[-1] == "69999"


def test_splits_and_fingerprints_are_those_of_lists_of_numbers(tmp_path: Path) -> None:
    growth.write_pairs(tmp_path, 3000)
    reader = open_pairs(tmp_path)
    rest, held = split_by_group(reader, 0.3, seed=0)
    groups = list(reader.groups)
    chosen = set(held.groups)
    assert held.indices.tolist() == [index for index, group in enumerate(groups) if group in chosen]
    assert sorted([*rest.indices.tolist(), *held.indices.tolist()]) == list(range(3000))
    assert rest.fingerprint() == Subset(reader, rest.indices.tolist(), "train").fingerprint()
