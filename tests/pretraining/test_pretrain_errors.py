"""Pre-trainings that fail: one sentence each, and nothing half-done is left."""

from collections.abc import Callable
from pathlib import Path

import pytest

from croco_bench.engine.training_log import RunLog
from croco_bench.errors import DivergedError, FitError, RecordError, UsageError

Say = Callable[..., str]
Tiny = Callable[..., Path]
Words = Callable[..., list[str]]


def test_a_log_that_cant_be_written_is_one_sentence(
    tiny: Tiny, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunLog, "add", full)
    with pytest.raises(RecordError, match="can't write the log: No space left on device; free space"):
        tiny(tiny_data, tmp_path)


def test_a_loss_that_is_not_finite_is_one_sentence(tiny: Tiny, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="lower the learning rate"):
        tiny(tiny_data, tmp_path / "net", "optim.blr=1e30", "train.steps=30")


def test_weights_that_the_last_step_spoilt_are_not_handed_on(tiny: Tiny, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"held-out error is nan after step 2"):
        tiny(tiny_data, tmp_path / "net", "optim.blr=1e30", "train.steps=2", "optim.warmup=1")
    assert not [path for path in (tmp_path / "net").iterdir() if path.suffix in (".pth", ".safetensors")]


def test_networks_that_their_files_cant_hold_are_refused_at_once(tiny: Tiny, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(FitError, match="square"):
        tiny(tiny_data, tmp_path / "net", "objective=mae", "train.image_size=[16,32]")
    with pytest.raises(UsageError, match="rotary"):
        tiny(tiny_data, tmp_path / "net", "model.positions=cosine")
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("ratio", ["nan", "inf", "-inf", "-0.5", "0.01", "1.0"])
def test_ratios_that_hide_all_or_nothing(tiny: Tiny, ratio: str, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leaves both kinds"):
        tiny(tiny_data, tmp_path / "net", f"croco.mask_ratio={ratio}")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("nowhere", "there is no"),
        ("empty", "holds neither pairs.txt"),
        ("blank.txt", "lists no pairs"),
        ("bad.txt", "doesn't hold a pair"),
        ("gone.txt", "there is no readable"),
        ("cut.txt", "can't be decoded"),
        ("half.txt", "can't be decoded"),
        ("whole.jpeg", "doesn't hold a pair"),
    ],
)
def test_wrong_pairs_are_one_sentence(
    words: Words, pairs: str, message: str, tiny_data: Path, tmp_path: Path, complaint: Say
) -> None:
    (tmp_path / "empty").mkdir()
    image = next((tiny_data / "habitat_release").rglob("*_1.jpeg")).read_bytes()
    for name, share in (("cut", 0.2), ("half", 0.5), ("whole", 1.0)):
        (tmp_path / f"{name}.jpeg").write_bytes(image[: int(share * len(image))])
        (tmp_path / f"{name}.txt").write_text(f"{name}.jpeg {name}.jpeg\n" * 9)
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "bad.txt").write_text("one.jpeg\n" * 9)
    (tmp_path / "gone.txt").write_text("one.jpeg two.jpeg\n" * 9)
    command = words(tiny_data, tmp_path / "net", "data.holdout=0", "train.batch_size=1")
    line = complaint([*command, "--pairs", str(tmp_path / pairs)])
    assert line.startswith("1 croco-bench: ")
    assert message in line


def test_a_folder_that_cant_be_made_is_one_sentence(
    words: Words, tiny_data: Path, tmp_path: Path, complaint: Say
) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "net"):
        assert complaint(words(tiny_data, out)).startswith(f"1 croco-bench: can't make the folder {out}: ")


def test_wrong_words_are_exit_code_two(words: Words, tiny_data: Path, tmp_path: Path, complaint: Say) -> None:
    assert complaint(words(tiny_data, tmp_path, "train.batch_size=5000")).startswith(
        "2 croco-bench: the training split"
    )
    assert complaint(words(tiny_data, tmp_path, "optim.warmup=6")).startswith("2 croco-bench: warm-up takes 6 of 6")
    assert complaint(words(tiny_data, tmp_path, "optim.warmup=200", "train.steps=20")).endswith(
        "warm-up takes 200 of 20 steps; --set optim.warmup=2 fits, or train longer"
    )
    assert complaint(["pretrain", "--recipe", "minny", "--out", str(tmp_path)]).endswith("did you mean mini?")
