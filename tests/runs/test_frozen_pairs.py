"""Pair tasks with a frozen encoder and decoder, and with a frozen encoder and a new decoder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from croco_bench import load_backbone, registry, run
from croco_bench.config.recipe import load_recipe, resolve
from croco_bench.contracts import PairBackbone
from croco_bench.errors import FitError, UsageError
from croco_bench.records.schema import Result
from croco_bench.records.store import ResultPaths
from croco_bench.tables.published_grids import class_of_run

NEW = ["train.frozen=encoder", "decoder.replaces=true"]


def finish(
    data: Path, results: Path, ckpt: str, changes: list[str], task: str = "sintel-flow", **options: Any
) -> Result:
    result = run(
        task,
        ckpt,
        recipe="smoke",
        data_root=data,
        results=results,
        device="cpu",
        name="one",
        changes=changes,
        **options,
    )
    assert result is not None
    return result


def weights_of(results: Path, task: str = "sintel-flow") -> PairBackbone:
    folder = ResultPaths(results, "smoke", task, "one", 0).folder
    backbone = load_backbone(folder / "weights.safetensors", image_size=32)
    assert isinstance(backbone, PairBackbone)
    return backbone


def parts(backbone: PairBackbone) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of encoder and decoder."""
    state = backbone.state_dict()
    inside = {name for name in state if backbone.in_decoder(name)}
    return {name: state[name] for name in state.keys() - inside}, {name: state[name] for name in inside}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["sintel-flow", "relative-pose", "stereo"])
def test_a_frozen_network_keeps_encoder_and_decoder_bit_by_bit(task: str, tiny_data: Path, tmp_path: Path) -> None:
    result = finish(tiny_data, tmp_path, "random:mini-croco", ["train.frozen=true"], task)
    before = load_backbone("random:mini-croco", image_size=32)
    assert same(before.state_dict(), weights_of(tmp_path, task).state_dict())
    assert result.cost and result.cost.trained_parameters == result.model.parameters - (
        result.cost.backbone_parameters or 0
    ) - (_unused(result))
    assert class_of_run(result) == ("frozen" if task == "relative-pose" else "frozen-dpt")


def _unused(result: Result) -> int:
    """Parameters of the DPT head that never run."""
    if result.settings["head"]["name"] != "dpt":
        return 0
    width = int(result.settings["head"]["features"])
    return 2 * (9 * width * width + width)


@pytest.mark.slow
def test_a_frozen_encoder_is_kept_and_its_decoder_trained(tiny_data: Path, tmp_path: Path) -> None:
    result = finish(tiny_data, tmp_path, "random:mini-croco", ["train.frozen=encoder"])
    before = load_backbone("random:mini-croco", image_size=32)
    assert isinstance(before, PairBackbone)
    (encoder, decoder), (encoder_after, decoder_after) = parts(before), parts(weights_of(tmp_path))
    assert same(encoder, encoder_after) and decoder.keys() == decoder_after.keys() and not same(decoder, decoder_after)
    assert class_of_run(result) == "frozen-encoder"
    assert not any("decoder" in note for note in before.origin.notes)


@pytest.mark.slow
@pytest.mark.parametrize("ckpt", ["random:mini-croco-cat", "random:mini-mae", "random:vit_tiny_patch16_224"])
def test_a_new_decoder_takes_the_place_of_any(ckpt: str, tiny_data: Path, tmp_path: Path) -> None:
    result = finish(tiny_data, tmp_path, ckpt, NEW)
    after = weights_of(tmp_path)
    assert (after.decoder_dim, after.decoder_depth) == (32, 2)  # those of the recipe, not those of the checkpoint
    before = load_backbone(ckpt, image_size=32)
    before.drop_decoder()
    assert same(before.state_dict(), parts(after)[0])
    own, none = "weights: the checkpoint's own decoder was left out", "weights: no decoder was pre-trained"
    assert any(note.startswith(own if "croco" in ckpt else none) for note in result.protocol.deviations)
    folder = ResultPaths(tmp_path, "smoke", "sintel-flow", "one", 0).folder
    again = run(
        "sintel-flow",
        folder / "weights.safetensors",
        recipe="smoke",
        data_root=tiny_data,
        results=tmp_path,
        device="cpu",
        name="again",
        changes=NEW,
        eval_only=True,
    )
    assert again and again.metrics["clean/epe"].value == pytest.approx(result.metrics["clean/epe"].value, rel=1e-6)


def test_what_cannot_be_frozen_is_a_sentence(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(FitError, match=r"has no decoder.*take recipe frozen-encoder"):
        finish(tiny_data, tmp_path, "random:mini-mae", ["train.frozen=true"])
    with pytest.raises(UsageError, match=r"has one view.*take train\.frozen=true"):
        finish(tiny_data, tmp_path, "random:mini-croco", ["train.frozen=encoder"], "nyuv2-depth")
    with pytest.raises(UsageError, match=r"train\.frozen: value error, should be true, false or encoder"):
        finish(tiny_data, tmp_path, "random:mini-croco", ["train.frozen=decoder"])


def test_settings_from_before_a_decoder_could_be_replaced_look_the_same() -> None:
    head = registry.heads()["dpt"].load().Options()
    task = registry.tasks()["sintel-flow"].load().Options()
    mini, frozen = (load_recipe("sintel-flow", name) for name in ("mini", "frozen-encoder-mini"))
    assert resolve(mini, task, head)["decoder"] == {"width": 96, "depth": 3, "heads": 3}
    assert resolve(frozen, task, head)["decoder"] == {"width": 96, "depth": 3, "heads": 3, "replaces": True}
    assert resolve(frozen, task, head)["train"]["frozen"] == "encoder"
