"""Checkpoints in several files, folders, and files of other programs."""

import gzip
import json
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from croco_bench.backbones.weights import read_checkpoint
from croco_bench.errors import CheckpointError, UsageError

PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(3, 4) for name in ("a", "b", "c")}


def write_parts(state: dict[str, Tensor], folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """The files that transformers writes for large networks."""
    names = sorted(state)
    parts = {PARTS[0]: names[:1], PARTS[1]: names[1:]}
    for part, own in parts.items():
        save_file({name: state[name].to(dtype) for name in own}, folder / part, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 0}, "weight_map": {name: part for part, own in parts.items() for name in own}}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index, indent=2), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_index_and_its_folder_are_the_whole(dtype: torch.dtype, state: dict[str, Tensor], tmp_path: Path) -> None:
    index = write_parts(state, tmp_path, dtype)
    raw = read_checkpoint(index)
    assert {name: tensor.dtype for name, tensor in raw.state.items()} == dict.fromkeys(state, torch.float32)
    assert all(torch.equal(raw.state[name], state[name].to(dtype).float()) for name in state)
    assert read_checkpoint(tmp_path).sha256 == raw.sha256
    save_file({"a": state["a"] + 1}, tmp_path / PARTS[0])
    assert read_checkpoint(index).sha256 != raw.sha256, "the hash covers all parts"


def test_parts_of_torch_s_own_format(state: dict[str, Tensor], tmp_path: Path) -> None:
    for name in state:
        torch.save({name: state[name]}, tmp_path / f"{name}.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {name: f"{name}.bin" for name in state}}), encoding="utf-8")
    assert read_checkpoint(tmp_path).state.keys() == state.keys()


def test_one_part_alone_is_named_as_such(state: dict[str, Tensor], tmp_path: Path) -> None:
    index = write_parts(state, tmp_path)
    sentence = refusal(tmp_path / PARTS[0])
    assert "is one of 2 parts of a checkpoint; give model.safetensors.index.json in its folder" in sentence
    (tmp_path / PARTS[1]).unlink()
    assert f"names 2 parts, of which {PARTS[1]} is missing" in refusal(index)
    save_file(state, tmp_path / "model-00001-of-00001.safetensors")
    assert read_checkpoint(tmp_path / "model-00001-of-00001.safetensors").state.keys() == state.keys()


@pytest.mark.parametrize("text", ["{}", "{", '{"weight_map": 3}', '{"weight_map": ["a"]}', '{"a": {"weight_map": {}}}'])
def test_other_json_is_no_index(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    assert "neither a torch nor a safetensors file, nor an index" in refusal(tmp_path / "x.json")


@pytest.mark.parametrize("name", ["../net.pth", "/net.pth", "sub/net.pth"])
def test_an_index_reads_files_of_its_folder_only(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"weight_map": {"a": name}}), encoding="utf-8")
    assert "isn't a file beside it" in refusal(tmp_path / "x.json")


def test_a_folder_with_one_file_is_that_file(state: dict[str, Tensor], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x", encoding="utf-8")
    assert "is a folder, not a checkpoint, and none lies in it" in refusal(tmp_path)
    torch.save(state, tmp_path / "step-3.ckpt")
    assert read_checkpoint(tmp_path).source == str(tmp_path / "step-3.ckpt")
    torch.save(state, tmp_path / "step-6.ckpt")
    assert "has several: step-3.ckpt, step-6.ckpt; name one of them" in refusal(tmp_path)


def test_safetensors_whose_header_begins_like_json(tmp_path: Path) -> None:
    """The first byte of a header of 123 bytes is an opening brace."""
    for padding in range(1, 130):
        save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors", metadata={"k": "x" * padding})
        if (tmp_path / "x.safetensors").read_bytes()[:1] == b"{":
            break
    raw = read_checkpoint(tmp_path / "x.safetensors")
    assert raw.state.keys() == {"a"}
    with pytest.raises(UsageError, match="one state dict only"):
        read_checkpoint(tmp_path / "x.safetensors", "model")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras writes"),
        (gzip.compress(b"x", mtime=0), "is compressed with gzip; unpack it"),
        (b"\x93NUMPY\x01\0", "is an array of numpy"),
        (b"GGUF\3\0\0\0", "is a GGUF file"),
    ],
)
def test_files_of_other_programs(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "given.pth").write_bytes(content)
    assert sentence in refusal(tmp_path / "given.pth")


def test_tar_archives(tmp_path: Path) -> None:
    (tmp_path / "pickle").write_bytes(b"x")
    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        archive.add(tmp_path / "pickle", "pickle")
    assert "is a tar archive; unpack it. If torch before 0.1.10 wrote it" in refusal(tmp_path / "old.pth")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_programs_are_refused_with_a_way_out(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    torch.export.save(torch.export.export(module, (torch.zeros(1, 2),)), tmp_path / "x.pt2")
    assert "is a program of torch.export, which holds code; where you trust it" in refusal(tmp_path / "x.pt2")
    torch.jit.trace(module, torch.zeros(1, 2)).save(tmp_path / "x.pt")  # type: ignore[no-untyped-call]
    assert "is a TorchScript program, which holds code; where you trust it" in refusal(tmp_path / "x.pt")


def test_one_number_repeated_at_will_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"model": {"a.weight": torch.ones(1).expand(10**6, 10**5)}}, path)
    with pytest.raises(
        CheckpointError, match="its tensors have 400,000,000,000 bytes, but share 4; save contiguous copies"
    ):
        read_checkpoint(path)
    tied = torch.ones(300, 300)
    torch.save({"model": {f"{i}.weight": tied for i in range(4)} | {"ids": torch.arange(9).expand(5, 9)}}, path)
    assert len(read_checkpoint(path).state) == 5
