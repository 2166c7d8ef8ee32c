"""The project's chores. All sessions share one environment: torch is large."""

import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "tests", "smoke"]
nox.options.default_venv_backend = "none"

HOME = Path(os.environ.get("CROCO_BENCH_VENV", Path(".nox") / "shared")).absolute()
BIN = HOME / ("Scripts" if os.name == "nt" else "bin")


def prepare(session: nox.Session) -> None:
    """Makes the shared environment, or brings it up to date with pyproject.toml."""
    stamp = HOME / "installed"
    wanted = Path("pyproject.toml").read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    if not BIN.is_dir():
        session.run(sys.executable, "-m", "venv", str(HOME), external=True)
    run(session, "python", "-m", "pip", "install", "--editable", ".[dev]")
    stamp.write_text(wanted, encoding="utf-8")


def run(session: nox.Session, command: str, *arguments: str) -> None:
    session.run(str(BIN / command), *arguments, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """pytest."""
    prepare(session)
    run(session, "python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff and mypy."""
    prepare(session)
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")
    run(session, "mypy")


@nox.session
def smoke(session: nox.Session) -> None:
    """Every task on tiny subsets."""
    prepare(session)
    run(session, "croco-bench", "smoke", "--reference", "results", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The whole story on the miniature."""
    prepare(session)
    run(session, "croco-bench", "demo", "--no-open", *session.posargs)
