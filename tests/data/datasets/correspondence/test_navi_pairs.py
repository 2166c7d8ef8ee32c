"""NAVI's own lists of pairs."""

import shutil
from pathlib import Path

import pytest

from croco_bench import run
from croco_bench.data.datasets.correspondence.navi import NaviReader
from croco_bench.data.datasets.correspondence.navi_pairs import FOLDER, NaviListedPairs
from croco_bench.errors import DataError

PAIR = "chair_00/wild_set/images/{}.jpg chair_00/wild_set/images/{}.jpg 12.5"
LIST = f"{FOLDER}/pairs-wild_set.txt"


@pytest.fixture
def root(tiny_data: Path, tmp_path: Path) -> Path:
    """A data root with the miniature and a list of two pairs."""
    folder = Path(shutil.copytree(tiny_data / "navi", tmp_path / "navi"))
    (folder / FOLDER).mkdir(parents=True)
    (folder / LIST).write_text(f"{PAIR.format('001', '000')}\n\n{PAIR.format('002', '003')}\n")
    return folder


def test_listed_pairs_are_read_in_order(root: Path) -> None:
    reader = NaviListedPairs(root, "wild_set")
    assert [reader[index]["id"] for index in range(len(reader))] == [
        "chair_00/wild_set/001 000",
        "chair_00/wild_set/002 003",
    ]
    assert set(reader[0]) == set(NaviReader(root, "test")[0]) and reader.groups == ["chair_00"] * 2
    before = reader.fingerprint()
    (root / LIST).write_text(PAIR.format("001", "000"))
    assert NaviListedPairs(root, "wild_set").fingerprint() != before


def test_folders_before_an_object_do_not_matter(root: Path) -> None:
    (root / LIST).write_text("navi_v1.5/" + PAIR.format("001", "000"))
    assert NaviListedPairs(root, "wild_set")[0]["id"] == "chair_00/wild_set/001 000"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no pairs"),
        ("a b 3", "line 1: expected two paths"),
        (PAIR.format("001", "000") + " 4", "line 1: expected two paths"),
        (PAIR.format("001", "999"), "names chair_00/wild_set/images/999.jpg, which"),
        (PAIR.format("001", "000").replace("chair_00", "nothing"), "nothing/wild_set/annotations.json"),
    ],
)
def test_damaged_lists_are_one_sentence(root: Path, text: str, words: str) -> None:
    (root / LIST).write_text(text)
    with pytest.raises(DataError) as error:
        NaviListedPairs(root, "wild_set")
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_missing_or_binary_list_is_one_sentence(root: Path) -> None:
    (root / LIST).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="isn't a list of pairs"):
        NaviListedPairs(root, "wild_set")
    with pytest.raises(DataError, match=r"no readable .*pairs-multiview\.txt"):
        NaviListedPairs(root, "multiview")


def test_lists_are_scored_beside(root: Path, tmp_path: Path) -> None:
    result = run(
        "correspondence-navi",
        "classical:zero",
        recipe="smoke",
        data_root=root.parent,
        results=tmp_path / "results",
        device="cpu",
        changes=['task.also=["wild_set"]'],
    )
    assert result is not None and {"recall2cm", "wild_set/recall2cm"} <= set(result.metrics)
