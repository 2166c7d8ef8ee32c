"""The folder of a pre-training: what --fresh removes and keeps, leftovers, equal bytes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from croco_bench.backbones.export import write_official
from croco_bench.errors import RecordError
from croco_bench.pretraining.build import build
from croco_bench.pretraining.outputs import Output
from croco_bench.pretraining.recipe import load

FILES = ("last.pt", "checkpoint-last.pth", "checkpoint-40.pth", "log.jsonl", "net.safetensors", "facts.json")


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    net = tmp_path / "net"
    (net / "sheets").mkdir(parents=True)
    for name in (*FILES, "sheets/00000001.png", "mine.txt"):
        (net / name).write_text(f"old {name}")
    return net


def test_fresh_keeps_a_finished_pretraining(folder: Path) -> None:
    before = content(folder)
    Output(folder).prepare(fresh=True)
    mine = {"mine.txt": before.pop("mine.txt")}
    assert content(folder / "replaced") == before
    assert (folder / "replaced" / "sheets" / "00000001.png").is_file()
    assert content(folder) == mine and not (folder / "sheets").exists()


def test_fresh_again_before_the_next_has_ended_keeps_it_still(folder: Path) -> None:
    Output(folder).prepare(fresh=True)
    kept = content(folder / "replaced")
    (folder / "last.pt").write_text("unfinished")
    Output(folder).prepare(fresh=True)
    assert content(folder / "replaced") == kept and not (folder / "last.pt").exists()


def test_a_process_killed_while_it_moves_a_finished_pretraining_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, moved = content(folder), list[str]()
    rename = Path.rename

    def stop(self: Path, target: Path) -> Path:
        if len(moved) == 3:
            raise KeyboardInterrupt
        moved.append(self.name)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stop)
        with pytest.raises(KeyboardInterrupt):
            Output(folder).prepare(fresh=True)
    assert moved[0] == "last.pt"
    with pytest.raises(RecordError, match="without its state"):
        Output(folder).refuse_finished_without_state()
    Output(folder).prepare(fresh=True)
    assert content(folder) | content(folder / "replaced") == before


def test_a_process_killed_at_its_end_leaves_nothing_for_long(folder: Path) -> None:
    (folder / "replaced").mkdir()
    (folder / "replaced/last.pt").touch()
    Output(folder).prepare(fresh=False)
    assert not (folder / "replaced").exists() and (folder / "last.pt").is_file()


def test_without_fresh_only_leftovers_go(folder: Path) -> None:
    before = content(folder)
    leftovers = [folder / ".last.pt.x.partial", folder / "sheets" / ".00000002.png.x.partial"]
    for leftover in leftovers:
        leftover.touch()
    Output(folder).prepare(fresh=False)
    assert content(folder) == before and not any(leftover.exists() for leftover in leftovers)


def test_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    model = build(load("mini", []), 0)
    for name in ("a.pth", "b.pth"):
        write_official(model.backbone, tmp_path / name, model.extra_state_dict())
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_a_file_that_is_passed_on_names_no_folder_of_its_maker(
    tiny: Callable[..., Path], pairs_root: Path, tmp_path: Path
) -> None:
    given = str(pairs_root.resolve() / "habitat_release")
    first = tiny(pairs_root, tmp_path / "first", "train.steps=2", pairs=[given])
    made = tiny(pairs_root, tmp_path / "next", "train.steps=2", pairs=[given], init=str(first.resolve()))
    with safe_open(made, "np") as file:
        passed_on = file.metadata()["pretraining"]
    assert str(tmp_path) not in passed_on and str(pairs_root) not in passed_on
    facts, kept = json.loads(passed_on), json.loads((made.parent / "facts.json").read_text())
    assert kept["settings"]["data"]["pairs"] == [given] and kept["init"]["ckpt"] == str(first)
    assert facts["settings"]["data"]["pairs"] == [f"{pairs_root.name}/habitat_release"]
    assert facts["init"]["ckpt"] == f"first/{first.name}"
    assert f"--pairs={pairs_root.name}/habitat_release" in facts["command"]


def test_nor_does_one_of_multimae(tiny: Callable[..., Path], tiny_data: Path, tmp_path: Path) -> None:
    given = str(tiny_data.resolve() / "multimae")
    made = tiny(tiny_data, tmp_path / "net", "train.steps=2", pairs=[given], objective="multimae")
    with safe_open(made, "np") as file:
        assert str(tiny_data) not in file.metadata()["pretraining"]
