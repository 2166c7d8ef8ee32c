"""Datasets of flow, written here in their official layouts: frames that slide by (2, 1) pixels, flow that says so."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from croco_bench.data.catalogue import dataset_info
from croco_bench.data.datasets.matching.image_pairs import MatchingReader
from croco_bench.data.folders import MARKER
from croco_bench.errors import DataError
from tests.data.datasets.matching.flow_releases import (
    CASES,
    FLOW,
    H,
    W,
    save,
)


@pytest.mark.parametrize("name", list(CASES))
def test_pairs_are_read_in_order_with_their_flow(name: str, tmp_path: Path, reader_contract: Any) -> None:
    case = CASES[name]
    case.write(tmp_path)
    reader_contract(case.open, FLOW | case.more).check(tmp_path, name)
    reader = case.open(tmp_path)
    assert (reader.split, reader.miniature) == ("train", False)
    assert (reader.ids, reader.groups) == (case.ids, case.groups or case.ids)
    for index in range(len(reader)):
        sample = reader[index]
        assert sample["id"] == case.ids[index]
        flow, valid = sample["flow_px"], sample["valid"]
        assert not flow[~valid].any() and valid.any()
        # Away from the borders, image 2 shows at x + u, y + v what image 1 shows at x, y: frames, direction and axes fit.
        u, v = flow[5, 7] if valid[5, 7] else flow[valid][-1]
        back = np.roll(sample["image2"], (-round(v), -round(u)), axis=(0, 1))
        np.testing.assert_array_equal(back, sample["image1"])
        assert (abs(u), abs(v)) == (2, 1) and not np.array_equal(sample["image1"], sample["image2"])
    first = reader[len(reader) - 1]
    if first["valid"][0, 0]:
        assert first["flow_px"][0, 0, 1] == case.mark
    assert reader[-1]["id"] == case.ids[-1]


@pytest.mark.parametrize("name", list(CASES))
def test_fingerprints_follow_the_files(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    for folder in ("one", "two"):
        case.write(tmp_path / folder)
    reader, other = case.open(tmp_path / "one"), case.open(tmp_path / "two")
    assert reader.fingerprint() == other.fingerprint()
    if case.archive:
        case.write(tmp_path / "three" / case.archive)
        (tmp_path / "three" / MARKER).write_text("{}")
        below = case.open(tmp_path / "three")
        assert below.miniature and below.ids == case.ids and below.fingerprint() == reader.fingerprint()
    # Other files, of which the first pair's are among those looked at.
    pair = other.pairs[0]
    for file in (pair.image1, str(pair.truth)):
        path = tmp_path / "two" / file
        content = path.read_bytes()
        path.write_bytes(content + b"\0")
        assert reader.fingerprint() != other.fingerprint()
        path.write_bytes(content)
        assert reader.fingerprint() == other.fingerprint()
    # The same files under another name.
    renamed = [*reader.pairs[:-1], reader.pairs[-1]._replace(id="another")]
    another = MatchingReader(name, "train", tmp_path / "one", renamed, reader.read_truth, miniature=False)
    assert another.fingerprint() != reader.fingerprint()


@pytest.mark.parametrize("name", list(CASES))
def test_a_missing_file_and_another_size_are_one_sentence(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    case.write(tmp_path)
    reader = case.open(tmp_path)
    pair = reader.pairs[0]
    for file in filter(None, (pair.image1, pair.image2, pair.truth, pair.occluded, pair.invalid)):
        path = tmp_path / file
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(DataError, match="there is no ") as caught:
            reader[0]
        assert "\n" not in str(caught.value) and "; " in str(caught.value) and str(path) in str(caught.value)
        if name != "autoflow":  # of 40,000 folders only the names are read
            with pytest.raises(DataError) as caught:
                case.open(tmp_path)
            assert "\n" not in str(caught.value) and "; " in str(caught.value)
        path.write_bytes(content)
    case.open(tmp_path)
    save(tmp_path / pair.image2, np.zeros((H + 2, W, 3), np.uint8))
    with pytest.raises(DataError, match=f"{pair.image2} belongs to an image of 14x16, but .*{pair.image1} is 12x16 "):
        reader[0]
    for file in (pair.image1, pair.image2):
        save(tmp_path / file, np.zeros((H, W + 2, 3), np.uint8))
    with pytest.raises(DataError, match=f"{pair.truth} belongs to an image of 12x16, but .*{pair.image1} is 12x18 "):
        reader[0]


@pytest.mark.parametrize("name", list(CASES))
def test_an_empty_folder_says_what_to_get(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path} holds no .*; (unpack|get) http") as caught:
        CASES[name].open(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(CASES))
def test_check_counts_the_release_and_is_content_with_a_miniature(name: str, tmp_path: Path) -> None:
    CASES[name].write(tmp_path)
    for kind in tmp_path.glob("training/*/alley_1"):  # both scenes that CroCo selects by
        kind.rename(kind.with_name("temple_3"))
    wrong = [finding for finding in dataset_info(name).check(tmp_path) if not finding.ok]
    assert all(finding.advice.startswith("expected ") for finding in wrong)
    few = {"sintel": 5, "flyingthings": 6, "spring": 3, "tartanair": 1, "autoflow": 1, "hd1k": 0}
    assert len(wrong) == few.get(name, 2)
    (tmp_path / MARKER).write_text("{}")
    findings = dataset_info(name).check(tmp_path)
    assert len(findings) >= 3 and all(finding.ok and "\n" not in finding.what for finding in findings)
    seen = [
        re.search(r"% known, 2\.2 pixels .* differ by (\S+) along it, by (\S+)", finding.what) for finding in findings
    ]
    assert any(seen) and all(float(one[1]) < 2 and float(one[2]) > 15 for one in seen if one)
