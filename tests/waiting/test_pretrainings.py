"""No step of a pre-training waits for the device."""

from pathlib import Path

import pytest

from croco_bench.pretraining.pretrain import pretrain
from croco_bench.pretraining.train import Pretrainer
from tests.waiting.waits import treat_as_gpu, waits_of

SMALL = [
    "model.width=32",
    "model.depth=2",
    "model.heads=2",
    "data.holdout=0",
    "train.image_size=32",
    "train.batch_size=4",
    "train.steps=5",
    "optim.warmup=1",
    "optim.clip_grad=1",
]
OF_PAIRS = ["model.decoder_width=32", "model.decoder_depth=1", "model.decoder_heads=2", "data.resize=36"]
OF_MODALITIES = ["multimae.visible=8", "multimae.decoder_heads=2", "multimae.decoder_width=32"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "changes", [["train.ema=0.9"], ["decoder=cat", "train.accumulate=2"], ["objective=mae"], ["objective=multimae"]]
)
def test_no_step_of_a_pretraining_waits(
    changes: list[str], precision: str, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    treat_as_gpu(monkeypatch)
    found: list[list[str]] = []

    def five_steps(self: Pretrainer) -> None:
        found.extend(waits_of(self, monkeypatch))
        self.scores = {}

    monkeypatch.setattr(Pretrainer, "train", five_steps)
    own = OF_MODALITIES if "objective=multimae" in changes else OF_PAIRS
    made = [*SMALL, *own, f"train.precision={precision}", *changes]
    pretrain("mini", tmp_path / "net", data_root=tiny_data, changes=made, device="cpu")
    # torch counts the updates of a running average in a tensor that stays on the host.
    assert found == [["_local_scalar_dense"] * 2 if "train.ema=0.9" in changes else []] * 5
