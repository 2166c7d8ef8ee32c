"""`croco-bench models`: the list, a first look at a checkpoint, and checksums of downloads."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from croco_bench.backbones import load_backbone, zoo
from croco_bench.backbones.download import cached_path, download, recorded_hash
from croco_bench.cli.main import app
from croco_bench.errors import BenchError, DataError, UsageError
from croco_bench.workflows.try_backbone import facts_of, principal_colors, try_backbone


def models(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["models", *words])
    if isinstance(done.exception, BenchError):
        raise done.exception
    return done.exit_code, done.output


def test_the_list_says_what_each_saw() -> None:
    code, text = models()
    assert code == 0 and len(text.splitlines()) >= len(zoo.ENTRIES)
    assert "saw ImageNet-1K;" in text and "saw rendered rooms;" in text and "unknown data" not in text


def test_a_report_has_every_fact_and_a_picture(tmp_path: Path) -> None:
    image = tmp_path / "grey.png"
    Image.fromarray(np.arange(50 * 70, dtype=np.uint8).reshape(50, 70)).save(image)
    code, text = models(
        "--try", "mini-mae", "--image-size", "64x32", "--image", str(image), "--out", str(tmp_path / "p.png")
    )
    assert code == 0
    for expected in (
        "family       mae",
        "64x32 px, patches of 8 px",
        "all 8x4x128",
        "Apache-2.0",
        "rendered rooms",
        "absolute",
    ):
        assert expected in text
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size == (2 * 70 + 4, 50)
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize(
    ("ckpt", "norm"),
    [("mini-mae", "of the checkpoint"), ("random:mini-mae", "initial values"), ("mini-multimae", "none")],
)
def test_the_origin_of_the_last_norm(ckpt: str, norm: str) -> None:
    assert dict(facts_of(load_backbone(ckpt, image_size=64)))["last norm"] == norm


@pytest.mark.slow
def test_without_an_image_it_is_a_room_and_a_pyramid_has_all_its_sizes(tmp_path: Path) -> None:
    text = try_backbone("random:resnet18", (64, 64), None, tmp_path / "p.png")
    assert "16x16x64, 8x8x128, 4x4x256, 2x2x512" in text and "noted        random weights" in text
    assert (tmp_path / "p.png").is_file()


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match="its format, or its kind of pixels, isn't read"):
        try_backbone("mini-mae", (64, 64), tmp_path / "text.png", None)
    with pytest.raises(DataError, match="No such file"):
        try_backbone("mini-mae", (64, 64), tmp_path / "none.png", None)
    for size in ("0", "3x", "axb", "1x2x3"):
        with pytest.raises(UsageError, match="number of pixels"):
            models("--try", "mini-mae", "--image-size", size)


def test_colors_are_the_principal_components() -> None:
    rng = np.random.default_rng(0)
    amount = np.linspace(0, 1, 24).reshape(4, 6, 1)
    colors = principal_colors(amount * rng.normal(size=8) + 1e-6 * rng.normal(size=(4, 6, 8))).astype(float)
    order = colors[..., 0].ravel()
    assert (np.diff(order) >= 0).all() or (np.diff(order) <= 0).all()
    assert principal_colors(np.zeros((2, 2, 1))).shape == (2, 2, 3)


def test_a_download_is_compared_with_what_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROCO_BENCH_CACHE", str(tmp_path / "cache"))
    assert "no checkpoint of the list has been downloaded" in models("--verify")[1]
    (tmp_path / "released.pth").write_bytes(b"weights")
    url = (tmp_path / "released.pth").as_uri()
    entry = zoo.ZooEntry("released", "mae", "one", url, "MIT", "nobody")
    monkeypatch.setattr(zoo, "ENTRIES", (entry,))
    target = download(url)
    known = recorded_hash(target)
    assert known is not None and known in capfd.readouterr().err
    code, text = models("--verify")
    assert code == 0 and f"SHA-256 {known} is that of the download" in text
    cached_path(url).write_bytes(b"other")
    code, text = models("--verify")
    assert code == 1 and text.startswith("BAD") and "isn't that of the download" in text
