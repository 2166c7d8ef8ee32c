"""Names of models are names of folders, and stand for one set of weights."""

from pathlib import Path
from typing import Any

import pytest

from croco_bench.backbones.export import write_official
from croco_bench.backbones.load import load_backbone
from croco_bench.backbones.networks.vit import ViT
from croco_bench.errors import RecordError, UsageError
from croco_bench.records.store import ResultPaths, read_all, require_free_name, write
from croco_bench.runs.runner import run

ROWS = {"index": [0.0], "delta1": [1.0]}


def slot_in(results: Path, **changes: Any) -> ResultPaths:
    return ResultPaths(
        **{"results": results, "recipe": "paper", "task": "nyuv2-depth", "model": "mine", "seed": 0, **changes}
    )


@pytest.mark.parametrize("part", ["recipe", "task", "model"])
@pytest.mark.parametrize("name", ["..", "a/b", "/etc", "", "a\x00b", "a\tb", "…" * 100])
def test_no_part_of_a_path_leads_out_of_the_folder(tmp_path: Path, part: str, name: str) -> None:
    with pytest.raises(UsageError, match="can't be"):
        slot_in(tmp_path, **{part: name})


@pytest.mark.parametrize("name", ["croco-v1", "ViT-B_16.v2", "δ1 und mehr", "a..b", ".hidden"])
def test_ordinary_names_are_taken(tmp_path: Path, name: str) -> None:
    assert slot_in(tmp_path, model=name).json.parent == tmp_path / "paper/nyuv2-depth" / name


def test_a_name_with_results_of_other_weights_is_refused_wherever_they_lie(tmp_path: Path, result_of: Any) -> None:
    write(slot_in(tmp_path, recipe="mini", task="ade20k-seg", model="m[1]", seed=3), result_of(), ROWS)
    mine = slot_in(tmp_path, model="m[1]")
    with pytest.raises(RecordError, match=r"seed3\.json is of other weights .* give this .* --name"):
        require_free_name(mine, "cd" * 32)
    require_free_name(mine, "ab" * 32)
    require_free_name(slot_in(tmp_path, model="another"), "cd" * 32)
    require_free_name(slot_in(tmp_path, recipe="mini", task="ade20k-seg", model="m[1]", seed=3), "cd" * 32)


def test_a_damaged_file_is_in_nobodys_way(tmp_path: Path) -> None:
    bad = slot_in(tmp_path, seed=1).json
    bad.parent.mkdir(parents=True)
    bad.write_text("{")
    require_free_name(slot_in(tmp_path), "ab" * 32)


@pytest.mark.slow
def test_a_second_checkpoint_of_the_same_file_name_does_not_run(tiny_data: Path, tmp_path: Path) -> None:
    files = [tmp_path / folder / "model.pth" for folder in "ab"]
    for seed, path in enumerate(files):
        path.parent.mkdir()
        backbone = load_backbone(f"random:mini-mae@{seed}", image_size=64)
        assert isinstance(backbone, ViT)
        write_official(backbone, path)
    options: dict[str, Any] = {"recipe": "smoke", "data_root": tiny_data, "results": tmp_path, "device": "cpu"}
    run("nyuv2-depth", files[0], **options)
    with pytest.raises(RecordError, match="give this checkpoint another name with --name"):
        run("nyuv2-depth", files[1], seed=1, **options)
    assert [file.paths.seed for file in read_all([tmp_path])[0]] == [0]
    assert not slot_in(tmp_path, recipe="smoke", model="model", seed=1).folder.exists()
    run("nyuv2-depth", files[1], seed=1, name="other", **options)
    assert {file.paths.model for file in read_all([tmp_path])[0]} == {"model", "other"}
