"""`python -m tests.fuzz`: damages the inputs of all readers, and counts how each ends."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from croco_bench.data.miniatures.make import MINIATURES, make_mini
from tests.fuzz.child import FAULTS, Outcome
from tests.fuzz.target import Input, Session, Target
from tests.fuzz.targets import targets

COLUMNS = ("sentence", "right", "other", "wrong", "long", "traceback", "hang", "memory", "signal")


def ran(session: Session, count: int, start: int, seconds: float = math.inf) -> list[tuple[Input, Outcome]]:
    """Inputs of a target with their outcomes, as many as fit into `seconds`; the same seed gives the same inputs."""
    found: list[tuple[Input, Outcome]] = []
    ends = time.monotonic() + seconds

    @seed(f"{start} {session.target.name}")
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(session.inputs)
    def one(input: Input) -> None:
        if time.monotonic() < ends:
            found.append((input, session.outcome(input)))

    one()
    return found


def main() -> int:
    """Exit code 1 when an input ended in a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=5000, help="number of inputs of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of a target's or family's name")
    parser.add_argument("--seconds", type=float, default=math.inf, help="most that a target may take")
    parser.add_argument("--show", type=int, default=3, help="faults of each target that are printed")
    parser.add_argument("--data", type=Path, help="data root with tiny miniatures, made if it isn't there")
    given_ = parser.parse_args()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as folder:
        data = given_.data or Path(folder) / "data"
        make_mini(data, datasets=MINIATURES, tiny=True)
        chosen = [target for target in targets(data) if given_.only in f"{target.family}: {target.name}"]
        for number, target in enumerate(chosen):
            each = share(target, chosen, given_.inputs)
            session = target.open(Path(folder) / str(number) / target.name.split()[-1])
            outcomes = ran(session, each, given_.seed, given_.seconds)
            counts[target.family].update(outcome.kind for _, outcome in outcomes)
            told(target, outcomes, given_.show)
    print(table(counts))
    return int(any(count[kind] for count in counts.values() for kind in FAULTS))


def share(target: Target, chosen: list[Target], inputs: int) -> int:
    """The inputs of a target: families have equal parts, and the targets of a family, too."""
    families = {one.family for one in chosen}
    return max(inputs // len(families) // sum(one.family == target.family for one in chosen), 5)


def told(target: Target, outcomes: list[tuple[Input, Outcome]], most: int) -> None:
    """Prints what was found, faults of one place once."""
    kinds = Counter(outcome.kind for _, outcome in outcomes)
    slow = max((outcome.seconds for _, outcome in outcomes), default=0)
    print(f"{target.family}: {target.name}: {dict(kinds)} slowest {slow:.1f} s", flush=True)
    places: dict[tuple[str, str], tuple[Input, Outcome]] = {}
    for input, outcome in outcomes:
        if outcome.is_fault:
            places.setdefault((outcome.kind, outcome.text[:90]), (input, outcome))
    for input, outcome in list(places.values())[:most]:
        print(f"    {outcome.kind}: {outcome.text[:400]}\n        {str(input.edits)[:400]}", flush=True)


def table(counts: dict[str, Counter[str]]) -> str:
    """Counts of all families in Markdown."""
    lines = [f"| family | n | {' | '.join(COLUMNS)} |", f"| --- |{' ---: |' * (len(COLUMNS) + 1)}"]
    whole = sum(counts.values(), Counter[str]())
    for name, count in [*counts.items(), ("**sum**", whole)]:
        lines.append(f"| {name} | {count.total()} | {' | '.join(str(count[kind]) for kind in COLUMNS)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
