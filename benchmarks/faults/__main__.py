"""Crash tests from the command line: `python -m benchmarks.faults`. Exit code 1 if an end differs."""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults import again, disks, distributed, together
from benchmarks.faults.bench import Bench
from benchmarks.faults.commands import COMMANDS
from benchmarks.faults.interruptions import interrupt
from benchmarks.faults.server import archive, serve

_PARTS = ("signals", "disks", "together", "again", "distributed")


def main() -> None:
    """Runs the parts that are asked for, prints a table for each, and all faults."""
    options = _options()
    print(f"seed {options.seed}; the same choices again with --seed {options.seed}", flush=True)
    folder = (
        Path(tempfile.mkdtemp(prefix="croco-bench-faults-")) if options.folder is None else options.folder.resolve()
    )
    folder.mkdir(parents=True, exist_ok=True)
    data = options.data.resolve() if options.data else make_data(folder / "data")
    if options.warm:
        import_everything()
    offered = folder / "offered"
    offered.mkdir(exist_ok=True)
    (offered / "archive.zip").write_bytes(archive())
    write_weights(offered / "weights.safetensors")
    with serve(offered) as server:
        bench = Bench(
            folder=folder,
            data=data,
            server=server,
            rng=random.Random(options.seed),
            until=time.monotonic() + 60 * options.minutes,
            keep=options.keep,
            warm=options.warm,
        )
        names = [name for name in COMMANDS if not options.only or any(part in name for part in options.only)]
        parts: dict[str, Callable[[], None]] = {
            "signals": lambda: interrupt(bench, names, options.kills),
            "disks": lambda: disks.fill(bench, names, options.sizes),
            "together": lambda: together.start_together(bench, options.processes),
            "again": lambda: again.repeat(bench, names),
            "distributed": lambda: distributed.distribute(bench),
        }
        for part in options.parts or _PARTS:
            parts[part]()
    print("\n" + "\n".join(table.markdown() for table in bench.tables))
    print(f"{len(bench.faults)} faults" + "".join(f"\n- {text}" for text in bench.faults))
    if bench.faults:
        raise SystemExit(f"places with faults are kept in {folder}")
    if not options.keep and options.folder is None:
        shutil.rmtree(folder, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: all of {', '.join(_PARTS)}")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of all choices")
    parser.add_argument("--minutes", type=float, default=60, help="begin nothing new after so many minutes")
    parser.add_argument("--kills", type=int, default=60, help="signals to send")
    parser.add_argument("--sizes", type=int, default=3, help="too small disks per command")
    parser.add_argument("--processes", type=int, default=8, help="processes at once")
    parser.add_argument("--only", action="append", help="only commands with this text in their names; may be repeated")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument("--data", type=Path, help="miniatures of an earlier session")
    parser.add_argument("--warm", action="store_true", help="fork commands from this process: they begin at once")
    parser.add_argument("--keep", action="store_true", help="keep all folders")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(_PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    return options


def make_data(folder: Path) -> Path:
    """Miniatures of a few images each; those of imagenet-linear are more, so that their extraction takes a while."""
    from croco_bench.data.miniatures.make import MINIATURES, make_mini

    make_mini(folder, datasets=MINIATURES.keys() - {"imagenet"}, tiny=True, workers=2)
    make_mini(folder, datasets=["imagenet"], tiny=True, changes=["imagenet.train=60"], workers=2)
    return folder


def import_everything() -> None:
    """Imports what any command needs, in this process."""
    from importlib import import_module

    from croco_bench import registry

    for name in ("runs.runner", "runs.group", "pretraining.pretrain", "data.mining.mine", "data.miniatures.make"):
        import_module(f"croco_bench.{name}")
    for entry in [*registry.tasks(), *registry.heads()]:
        import_module(entry.card.target.partition(":")[0])


def write_weights(path: Path) -> None:
    """A checkpoint file: the encoder of a small network with random weights."""
    from croco_bench import load_backbone
    from croco_bench.backbones.save import save_backbone

    save_backbone(path, load_backbone("random:mini-mae", image_size=64), {})


if __name__ == "__main__":
    main()
