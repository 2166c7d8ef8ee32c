"""The project's chores. All sessions but `lowest` share one environment: torch is large."""

import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "docs", "tests", "smoke"]
nox.options.default_venv_backend = "none"

HOME = Path(os.environ.get("CROCO_BENCH_VENV", Path(".nox") / "shared")).absolute()
LOWEST = Path(".nox").absolute() / "lowest-versions"
AUDIT = Path(".nox").absolute() / "audit"


def prepare(session: nox.Session) -> None:
    """Makes the shared environment, or brings it up to date with pyproject.toml."""
    stamp = HOME / "installed"
    wanted = Path("pyproject.toml").read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    if not bin_of(HOME).is_dir():
        session.run(sys.executable, "-m", "venv", str(HOME), external=True)
    run(session, "python", "-m", "pip", "install", "--editable", ".[dev,docs]")
    stamp.write_text(wanted, encoding="utf-8")


def bin_of(environment: Path) -> Path:
    return environment / ("Scripts" if os.name == "nt" else "bin")


def run(session: nox.Session, command: str, *arguments: str, environment: Path = HOME) -> None:
    session.run(str(bin_of(environment) / command), *arguments, external=True)


def pytest(session: nox.Session, environment: Path = HOME) -> None:
    """All tests, one process per core with one thread each; what is given after `--` comes last."""
    session.env["OMP_NUM_THREADS"] = "1"
    run(session, "python", "-m", "pytest", "-n", "logical", *session.posargs, environment=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, codespell and mypy."""
    prepare(session)
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")
    run(session, "codespell")
    run(session, "mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """The site, in `site/`; warnings are errors."""
    prepare(session)
    run(session, "mkdocs", "build", "--strict")


@nox.session
def tests(session: nox.Session) -> None:
    """pytest."""
    prepare(session)
    pytest(session)


@nox.session
def browser(session: nox.Session) -> None:
    """The page of all results in a browser, which must be there: Chromium, or Chrome."""
    prepare(session)
    run(session, "python", "-m", "pip", "install", "--editable", ".[browser]")
    run(session, "python", "-m", "pytest", "tests/report/in_browser.py", *session.posargs)


@nox.session
def smoke(session: nox.Session) -> None:
    """Every task on tiny subsets."""
    prepare(session)
    run(session, "croco-bench", "smoke", "--reference", "results", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Damaged inputs of all readers, 5,000 by default; `-- --inputs N --seed K --only NAME` changes that."""
    prepare(session)
    session.env["OMP_NUM_THREADS"] = "1"
    run(session, "python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def lowest(session: nox.Session) -> None:
    """pytest on the lowest versions that pyproject.toml allows, in an environment of its own."""
    if not bin_of(LOWEST).is_dir():
        session.run(sys.executable, "-m", "venv", str(LOWEST), external=True)
        run(session, "python", "-m", "pip", "install", "uv", environment=LOWEST)
    python = str(bin_of(LOWEST) / "python")
    install = ["--python", python, "--resolution", "lowest-direct", "--only-binary", ":all:", "--editable", ".[dev]"]
    run(session, "uv", "pip", "install", *install, environment=LOWEST)
    pytest(session, LOWEST)


@nox.session
def faults(session: nox.Session) -> None:
    """Crash tests: commands killed, disks filled, processes at once; every end must equal an undisturbed one."""
    prepare(session)
    run(session, "python", "-m", "benchmarks.faults", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Times of steps, evaluations and loaders beside the device's rates; `-- --device cuda --out FILE.json`."""
    prepare(session)
    run(session, "python", "-m", "benchmarks.bench", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of what the shared environment holds; needs a connection to PyPI."""
    prepare(session)
    if not bin_of(AUDIT).is_dir():
        session.run(sys.executable, "-m", "venv", str(AUDIT), external=True)
        run(session, "python", "-m", "pip", "install", "pip-audit", environment=AUDIT)
    python = str(bin_of(HOME) / "python")
    installed = session.run(python, "-m", "pip", "freeze", "--exclude-editable", external=True, silent=True)
    listing = AUDIT / "installed.txt"
    listing.write_text(str(installed), encoding="utf-8")
    # Strict: a package that couldn't be looked up is no good news.
    options = ["--strict", "--no-deps", "--disable-pip", "--requirement", str(listing)]
    run(session, "pip-audit", *options, environment=AUDIT)


@nox.session
def demo(session: nox.Session) -> None:
    """The whole story on the miniature."""
    prepare(session)
    run(session, "croco-bench", "demo", "--no-open", *session.posargs)
