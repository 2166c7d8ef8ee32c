"""What is trained on, what selects and what is reported, of datasets whose scenes come back in others."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from croco_bench.data.mixtures import stereo
from croco_bench.data.mixtures.stereo import REPORTS, Report, TrainingSet, open_mixture, open_reported, training_sets
from croco_bench.errors import DataError, UsageError


class Listed:
    """A reader whose items are its scenes' names."""

    split, miniature = "train", False

    def __init__(self, dataset: str, groups: Sequence[str]) -> None:
        self.dataset, self.groups, self.available = dataset, list(groups), len(groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"scene": self.groups[index]}

    def fingerprint(self) -> str:
        return ",".join(self.groups)


EVALUATION = ["Adirondack", "ArtL", "Motorcycle", "MotorcycleE", "PianoL", "PlaytableP", "Teddy", "Vintage"]
SCENES = {
    "crestereo": [f"hole/{number}" for number in range(40)],
    "eth3d": ["delivery_area_3l", "delivery_area_3s", "electro_3l", "electro_3s", "playground_3l", "forest_1s"],
    "middeval3": EVALUATION,
    "middlebury2003": ["conesQ", "teddy"],
    "middlebury2005": ["Art", "Books", "Reindeer"],
    "middlebury2014": [
        *("Adirondack-perfect", "Adirondack-imperfect", "Motorcycle-perfect", "Piano-imperfect", "Playtable-perfect"),
        *("Vintage-perfect", "Vintage-imperfect", "Umbrella-perfect", "Umbrella-imperfect", "Backpack-perfect"),
    ],
    "sceneflow": ["Monkaa/a", "Monkaa/b"],
    "booster": ["Bathroom", "Bedroom", "Kitchen", "Vases"],
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    real = training_sets("F")

    def fake(resolution: str) -> dict[str, TrainingSet]:
        found = {}
        for name, scenes in SCENES.items():
            its = real[name]
            part = (lambda folder: Listed("part", ["TEST/a"])) if its.selection_split else None
            opener = partial(lambda folder, name, scenes: Listed(name, scenes), name=name, scenes=scenes)
            found[name] = TrainingSet(its.folder, opener, its.selection_scenes, part, its.location)
        return found

    monkeypatch.setattr(stereo, "training_sets", fake)
    for name in SCENES:
        (tmp_path / real[name].folder).mkdir(exist_ok=True)
    return tmp_path


def parted(root: Path, report: Report, *names: str) -> tuple[set[str], set[str]]:
    train, select = open_mixture(root, dict.fromkeys(names, 1.0), report=report, resolution="F", seed=0)
    found = [{reader[index]["scene"] for index in range(len(reader))} for reader in (train, select)]
    return found[0], found[1]


def test_scenes_that_are_reported_are_trained_on_under_no_name(root: Path) -> None:
    train, select = parted(root, "middlebury", "middlebury2005", "middlebury2014")
    assert train == {"Books", "Backpack-perfect"}
    assert select == {"Reindeer", "Umbrella-imperfect"}


def test_of_other_reports_they_are_free(root: Path) -> None:
    train, select = parted(root, "eth3d", "middeval3", "middlebury2014")
    assert {"Adirondack-perfect", "Motorcycle-perfect", "MotorcycleE", "Teddy"} <= train
    assert select == {"Vintage", "Vintage-perfect", "Umbrella-imperfect"}
    assert not {name for name in train if name.startswith(("Vintage", "Umbrella"))}


def test_the_reported_one_of_an_evaluation_does_not_select(root: Path) -> None:
    train, select = parted(root, "middlebury-subval", "middeval3", "middlebury2014")
    assert "Adirondack-perfect" in train and select == {"Umbrella-imperfect"}
    assert not {name for name in train | select if name.startswith("Vintage")}
    train, select = parted(root, "eth3d-subval", "crestereo", "eth3d")
    assert "forest_1s" in train and not {name for name in train | select if name.endswith(("_3l", "_3s"))}


def test_of_eth3d_the_same_place_with_another_baseline_is_not_trained_on(root: Path) -> None:
    train, select = parted(root, "middlebury", "eth3d")
    assert train == {"forest_1s"}
    # CroCo v2's list has no electro_3s.
    assert select == {"delivery_area_3s", "electro_3l", "playground_3l"}


def test_parts_of_their_own_and_last_scenes_select(root: Path) -> None:
    train, select = parted(root, "middlebury", "sceneflow", "booster")
    assert train == {"Monkaa/a", "Monkaa/b", "Bathroom", "Bedroom"} and select == {"TEST/a", "Kitchen", "Vases"}


def test_without_any_some_of_the_first_select(root: Path) -> None:
    train, select = parted(root, "middlebury", "crestereo")
    assert len(select) == 2 and len(train) == 38 and not train & select
    assert parted(root, "middlebury", "crestereo") == (train, select)


def test_reports_are_whole_or_some_scenes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [len(open_reported(root, report, "F")) for report in REPORTS] == [8, 1, 6, 3]
    assert open_reported(root, "middlebury-subval", "F").split == "train (Vintage)"
    monkeypatch.setitem(SCENES, "middeval3", EVALUATION[:-1])
    with pytest.raises(
        DataError,
        match=r"none of the scenes Vintage, which task\.report=middlebury-subval scores; --set task\.report=middlebury scores",
    ):
        open_reported(root, "middlebury-subval", "F")


def test_what_is_missing_is_a_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"which task\.report=eth3d scores; see croco-bench data list"):
        open_reported(root / "nowhere", "eth3d", "F")
    (root / "sceneflow").rmdir()
    with pytest.raises(DataError, match=r"leave it out with --set 'task\.train_on=\{crestereo = 1\}'"):
        parted(root, "middlebury", "crestereo", "sceneflow")
    monkeypatch.setitem(SCENES, "middlebury2005", ["Art", "Reindeer"])
    with pytest.raises(DataError, match="holds no scene of middlebury2005 to train on beside those") as caught:
        parted(root, "middlebury", "crestereo", "middlebury2005")
    assert "\n" not in str(caught.value)


def test_weights_are_checked() -> None:
    stereo.check_weights({"kitti2015": 2.0, "spring": 0.5})
    with pytest.raises(
        UsageError, match="no dataset of stereo to train on is called 'crestero'; did you mean crestereo"
    ):
        stereo.check_weights({"crestero": 1.0})


def test_teddy_of_2003_is_teddy_of_the_evaluation(root: Path) -> None:
    assert {"conesQ", "teddy"} & parted(root, "middlebury", "crestereo", "middlebury2003")[0] == {"conesQ"}
    assert {"conesQ", "teddy"} <= parted(root, "eth3d", "crestereo", "middlebury2003")[0]
