"""`data check`: samples as pictures, unusual values, and an exit code that says whether a run would fail."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer.testing
from PIL import Image

from croco_bench.cli.main import app
from croco_bench.data.catalogue import dataset_info
from croco_bench.data.checks.pictures import caption_of, panels_of
from croco_bench.data.folders import MARKER
from croco_bench.data.formats.flow import read_flo, write_flo
from croco_bench.data.formats.images import read_gray, write_image
from croco_bench.data.miniatures.make import MINIATURES

IMAGE = np.full((8, 10, 3), 90, dtype=np.uint8)


def check(*words: str) -> tuple[int, str]:
    done = typer.testing.CliRunner().invoke(app, ["data", "check", *words])
    return done.exit_code, done.output


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_every_miniature_shows_its_samples(name: str, tiny_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    code, said = check(name, "--data-root", str(tiny_data), "--samples", "1", "--out", str(out))
    assert code == 0, said
    with Image.open(out) as sheet:
        rows = json.loads(sheet.info["rows"])
    assert f"wrote {out}: {len(rows)} samples" in said and rows
    readers = [finding.reader for finding in dataset_info(name).check(tiny_data / name) if finding.reader]
    titles = {title for reader in readers for title in panels_of(reader[0])}
    assert any(title.startswith(("image", "clean")) for title in titles)


def test_a_folder_without_any_sample_says_so(tmp_path: Path) -> None:
    (tmp_path / "nyuv2").mkdir()
    code, said = check("nyuv2", "--data-root", str(tmp_path), "--out", str(tmp_path / "x.png"))
    assert code == 1 and "BAD" in said and not (tmp_path / "x.png").exists()


def test_targets_are_shown_in_colors() -> None:
    valid = np.ones((8, 10), dtype=bool)
    valid[0] = False
    depth = np.linspace(1, 4, 80, dtype=np.float32).reshape(8, 10)
    shown = panels_of({"image": IMAGE, "depth_m": depth, "valid": valid})
    assert list(shown) == ["image", "depth, m: 1.43 to 3.95", "valid: 88%"]
    assert (shown["depth, m: 1.43 to 3.95"][0] == 96).all() and all(one.shape == IMAGE.shape for one in shown.values())
    classes = panels_of({"image": IMAGE, "label": np.where(valid, 7, 255).astype(np.uint8)})
    assert list(classes) == ["image", "classes 7"] and (classes["classes 7"][0] == 96).all()
    flow = panels_of({"image1": IMAGE, "image2": IMAGE, "flow_px": np.ones((8, 10, 2), np.float32), "valid": valid})
    assert (flow["flow, right red, down green"][1] == [255, 255, 128]).all()
    assert len(panels_of({"image": IMAGE, "target": np.ones((8, 10, 3), np.float32), "valid": valid})) == 3


def test_captions_tell_what_no_picture_shows() -> None:
    turned = np.eye(4)
    turned[:2, :2], turned[0, 3] = [[0, -1], [1, 0]], 0.5
    assert caption_of({"id": "a b", "relative": turned[None]}) == "a b  0.50 m, 90 deg"
    assert caption_of({"id": "x", "label": 3}) == "x  class 3"


def test_a_part_of_a_release_is_no_failure(tiny_data: Path, tmp_path: Path) -> None:
    for name in ("ade20k", "7scenes", "habitat_release"):
        root = Path(shutil.copytree(tiny_data / name, tmp_path / name))
        (root / MARKER).unlink()
        code, said = check(name, "--data-root", str(tmp_path))
        assert code == 0 and "but " in said and "BAD" not in said, said


def test_what_a_run_refuses_is_bad(tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_data / "taskonomy", tmp_path / "taskonomy")
    for path in (tmp_path / "taskonomy/depth_zbuffer").rglob("*.png"):
        write_image(path, (read_gray(path, np.uint16) / 100).astype(np.uint16))
    code, said = check("taskonomy", "--data-root", str(tmp_path))
    assert code == 1 and "BAD taskonomy: target of" in said and "--set data.unusual=note" in said
    shutil.copytree(tiny_data / "flyingchairs", tmp_path / "flyingchairs")
    for path in (tmp_path / "flyingchairs").rglob("*.flo"):
        write_flo(path, -read_flo(path)[0])
    code, said = check("flyingchairs", "--data-root", str(tmp_path))
    assert code == 1 and "BAD flyingchairs: the truth of the pairs" in said
