"""How time and memory grow with the number of results in a table, and of pairs in a list.

    python -m benchmarks.growth [--results 10 100 1000] [--pairs 1000 100000 10000000]

Each measurement has a process of its own; times are processor time, memory is the peak beyond that of the smallest size. Results
are copies of those in `--from` (results/mini of a checkout), under names of their own. Of pairs, what a pre-training does before
its first step is timed: the list is opened, scenes are held out, both parts get their fingerprints, the first batch its indices.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

# Pairs per scene of a list.
_SCENE = 500


def copy_results(source: Path, target: Path, count: int) -> None:
    """Writes `count` results: those of a folder, again and again as other models."""
    import numpy as np

    from croco_bench.records.store import ResultPaths, read, write

    originals = sorted(source.glob("*/*/seed*.json"))
    for number in range(count):
        path = originals[number % len(originals)]
        result = read(path)
        model = result.model.model_copy(update={"name": f"{result.model.name}-{number // len(originals)}"})
        with np.load(path.with_suffix(".npz")) as rows:
            arrays = dict(rows)
        slot = ResultPaths(target, result.recipe.name, result.task.name, model.name, result.seed)
        write(slot, result.model_copy(update={"model": model}), arrays)


def write_pairs(path: Path, count: int) -> None:
    """A list as that of CroCo's Habitat release: scenes of 500 pairs, two paths a line."""
    with (path / "pairs.txt").open("w", encoding="ascii") as stream:
        for first in range(0, count, _SCENE):
            scene = f"hm3d/{first // _SCENE:08d}"
            numbers = range(first, min(first + _SCENE, count))
            stream.write("".join(f"{scene}/{number:08d}_1.jpg {scene}/{number:08d}_2.jpg\n" for number in numbers))


def table(folder: Path, *, tests: bool) -> Callable[[], object]:
    """A table of all results."""
    from croco_bench import tables

    return lambda: tables.make([folder], tests=tests, format="markdown")


def pairs(folder: Path) -> Callable[[], object]:
    """What a pre-training does before its first step."""
    from croco_bench.data.pairs import open_pairs
    from croco_bench.data.splitting import split_by_group
    from croco_bench.engine.dataloading import MicroBatches, Plan

    def work() -> None:
        reader = open_pairs(folder)
        rest, held = split_by_group(reader, min(512 / len(reader), 0.5), seed=0)
        prints = rest.fingerprint(), held.fingerprint()
        plan = Plan(10, 1, max(len(rest) // 64, 1), 64, 1)
        keys = next(iter(MicroBatches(plan, len(rest), seed=0, start=0, process=0, processes=1)))
        assert rest[keys[0][0]] and prints[0] != prints[1]

    return work


KINDS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "table": partial(table, tests=False),
    "tested table": partial(table, tests=True),
    "pairs": pairs,
}


def measure(kind: str, folder: Path) -> dict[str, float]:
    """Processor seconds of the work, without imports, and the peak memory of this process."""
    work = KINDS[kind](folder)
    began = time.process_time()
    work()
    seconds = time.process_time() - began
    return {"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}


def in_a_process(kind: str, folder: Path) -> dict[str, float]:
    """The same in a new process."""
    command = [sys.executable, "-m", "benchmarks.growth", "--only", kind, str(folder)]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    return found


def grow(kind: str, sizes: Sequence[int], prepare: Callable[[Path, int], object]) -> list[tuple[int, float, float]]:
    """(size, seconds, MB beyond the smallest size) of each size."""
    rows: list[tuple[int, float, float]] = []
    least = 0.0
    for size in sizes:
        with TemporaryDirectory() as folder:
            prepare(Path(folder), size)
            found = in_a_process(kind, Path(folder))
        least = least or found["mb"]
        rows.append((size, found["seconds"], found["mb"] - least))
        print(f"| {kind} | {size:,} | {found['seconds']:.2f} | {found['mb'] - least:.0f} |", flush=True)
    return rows


def main() -> None:
    """Reads the arguments and prints a row per size."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--pairs", type=int, nargs="*", default=[10**power for power in range(3, 8)])
    parser.add_argument("--from", type=Path, default=Path("results/mini"), dest="source", help="results to copy")
    parser.add_argument("--only", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        kind, folder = arguments.only
        print(json.dumps(measure(kind, Path(folder))))
        return
    print("| what | size | s | MB more |\n| --- | ---: | ---: | ---: |")
    for kind in ("table", "tested table"):
        grow(kind, arguments.results, lambda folder, count: copy_results(arguments.source, folder, count))
    grow("pairs", arguments.pairs, write_pairs)


if __name__ == "__main__":
    main()
