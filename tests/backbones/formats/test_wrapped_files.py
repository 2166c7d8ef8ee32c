"""Weights as training code leaves them: several state dicts in a file, prefixes in names, newer pickle protocols."""

import argparse
import os
import pathlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from croco_bench import load_backbone
from croco_bench.backbones.weights import read_checkpoint
from croco_bench.errors import CheckpointError, UsageError

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A ViT in timm's names."""
    torch.manual_seed(0)
    net = VisionTransformer(img_size=32, patch_size=16, embed_dim=64, depth=3, num_heads=2, num_classes=0)
    return dict(net.state_dict())


def tokens(content: object, folder: Path, **changes: Any) -> Tensor:
    """The last tokens of a fixed image."""
    path = folder / "given.pth"
    torch.save(content, path, **changes)
    image = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.no_grad():
        return load_backbone(path, image_size=32).encode(image)[-1]


def notes(content: object, folder: Path) -> tuple[str, ...]:
    torch.save(content, folder / "given.pth")
    return load_backbone(folder / "given.pth", image_size=32).origin.notes


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def replaced(pattern: str, by: str, state: State) -> State:
    return {re.sub(pattern, by, name): tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "rename",
    [
        lambda state: prefixed("model.", state),
        lambda state: prefixed("net.", state),
        lambda state: prefixed("encoder.", state),
        lambda state: prefixed("base_model.", state),
        lambda state: prefixed("model._orig_mod.", state),
        lambda state: prefixed("module._orig_mod.backbone.module.net.", state),
        lambda state: prefixed("_fsdp_wrapped_module.", state),
        lambda state: replaced(r"(blocks\.\d+\.)", r"\1_orig_mod.", state),
        lambda state: replaced(r"(blocks\.\d+\.)", r"\1_checkpoint_wrapped_module.", state),
        lambda state: replaced(r"blocks\.(\d+)\.", lambda k: f"blocks.{int(k[1]) // 2}.{k[1]}.", state),  # type: ignore[arg-type]
    ],
    ids=[
        "model",
        "net",
        "encoder",
        "base_model",
        "compiled",
        "nested",
        "fsdp",
        "compiled-blocks",
        "checkpointed",
        "grouped",
    ],
)
def test_prefixes_and_insertions_change_nothing(rename: Callable[[State], State], state: State, tmp_path: Path) -> None:
    renamed = rename(state)
    assert renamed.keys() != state.keys()
    assert torch.equal(tokens({"state_dict": renamed}, tmp_path), tokens(state, tmp_path))


def test_heads_next_to_the_backbone_are_left_out_and_named(state: State, tmp_path: Path) -> None:
    heads = {"classifier.weight": torch.ones(3, 64), "projector.0.weight": torch.ones(3, 64), "queue": torch.ones(3, 4)}
    content = {"state_dict": {**prefixed("backbone.", state), **heads}}
    assert "of the file, backbone was read and classifier, projector, queue left out" in notes(content, tmp_path)
    assert torch.equal(tokens(content, tmp_path), tokens(state, tmp_path))


def test_of_student_and_teacher_prefixes_the_teacher_is_read(state: State, tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in state.items()}
    content = {"state_dict": {**prefixed("student.backbone.", other), **prefixed("teacher.backbone.", state)}}
    assert "of the file, teacher was read and student left out" in notes(content, tmp_path)
    assert torch.equal(tokens(content, tmp_path), tokens(state, tmp_path))


def test_other_weights_next_to_a_prefix_are_refused(state: State, tmp_path: Path) -> None:
    content = {**prefixed("backbone.", state), "adapter.weight": torch.ones(2, 2)}
    with pytest.raises(
        CheckpointError, match=r"some weights begin with 'backbone\.' and others, such as adapter\.weight"
    ):
        tokens(content, tmp_path)


@pytest.mark.parametrize("entry", ["model_ema", "ema_state_dict", "state_dict_ema", "target_encoder", "network"])
def test_entries_that_hold_the_weights(entry: str, state: State, tmp_path: Path) -> None:
    content = {"epoch": 3, entry: state, "optimizer": {"state": {}}}
    assert torch.equal(tokens(content, tmp_path), tokens(state, tmp_path))


def test_of_several_state_dicts_the_choice_is_named(state: State, tmp_path: Path) -> None:
    averaged = {name: tensor + 0.5 for name, tensor in state.items()}
    content = {"model": state, "model_ema": averaged}
    assert "of the state dicts model and model_ema in the file, model was read (backbone.state)" in notes(
        content, tmp_path
    )
    torch.save(content, tmp_path / "both.pth")
    assert torch.equal(read_checkpoint(tmp_path / "both.pth").state["cls_token"], state["cls_token"])
    chosen = read_checkpoint(tmp_path / "both.pth", "model_ema")
    assert torch.equal(chosen.state["cls_token"], averaged["cls_token"])
    assert chosen.notes == ()
    with pytest.raises(UsageError, match=r"no state dict called 'ema'; .* it has model, model_ema"):
        read_checkpoint(tmp_path / "both.pth", "ema")


@pytest.mark.parametrize("names", [("state", "model"), ("model", "state_dict"), ("checkpoint", "weights", "ema")])
def test_state_dicts_in_nested_tables(names: tuple[str, ...], state: State, tmp_path: Path) -> None:
    content: dict[str, Any] = dict(state)
    for name in reversed(names):
        content = {name: content, "step": 3}
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "model": {"exp_avg": torch.ones(2)}}
    torch.save({**content, "optimizer": optimizer}, tmp_path / "x.pth")
    assert read_checkpoint(tmp_path / "x.pth").state.keys() == state.keys()
    assert read_checkpoint(tmp_path / "x.pth", ".".join(names)).state.keys() == state.keys()


def test_an_unknown_entry_can_be_named(state: State, tmp_path: Path) -> None:
    torch.save({"weights_of_mine": state}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"but has weights_of_mine: name one with backbone\.state"):
        read_checkpoint(tmp_path / "x.pth")
    assert read_checkpoint(tmp_path / "x.pth", "weights_of_mine").state.keys() == state.keys()


def test_weights_that_are_all_zero_are_refused(state: State, tmp_path: Path) -> None:
    zeros = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    with pytest.raises(CheckpointError, match="all weights are zero; name another state dict"):
        tokens({"model": zeros, "model_ema": state}, tmp_path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(protocol: int, state: State, tmp_path: Path) -> None:
    extras = {"args": argparse.Namespace(lr=np.float64(0.1), out=pathlib.PurePosixPath("x")), "epoch": 3}
    assert torch.equal(tokens({"model": state, **extras}, tmp_path, pickle_protocol=protocol), tokens(state, tmp_path))
    torch.save({"model": state, **extras}, tmp_path / "x.pth", pickle_protocol=protocol)
    assert read_checkpoint(tmp_path / "x.pth").extras["args"] == extras["args"]


class Evil:
    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("call", [os.system, eval, getattr], ids=["system", "eval", "getattr"])
def test_no_protocol_runs_code(call: Callable[..., object], protocol: int, state: State, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    arguments: dict[object, tuple[object, ...]] = {
        os.system: (f"touch {marker}",),
        eval: (f"open({str(marker)!r}, 'w')",),
        getattr: ("text", "upper"),
    }
    torch.save({"model": state, "x": Evil(call, *arguments[call])}, tmp_path / "x.pth", pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match="which is refused"):
        read_checkpoint(tmp_path / "x.pth")
    assert not marker.exists()
