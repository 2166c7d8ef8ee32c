"""Options as dataclasses: values reach the fields, help has a part for each, and those of `sweep` are what they were."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from croco_bench.cli import main
from croco_bench.cli.option_groups import GroupedCommand, from_groups, option_group

SWEEP = (
    "ckpt task recipe seeds exclude data-root results limit set device jobs processes retries replace verify executor per-job"
    " at-a-time partition account time mem gpus cpus slurm dry-run watch all help"
)


@option_group("Fruit")
@dataclass(frozen=True)
class Fruit:
    name: Annotated[str, typer.Option(help="Of a tree.")]
    count: Annotated[int, typer.Option("--number", min=1, help="How many.")] = 2


@option_group("Plates")
@dataclass(frozen=True)
class Plates:
    big: Annotated[bool, typer.Option("--big", help="For more.")] = False
    at: Annotated[list[Path] | None, typer.Option(help="Where; may be repeated.")] = None


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None)

    def eat(who: Annotated[str, typer.Argument()], loud: bool = False, *, fruit: Fruit, plates: Plates) -> None:
        """Eats."""
        typer.echo(f"{who} {loud} {fruit} {plates}")

    app.command(cls=GroupedCommand)(from_groups(eat))
    return app


def test_values_and_defaults_reach_the_fields(app: typer.Typer) -> None:
    said = CliRunner().invoke(app, ["me", "--name", "pear", "--big", "--at", "a", "--at", "b", "--loud"])
    assert said.output.strip() == f"me True {Fruit('pear')} {Plates(True, [Path('a'), Path('b')])}"
    assert CliRunner().invoke(app, ["me", "--name", "pear", "--number", "0"]).exit_code == 2
    assert CliRunner().invoke(app, ["me"]).exit_code == 2  # a field without a default is a required option


def test_help_has_a_part_for_each_group(app: typer.Typer) -> None:
    lines = CliRunner().invoke(app, ["--help"]).output.splitlines()
    places = [lines.index(title) for title in ("Arguments:", "Fruit:", "Plates:", "Other options:")]
    assert places == sorted(places)
    fruit, others = lines[places[1] : places[2]], lines[places[3] :]
    assert any("--number" in line for line in fruit) and any("--loud" in line for line in others)


def test_the_options_of_sweep_are_all_there_and_grouped() -> None:
    command = typer.main.get_command(main.app).commands["sweep"]  # type: ignore[attr-defined]
    options = {param.opts[0] for param in command.params if param.param_type_name == "option"}
    assert options | {"--help"} == {f"--{name}" for name in SWEEP.split()}
    assert all(param.rich_help_panel for param in command.params if param.param_type_name == "option")
