"""Folders of torch's distributed checkpoints: whole tensors, and nothing in them is run."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, Metadata, MetadataIndex
from torch.distributed.checkpoint.state_dict_saver import save

from croco_bench.backbones.distributed import read_distributed
from croco_bench.backbones.parts import METADATA
from croco_bench.backbones.weights import read_checkpoint
from croco_bench.errors import CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = {"a.weight": torch.randn(4, 3), "a.bias": torch.randn(4).bfloat16(), "count": torch.tensor(3)}
    content = {"model": model, "optim": {"lr": 0.1, "exp_avg": torch.ones(4, 3)}, "step": 7}
    save(content, checkpoint_id=tmp_path / "step-7")
    return tmp_path / "step-7"


def described(folder: Path) -> Metadata:
    content: Metadata = pickle.loads((folder / METADATA).read_bytes())
    return content


def test_the_weights_are_read(folder: Path) -> None:
    torch.manual_seed(0)
    raw = read_checkpoint(folder)
    assert raw.state.keys() == {"a.weight", "a.bias", "count"}
    assert torch.equal(raw.state["a.weight"], torch.randn(4, 3))
    assert torch.equal(raw.state["a.bias"], torch.randn(4).bfloat16().float())
    assert raw.sha256 is not None


def test_a_tensor_in_two_chunks(folder: Path) -> None:
    """As two processes would write it: each has some rows."""
    content = described(folder)
    whole = read_checkpoint(folder).state["a.weight"]
    plan = content.state_dict_metadata["model.a.weight"]
    chunks = []
    for number, rows in enumerate((whole[:1], whole[1:])):
        offset = torch.Size([0 if number == 0 else 1, 0])
        file = folder / f"__{number + 1}_0.distcp"
        torch.save(rows.clone(), file)
        index = MetadataIndex("model.a.weight", offset, number)
        info = type(next(iter(content.storage_data.values())))(file.name, 0, file.stat().st_size)
        content.storage_data[index] = info
        chunks.append(ChunkStorageMetadata(offset, rows.shape))
    plan.chunks = chunks  # type: ignore[union-attr]
    first = MetadataIndex("model.a.weight", torch.Size([0, 0]), 0)
    assert content.storage_data[first].relative_path == "__1_0.distcp", "the first chunk replaces the whole tensor"
    (folder / METADATA).write_bytes(pickle.dumps(content))
    assert torch.equal(read_checkpoint(folder).state["a.weight"], whole)


def test_a_missing_or_damaged_part(folder: Path) -> None:
    (part,) = folder.glob("*.distcp")
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="step-7 is truncated or damaged"):
        read_checkpoint(folder)
    part.unlink()
    with pytest.raises(CheckpointError, match=r"step-7 lacks __0_0\.distcp, a part of its checkpoint"):
        read_checkpoint(folder)


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_code_is_never_run(folder: Path, tmp_path: Path) -> None:
    (folder / METADATA).write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    with pytest.raises(CheckpointError, match=r"wants to run code on loading, which is refused: posix\.system"):
        read_distributed(folder)
    assert not (tmp_path / "ran").exists()


def test_a_flipped_bit_is_noticed(folder: Path) -> None:
    (part,) = folder.glob("*.distcp")
    content = bytearray(part.read_bytes())
    at = content.index(read_checkpoint(folder).state["a.weight"].numpy().tobytes())
    content[at] ^= 1
    part.write_bytes(content)
    with pytest.raises(CheckpointError, match="step-7 is truncated or damaged"):
        read_checkpoint(folder)
