"""Files that are no checkpoint, files that want to run code, and fine-tuned weights on their way through a file."""

import argparse
import errno
import json
import os
import pathlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from croco_bench.backbones import load_backbone
from croco_bench.backbones.formats.native import OWN
from croco_bench.backbones.save import read_finetuned, save_finetuned
from croco_bench.backbones.weights import read_checkpoint
from croco_bench.contracts import PairBackbone
from croco_bench.errors import CheckpointError, FitError, RecordError


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def saved(content: object, path: Path, *, legacy: bool = False) -> bytes:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path.read_bytes()


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert path.name in sentence
    return sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"../.git/annex/objects/aa/bb/SHA256E-s3--abc.pth\n", "git-annex pointer"),
        (b"/annex/objects/SHA256E-s3--abc.pth\n", "git-annex pointer"),
        (b"hello", "neither a torch nor a safetensors file"),
        (b"\0" * 100, "neither a torch nor a safetensors file"),
        (b"PK\x03\x04garbage", "truncated or damaged"),
        (b"\x80\x02garbage", "truncated or damaged"),
        (b"\x80\x04\x95", "truncated or damaged"),
        (b"\xff\0\0\0\0\0\0\0{garbage", "truncated or damaged"),
    ],
)
def test_what_is_no_checkpoint(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "given.pth").write_bytes(content)
    assert sentence in refusal(tmp_path / "given.pth")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_files(kind: str, share: float, tmp_path: Path) -> None:
    path, state = tmp_path / "given.pth", {"a": torch.zeros(3000)}
    if kind == "safetensors":
        save_file(state, path)
        whole = path.read_bytes()
    else:
        whole = saved({"model": state}, path, legacy=kind == "legacy")
    assert read_checkpoint(path).state["a"].shape == (3000,)
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "truncated or damaged" in refusal(path)


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
def test_flipped_bytes_never_end_in_a_traceback(legacy: bool, tmp_path: Path) -> None:
    whole = saved(
        {"model": {"a": torch.zeros(3)}, "args": argparse.Namespace(lr=0.1)}, tmp_path / "a.pth", legacy=legacy
    )
    rng = np.random.default_rng(0)
    for _ in range(150):
        bad = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            bad[place] = rng.integers(256)
        (tmp_path / "given.pth").write_bytes(bytes(bad))
        try:
            read_checkpoint(tmp_path / "given.pth")
        except CheckpointError as error:
            assert "\n" not in str(error)  # flips of no consequence load


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_named_and_never_run(legacy: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pth", tmp_path / "marker"
    saved({"model": {"a": torch.zeros(1)}, "x": Evil(marker)}, path, legacy=legacy)
    assert "wants to run code on loading (posix.system)" in refusal(path)
    saved(nn.Linear(2, 2), path, legacy=legacy)
    assert "torch.nn.modules.linear.Linear" in refusal(path)
    assert not marker.exists()


def test_the_allow_list_ends_with_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "given.pth"
    args = argparse.Namespace(
        lr=np.float64(0.1), scale=np.float32(2), steps=np.int64(3), out=pathlib.PurePosixPath("x")
    )
    saved({"model": {"a": torch.zeros(1)}, "args": args}, path)
    assert read_checkpoint(path).extras["args"].lr == 0.1
    with pytest.raises(Exception, match="Namespace"):
        torch.load(path, weights_only=True)


def test_scalars_of_both_numpy_generations(tmp_path: Path) -> None:
    """Files written with numpy 1 name numpy.core, later ones numpy._core."""
    path = tmp_path / "given.pth"
    whole = saved({"model": {"a": torch.zeros(1)}, "best": np.float64(0.5)}, path, legacy=True)
    for name in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        path.write_bytes(whole.replace(b"numpy._core.multiarray", name).replace(b"numpy.core.multiarray", name))
        assert read_checkpoint(path).extras["best"] == 0.5


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1, 2], "of type list"),
        (3, "of type int"),
        ({}, "no tensors"),
        ({"model": None}, "no tensors"),
        ({"optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}}}, "no tensors of a network"),
    ],
)
def test_torch_files_without_weights(content: object, sentence: str, tmp_path: Path) -> None:
    saved(content, tmp_path / "given.pth")
    assert sentence in refusal(tmp_path / "given.pth")


def test_a_prefix_of_some_names_only(tmp_path: Path) -> None:
    saved({"backbone.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "given.pth")
    with pytest.raises(CheckpointError, match=r"some weights begin with 'backbone\.' and others, such as b, don't"):
        load_backbone(tmp_path / "given.pth")


def test_archives_of_other_programs(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    assert "is an archive, but not one of torch.save" in refusal(tmp_path / "arrays.npz")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for name in ("script/data.pkl", "script/constants.pkl", "script/version"):
            archive.writestr(name, b"x")
    assert "is an archive, but not one of torch.save" in refusal(tmp_path / "script.pt")


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "CroCo_V2.pth").write_bytes(b"x")
    assert f"did you mean {tmp_path / 'CroCo_V2.pth'}?" in refusal(tmp_path / "CroCo_v2.pth")
    assert "check the path" in refusal(tmp_path / "nowhere" / "x.pth")
    (tmp_path / "empty").mkdir()
    assert "is a folder" in refusal(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="can't be read: File name too long"):
        load_backbone(tmp_path / ("x" * 300 + ".pth"))


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "given.pth"
    path.write_bytes(b"x")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "can't be read: Permission denied" in refusal(path)


SOURCES: list[tuple[str, tuple[int, int]]] = [
    ("random:mini-croco", (64, 96)),
    ("random:mini-mae", (96, 64)),
    ("random:mini-multimae", (64, 64)),
    ("random:vit_tiny_patch16_224", (64, 96)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("ckpt", "size"), SOURCES)
def test_fine_tuned_weights_survive_a_file(ckpt: str, size: tuple[int, int], tmp_path: Path) -> None:
    backbone, head = load_backbone(ckpt, image_size=size), nn.Linear(3, 2)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    path = tmp_path / "weights.safetensors"
    save_finetuned(path, backbone, head, {"task": "nyuv2-depth", "task_state": json.dumps({"mean": 2.5})})
    again, images = load_backbone(path, image_size=size), torch.randn(1, 3, *size)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(backbone.encode(images), again.encode(images), strict=True))
        if isinstance(backbone, PairBackbone) and isinstance(again, PairBackbone):
            pairs = zip(backbone.encode_pair(images, images), again.encode_pair(images, images), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
    assert (again.family, again.mean, again.std) == (backbone.family, backbone.mean, backbone.std)
    assert again.origin.format == OWN
    assert again.origin.notes[0] == f"fine-tuned on nyuv2-depth from {ckpt}"
    found = read_finetuned(path)
    assert found is not None
    assert found.metadata["task_state"] == {"mean": 2.5} or json.loads(found.metadata["task_state"]) == {"mean": 2.5}
    assert all(torch.equal(found.head[name], tensor) for name, tensor in head.state_dict().items())


def test_a_dropped_decoder_stays_dropped(tmp_path: Path) -> None:
    backbone = load_backbone("random:mini-croco", image_size=64)
    backbone.drop_decoder()
    save_finetuned(tmp_path / "w.safetensors", backbone, nn.Linear(1, 1), {})
    assert not load_backbone(tmp_path / "w.safetensors", image_size=64).binocular


def test_heads_may_share_tensors(tmp_path: Path) -> None:
    head = nn.ModuleList([nn.Linear(2, 2)])
    head.append(head[0])
    save_finetuned(tmp_path / "w.safetensors", load_backbone("random:mini-mae", image_size=64), head, {})
    found = read_finetuned(tmp_path / "w.safetensors")
    assert found is not None
    assert torch.equal(found.head["0.weight"], found.head["1.weight"])


def test_the_head_of_a_croco_flow_file_is_reachable(tmp_path: Path) -> None:
    shared = torch.ones(2, 2)
    model = {
        "enc_blocks.0.norm1.weight": torch.ones(3),
        "head.dpt.act_1_postprocess.0.weight": shared,
        "head.dpt.act_postprocess.0.0.weight": shared,
    }
    saved({"model": model}, tmp_path / "flow.pth")
    found = read_finetuned(tmp_path / "flow.pth")
    assert found is not None
    assert found.format == "CroCo fine-tuned"
    assert set(found.head) == {"dpt.act_1_postprocess.0.weight", "dpt.act_postprocess.0.0.weight"}


def test_other_files_hold_no_fine_tuned_head(tmp_path: Path) -> None:
    saved({"model": {"enc_blocks.0.norm1.weight": torch.ones(3)}}, tmp_path / "x.pth")
    assert read_finetuned(tmp_path / "x.pth") is None


def damaged_description(metadata: dict[str, str]) -> None:
    metadata["architecture"] = '{"family": "croco"}'


def no_origin(metadata: dict[str, str]) -> None:
    del metadata["origin"]


@pytest.mark.parametrize("damage", [damaged_description, no_origin])
def test_damaged_descriptions(damage: Callable[[dict[str, str]], None], tmp_path: Path) -> None:
    backbone, path = load_backbone("random:mini-mae", image_size=64), tmp_path / "w.safetensors"
    save_finetuned(path, backbone, nn.Linear(1, 1), {})
    metadata = {"format": OWN, **backbone.metadata()}
    damage(metadata)
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(CheckpointError, match="the description of the network is damaged"):
        load_backbone(path, image_size=64)


def test_missing_and_foreign_weights_of_a_fine_tuned_file(tmp_path: Path) -> None:
    backbone, path = load_backbone("random:mini-mae", image_size=64), tmp_path / "w.safetensors"
    save_finetuned(path, backbone, nn.Linear(1, 1), {})
    tensors = load_file(path)
    del tensors["backbone.blocks.3.norm1.weight"]
    tensors["backbone.extra"] = torch.zeros(1)
    save_file(tensors, path, metadata={"format": OWN, **backbone.metadata()})
    with pytest.raises(CheckpointError, match=r"lacks blocks\.3\.norm1\.weight, has an unexpected extra"):
        load_backbone(path, image_size=64)


def test_timm_networks_keep_the_size_of_fine_tuning(tmp_path: Path) -> None:
    backbone = load_backbone("random:vit_tiny_patch16_224", image_size=64)
    save_finetuned(tmp_path / "w.safetensors", backbone, nn.Linear(1, 1), {})
    with pytest.raises(FitError, match=r"use image_size=\(64, 64\)"):
        load_backbone(tmp_path / "w.safetensors", image_size=96)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, path = load_backbone("random:mini-mae", image_size=64), tmp_path / "w.safetensors"
    path.write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("croco_bench.backbones.save.save_file", full)
    with pytest.raises(RecordError, match="No space left"):
        save_finetuned(path, backbone, nn.Linear(1, 1), {})
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["w.safetensors"]  # noqa: PTH208
