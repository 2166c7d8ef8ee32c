"""What documents and docstrings name in code font exists: paths, modules, identifiers, commands, options, settings."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer.main

from croco_bench import registry
from croco_bench.backbones.networks.facts import BackboneFacts
from croco_bench.cli.main import app
from croco_bench.config import recipe
from croco_bench.data.miniatures.make import MINIATURES
from croco_bench.pretraining import recipe as pretraining
from croco_bench.pretraining.completion import CrossViewCompletion
from croco_bench.pretraining.masked import MaskedAutoencoder
from croco_bench.pretraining.multimodal import MultimodalAutoencoder
from croco_bench.records.schema import Result

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "results/README.md"]
SOURCES = [path for folder in ("croco_bench", "tasks", "heads") for path in (ROOT / folder).rglob("*.py")]
RECIPES = [path for folder in ("croco_bench", "tasks", "results/published") for path in (ROOT / folder).rglob("*.toml")]

# Groups of entry points, which the template uses all of.
GROUPS = tomllib.loads((ROOT / "template/pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
# Words in code font that aren't this project's: files of datasets, settings of other code, programs.
FOREIGN = {"electro_3", "electro_3s", "kitchen_0028", "kitchen_0028b", "nbstripout", "pdflatex", "scancel", "warmup_lr"}
# Made at run time from a prefix or suffix and a name.
COMPOSED = re.compile(r"\w+_noc|\w+_pooled|\w+_masked|(recall|pck)\d+\w*")

WORD = re.compile(r"[^\W\d]\w*")
FENCE = re.compile(r"^```.*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            first = node.body[0]
            assert isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            yield first.value


def texts() -> Iterator[tuple[str, str]]:
    """(where, prose) of every page and docstring; fenced blocks are left out."""
    for path in PAGES:
        yield path.name, FENCE.sub("", path.read_text(encoding="utf-8"))
    for path in SOURCES:
        for docstring in docstrings(ast.parse(path.read_text(encoding="utf-8"))):
            yield f"{path.relative_to(ROOT)}:{docstring.lineno}", str(docstring.value)


def code_spans() -> list[tuple[str, str]]:
    return [
        (where, " ".join(span.split())) for where, text in texts() for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)
    ]


SPANS = code_spans()


def vocabulary() -> set[str]:
    """Every identifier and every word of a string in the package, docstrings apart, and every word of its TOML files."""
    found: set[str] = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for docstring in docstrings(tree):
            docstring.value = ""
        found |= set(WORD.findall(ast.unparse(tree))) | {path.stem, path.parent.name}
    for path in [*RECIPES, ROOT / "pyproject.toml", ROOT / "noxfile.py"]:
        found |= {*WORD.findall(path.read_text(encoding="utf-8")), path.stem}
    return found


def classes() -> dict[str, list[ast.ClassDef]]:
    found: dict[str, list[ast.ClassDef]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


def test_paths_exist() -> None:
    """Paths into the project's folders; `<name>`, `*` and `{a,b}` stand for anything."""
    inside = re.compile(r"(croco_bench|tasks|heads|tests|docs|benchmarks|examples|results/published)/[^ `]*")
    for where, span in SPANS:
        if inside.fullmatch(span):
            pattern = re.sub(r"<[^>]*>|\{[^}]*\}", "*", span).rstrip("/")
            assert list(ROOT.glob(pattern)), f"{where}: there is no {span}"


def test_modules_and_public_names_exist() -> None:
    for where, span in SPANS:
        if re.fullmatch(r"croco_bench(\.\w+)+", span) and span not in GROUPS:
            parent, _, name = span.rpartition(".")
            try:
                thing = getattr(import_module(parent), name, None) or import_module(span)
            except ImportError:
                outer, _, owner = parent.rpartition(".")
                thing = getattr(getattr(import_module(outer), owner), name, None)
            assert thing is not None, f"{where}: there is no {span}"


@pytest.mark.slow
def test_identifiers_exist() -> None:
    """Each word of a name such as `encode_pair`, `train.steps` or `Head.forward` occurs in code or in a recipe."""
    known, files = vocabulary() | FOREIGN, {path.name for path in PAGES} | {path.name for path in ROOT.glob("*.*")}
    for where, span in SPANS:
        if re.fullmatch(r"\w+(\.\w+)*(\(\))?", span) and span not in files:
            missing = [word for word in WORD.findall(span) if word not in known and not COMPOSED.fullmatch(word)]
            assert not missing, f"{where}: nothing is called {missing[0]} (`{span}`)"


@pytest.mark.slow
def test_members_belong_to_their_class_or_module() -> None:
    """`Head.forward`: a class of the package has that member; `heads.Thing`: a module of that name has the class."""
    known, modules = classes(), {path.stem: path for path in SOURCES}
    for where, span in SPANS:
        if not (match := re.fullmatch(r"(\w+)\.(\w+)(\(\))?", span)):
            continue
        owner, member = match[1], match[2]
        if owner in known:
            assert any(_has(node, member, known) for node in known[owner]), f"{where}: {owner} has no {member}"
        elif owner in modules and re.match("[A-Z][a-z]", member):
            assert member in known, f"{where}: there is no class {member}"


def _has(node: ast.ClassDef, member: str, known: dict[str, list[ast.ClassDef]]) -> bool:
    for inner in ast.walk(node):
        match inner:
            case ast.FunctionDef(name=name) | ast.Name(id=name) | ast.Attribute(attr=name) if name == member:
                return True
    bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
    return any(_has(parent, member, known) for base in bases for parent in known.get(base, []))


@pytest.mark.slow
def test_names_said_to_be_in_a_file_are_there() -> None:
    """`class_iou` in `croco_bench/metrics/segmentation.py`."""
    for where, text in texts():
        for name, path in re.findall(r"`(\w+)`\s+in\s+`([\w/]+\.py)`", text):
            defined = {getattr(node, "name", "") for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))}
            assert name in defined, f"{where}: {path} has no {name}"


def blocks() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        yield from ((path.name, block) for block in FENCE.findall(path.read_text(encoding="utf-8")))


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """(where, words) of all commands of croco-bench: in code font, and line by line in fenced blocks."""
    for where, block in blocks():
        for line in block.replace("\\\n", " ").splitlines():
            if match := re.search(r"(?:croco-bench|-m croco_bench) ([^|]*)", line):
                yield where, shlex.split(match[1], comments=True)
    for where, span in SPANS:
        if span.startswith("croco-bench "):
            yield where, shlex.split(span)[1:]


def options_of(words: list[str]) -> tuple[set[str], list[str]]:
    """The options of the command that the words begin with, and the words after it."""
    command: Any = typer.main.get_command(app)
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        command, words = command.commands[words[0]], words[1:]
        options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    return options, words


@pytest.mark.slow
def test_commands_and_their_options_exist() -> None:
    lines = list(command_lines())
    assert len(lines) > 20
    for where, words in lines:
        options, rest = options_of(words)
        for word in rest:
            assert not word.startswith("--") or word in options, f"{where}: {' '.join(words)} has no {word}"


def settings() -> dict[str, set[str]]:
    """Keys by table: of both kinds of recipe, of tasks, heads and objectives, of miniatures, and of results."""
    found: dict[str, set[str]] = {"task": set(), "head": {"name"}}
    for model in (recipe.Recipe, pretraining.PretrainRecipe, Result):
        for name, field in model.model_fields.items():
            inner = [
                one for one in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(one, type)
            ]
            keys = {key for one in inner for key in getattr(one, "model_fields", ())}
            found.setdefault(name, set()).update(keys)
    for kind, entries in (("task", registry.tasks()), ("head", registry.heads())):
        for entry in entries:
            found[kind] |= {field.name for field in fields(entry.load().Options)}
    for name, objective in (
        ("croco", CrossViewCompletion),
        ("mae", MaskedAutoencoder),
        ("multimae", MultimodalAutoencoder),
    ):
        found[name] |= {field.name for field in fields(objective.Options)}
    found["backbone"] |= {field.name for field in fields(BackboneFacts)}
    for name, miniature in MINIATURES.items():
        found.setdefault(name, set()).update(field.name for field in fields(miniature.default))
    return found


def test_settings_exist() -> None:
    """Keys after `--set`, `train.steps=9` in code font, and in pages also `train.steps`."""
    known, pages = settings(), {path.name for path in PAGES}
    named = [(where, *match) for where, text in blocks() for match in re.findall(r"--set '?(\w+)\.(\w+)", text)]
    for where, span in SPANS:
        shape = r"(?:--set '?)?(\w+)\.(\w+)=.*" + (r"|(train|optim|task)\.(\w+)" if where in pages else "")
        if match := re.fullmatch(shape, span):
            table, key = (group for group in match.groups() if group)
            named += [(where, table, key)] if table in known else []
    assert len(named) > 10
    for where, table, key in named:
        assert key in known.get(table, ()), f"{where}: there is no setting {table}.{key}"
