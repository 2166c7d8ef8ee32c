"""The template is a distribution of its own: installed, everything that it adds is listed, checked, run and smoke-tested."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed template, and beside it a distribution that can't be imported."""
    base = tmp_path_factory.mktemp("template")
    copy = shutil.copytree(
        ROOT / "template", base / "copy", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    )
    site = base / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--disable-pip-version-check", "--target", str(site), str(copy)], check=True)
    broken = site / "broken_pack-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-pack\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_text(
        "".join(f"[croco_bench.{group}]\npack = not_there:CARDS\n" for group in ("tasks", "datasets", "backbones"))
    )
    return site


def python(folder: Path, *words: str, paths: tuple[Path, ...]) -> subprocess.CompletedProcess[str]:
    """Runs Python in `folder` with further places to import from."""
    own = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "CROCO_BENCH_CACHE": str(folder / "cache")}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env={**os.environ, **own}, capture_output=True, text=True, check=False)


def bench(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs croco-bench beside the installed template."""
    return python(folder, "-m", "croco_bench", *words, paths=(installed, ROOT))


@pytest.mark.slow
@pytest.mark.processes
def test_everything_is_listed_and_what_is_broken_is_reported_once(installed: Path, tmp_path: Path) -> None:
    for words, expected in (
        (("tasks",), "count-shapes"),
        (("models",), "shapes-mixer"),
        (("data", "list"), "shapes: Shapes: images with one to three discs"),
    ):
        done = bench(installed, tmp_path, *words)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
        assert done.stderr.count("broken-pack (not_there:CARDS) are left out") == 1, done.stderr


@pytest.mark.slow
@pytest.mark.processes
def test_its_data_are_made_checked_and_run(installed: Path, tmp_path: Path) -> None:
    where = ("--data-root", "mini")
    for words in (
        ("data", "make-mini", "mini", "--only", "shapes", "--set", "shapes.train=6", "--set", "shapes.test=3"),
        ("data", "check", "shapes", *where),
        ("run", "count-shapes", "--ckpt", "shapes-mixer", "--recipe", "smoke", *where),
        ("run", "count-shapes", "--ckpt", "mini-mae", "--recipe", "smoke", "--set", "head=token-mlp", *where),
        (
            *("run", "count-shapes", "--eval-only", "--recipe", "smoke", "--name", "again", *where),
            *("--ckpt", "results/smoke/count-shapes/shapes-mixer/seed0/weights.safetensors"),
        ),
        (
            *("pretrain", "--recipe", "mini", "--objective", "blurred", "--pairs", "rooms", "--out", "runs/blurred"),
            *(
                "--set",
                "own.radius=2",
                "--set",
                "train.steps=2",
                "--set",
                "train.batch_size=2",
                "--set",
                "train.workers=0",
            ),
            *("--set", "train.check_every=2", "--set", "optim.warmup=0"),
        ),
        ("models", "--try", "runs/blurred/checkpoint-last.pth", "--image-size", "64"),
        ("table", "--format", "markdown"),
    ):
        done = bench(installed, tmp_path, *words)
        assert done.returncode == 0, done.stderr
    assert "count-shapes" in done.stdout and "shapes-mixer" in done.stdout


@pytest.mark.slow
@pytest.mark.processes
def test_weights_without_the_distribution_are_refused_with_its_name(installed: Path, tmp_path: Path) -> None:
    assert bench(installed, tmp_path, "data", "make-mini", "mini", "--only", "shapes").returncode == 0
    words = ("run", "count-shapes", "--ckpt", "shapes-mixer", "--recipe", "smoke", "--data-root", "mini")
    assert bench(installed, tmp_path, *words).returncode == 0
    weights = "results/smoke/count-shapes/shapes-mixer/seed0/weights.safetensors"
    code = f"from croco_bench import load_backbone; load_backbone({weights!r}, image_size=32)"
    refused = python(tmp_path, "-c", code, paths=(ROOT,))
    assert "'shapes-mixer', a backbone that no installed distribution announces" in refused.stderr


@pytest.mark.slow
@pytest.mark.processes
def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "template" / "tests.py"))
    done = python(tmp_path, *words, paths=(installed, ROOT))
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.slow
@pytest.mark.processes
def test_a_smoke_run_has_its_task_and_its_backbone(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from croco_bench import registry; from croco_bench.workflows.smoke import smoke;"
        "entries = registry.tasks()._entries; [entries.pop(name) for name in [*entries] if name != 'count-shapes'];"
        "sys.exit(not smoke(device='cpu'))"
    )
    done = python(tmp_path, "-c", code, paths=(installed, ROOT))
    assert done.returncode == 0, done.stderr
    assert "passed  count-shapes random-mae-file" in done.stderr and "passed  backbone shapes-mixer" in done.stderr
