"""Mines training pairs from posed RGB-D video: frames that see about half of each other."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from croco_bench import __version__
from croco_bench.data.checks.posed_video import unusual_depth
from croco_bench.data.mining.covisibility import Matching
from croco_bench.data.mining.crops import write_crops
from croco_bench.data.mining.report import draw_report, in_words, no_pairs, summarize
from croco_bench.data.mining.selection import PairCriteria
from croco_bench.data.mining.sequence import MiningSettings, Split, mine_sequence
from croco_bench.data.pairs import SCENES
from croco_bench.data.posed.sequences import SEVEN_SCENES_FOCAL, find_posed
from croco_bench.data.posed.video import PosedSequence
from croco_bench.data.process_pool import IN_A_SCRIPT, process_pool
from croco_bench.errors import DataError, UsageError, unknown
from croco_bench.files import atomic, exclusive_lock, fingerprint, parse_json
from croco_bench.progress import Bar, log

# Increment when equal settings give other pairs.
_VERSION = 2
_SETTINGS, _LOCK = "settings.json", ".make-pairs.lock"
# What a call writes, in the order in which it is removed or moved away.
_FOLDERS, _FILES = ("parts", "crops"), ("report.png", "pairs.json", SCENES, "pairs.txt", _SETTINGS)
# Pairs that are being replaced; kept until the new ones are there.
_REPLACED = ".replaced"


def make_pairs(
    source: str | Path,
    out: str | Path,
    *,
    every: int = 10,
    covisibility: tuple[float, float] = (0.35, 0.65),
    tolerance: tuple[float, float] = (0.05, 0.03),
    per_frame: int = 4,
    per_sequence: int = 200,
    split: Split = "train",
    crop: int | None = None,
    focal_px: float = SEVEN_SCENES_FOCAL,
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
    accept_unusual: bool = False,
) -> Path:
    """Writes `out/pairs.txt`, one pair per line, as two image paths relative to `source`; returns its path.

    Other files: `scenes.txt` (the scene of each pair), `pairs.json` (settings, root, fingerprint of the source, counts),
    `report.png`, `parts/` (one file per finished sequence with co-visibility, baseline and rotation of its pairs), and with
    `crop` a training set `crops/` in CroCo v2's layout, with `scenes.txt` as well. Both views of a pair are from one
    sequence. An interrupted call is resumed. The result doesn't depend on the number of workers.

    Args:
        source: posed RGB-D video of 7-Scenes, ScanNet, ScanNet++ or with a COLMAP model.
        out: a new folder, or the folder of an earlier call.
        every: use every n-th frame.
        covisibility: range of the smaller share of co-visible pixels: of the central squares with `crop`, else of whole
            images. Where depth has holes the share is estimated from what is known; pairs of which too little is known
            are left out.
        tolerance: difference of depths up to which they are of one surface: metres, and in addition a share of the depth.
        per_frame: maximum number of pairs with one frame.
        per_sequence: maximum number of pairs per sequence, spread evenly over the range.
        split: sequences to use, where the source has lists; sequences in no list are always used.
        crop: side in pixels of square JPEG pairs to write.
        focal_px: focal length of 7-Scenes at 640x480.
        seed: for all random choices.
        workers: number of processes; default: the number of processors.
        overwrite: replace pairs made with other settings.
        accept_unusual: go on where depths look like another unit than millimeters, with a note in `pairs.json`.

    Raises:
        UsageError: a setting is out of range.
        DataError: the source is damaged, no pair is within the range, or `out` holds other files.
    """
    source, out = Path(source), Path(out)
    criteria = PairCriteria(low=covisibility[0], high=covisibility[1], per_frame=per_frame, per_sequence=per_sequence)
    settings = MiningSettings(
        every=every,
        wanted=criteria,
        matching=Matching(absolute_m=tolerance[0], relative=tolerance[1], square=crop is not None),
        split=split,
        seed=seed,
        focal_px=focal_px,
        crop=crop,
    )
    _check(settings)
    sequences, notes = _open_sequences(source, settings)
    notes += _look_at_depth(sequences, accept=accept_unusual)
    for note in notes:
        log(note)
    facts = _facts(settings, sequences)
    busy = DataError(f"another process is writing pairs into {out}", "wait for it, or choose another folder")
    with _explain_errors(out), exclusive_lock(out / _LOCK, busy=busy):
        _prepare(out, facts, overwrite)
        parts = _mine(source, out, sequences, settings, workers or os.cpu_count() or 1)
        summary = {
            "croco_bench": __version__,
            "root": str(source.resolve()),
            "settings": facts,
            **({"notes": notes} if notes else {}),
            **summarize(parts),
        }
        _write_results(source, out, parts, summary, square=crop is not None)
        shutil.rmtree(out / _REPLACED, ignore_errors=True)
    log(f"wrote {out / 'pairs.txt'}: {in_words(summary)}")
    return out / "pairs.txt"


def _check(settings: MiningSettings) -> None:
    wanted = settings.wanted
    if settings.split not in get_args(Split):
        raise unknown("split", settings.split, get_args(Split))
    if not 0 < wanted.low < wanted.high <= 1:
        raise UsageError(
            f"co-visibility from {wanted.low:g} to {wanted.high:g}: give a range within 0 and 1, 0 excluded"
        )
    counts = {"every": settings.every, "per-frame": wanted.per_frame, "per-sequence": wanted.per_sequence}
    if settings.crop is not None:
        counts["crop"] = settings.crop
    for name, count in counts.items():
        if count < 1:
            raise UsageError(f"--{name} is {count}", "give at least 1")
    tolerance = (settings.matching.absolute_m, settings.matching.relative)
    if not (min(tolerance) >= 0 < sum(tolerance) < math.inf):
        raise UsageError(
            f"a tolerance of {tolerance[0]:g} m + {tolerance[1]:g} of the depth",
            "give two numbers from 0 on, not both 0, such as --tolerance 0.05 0.03",
        )
    if not settings.focal_px > 0:
        raise UsageError(f"a focal length of {settings.focal_px:g} pixels is no camera", "give a number above 0")


def _open_sequences(source: Path, settings: MiningSettings) -> tuple[list[PosedSequence], list[str]]:
    """The sequences of the split, with those that are in no list; and a note on scans that are left out."""
    sequences, unready = find_posed(source, focal_px=settings.focal_px)
    if settings.split != "all":
        sequences = [sequence for sequence in sequences if sequence.split in (settings.split, None)]
    if not sequences:
        raise DataError(f"{source} has no sequence of the {settings.split} split", "choose another --split")
    scans = f"{len(unready)} scan{'s are' if len(unready) > 1 else ' is'} left out"
    return sequences, [f"{scans}: {unready[0].what}"] if unready else []


def _look_at_depth(sequences: Sequence[PosedSequence], *, accept: bool) -> list[str]:
    """What is unusual about the depths, as a note.

    Raises:
        DataError: something is, and isn't accepted.
    """
    unusual = unusual_depth(sequences)
    if unusual and not accept:
        raise DataError(unusual, "bring the depth maps to millimeters; if they are right, give --accept-unusual")
    return [unusual] if unusual else []


def _facts(settings: MiningSettings, sequences: Sequence[PosedSequence]) -> dict[str, Any]:
    """The content of `settings.json`: parts of an earlier call are used only if it is equal."""
    source = fingerprint(*(sequence.fingerprint() for sequence in sequences))
    return {"version": _VERSION, **asdict(settings), "source": source}


def _mine(
    source: Path, out: Path, sequences: Sequence[PosedSequence], settings: MiningSettings, workers: int
) -> list[dict[str, Any]]:
    """Mines all sequences and writes crops, if wanted; returns the parts of all sequences."""
    with process_pool(workers) as pool:
        parts = _mine_sequences(source, out, sequences, settings, pool)
        pairs = _pairs_of(parts)
        if not pairs:
            _clear(out)
            raise no_pairs(source, parts, settings)
        if settings.crop is not None:
            images = [(pair["images"][0], pair["images"][1]) for pair in pairs]
            with Bar("crops", len(images)) as bar:
                write_crops(source, images, out / "crops", settings.crop, pool, bar.advance)
            _write(out / "crops" / SCENES, _scene_lines(parts))
    return parts


def _mine_sequences(
    source: Path, out: Path, sequences: Sequence[PosedSequence], settings: MiningSettings, pool: Executor
) -> list[dict[str, Any]]:
    """The parts of all sequences, in order; existing files of an earlier call are reused."""
    paths = [out / "parts" / f"{sequence.name}.json" for sequence in sequences]
    todo = [(sequence, path) for sequence, path in zip(sequences, paths, strict=True) if not path.is_file()]
    if len(todo) < len(paths):
        log(f"{len(paths) - len(todo)} of {len(paths)} sequences are done already")
    with Bar("pairs", len(paths), start=len(paths) - len(todo)) as bar:
        futures = [pool.submit(mine_sequence, source, sequence, path, settings) for sequence, path in todo]
        for done in as_completed(futures):
            bar.advance(1, done.result())
    return [_read_part(path) for path in paths]


def _read_part(path: Path) -> dict[str, Any]:
    try:
        part: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged", "delete it and run the same command again") from error
    return part


def _pairs_of(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [pair for part in parts for pair in part["pairs"]]


def _scene_lines(parts: Sequence[dict[str, Any]]) -> str:
    """The scene of every pair, one a line."""
    return "".join(f"{part['scene']}\n" for part in parts for _ in part["pairs"])


def _write_results(
    source: Path, out: Path, parts: Sequence[dict[str, Any]], summary: dict[str, Any], *, square: bool
) -> None:
    """Writes `report.png`, `pairs.json`, and `pairs.txt` last, which marks a finished call."""
    pairs = _pairs_of(parts)
    draw_report(out / "report.png", source, pairs, square=square, title=in_words(summary))
    _write(out / "pairs.json", json.dumps(summary, indent=2) + "\n")
    _write(out / SCENES, _scene_lines(parts))
    _write(out / "pairs.txt", "".join(" ".join(pair["images"]) + "\n" for pair in pairs))


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _prepare(out: Path, facts: dict[str, Any], overwrite: bool) -> None:
    """Makes `out` ready for parts with these settings; parts with other settings are removed or an error."""
    path = out / _SETTINGS
    if path.is_file():
        earlier = _read_settings(path)
        if earlier == facts:
            _remove_leftovers(out)
            return
        if not overwrite:
            raise DataError(
                f"{out} holds pairs made with other settings ({_difference(earlier, facts)})",
                "give --overwrite to replace them, or choose another folder",
            )
        _set_aside(out)
        _clear(out)
    elif any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise DataError(f"{out} exists and holds something else", "choose another folder for the pairs")
    _remove_leftovers(out)
    _write(path, json.dumps(facts, indent=2) + "\n")


def _remove_leftovers(out: Path) -> None:
    """Removes temporary files of killed calls; with the lock held, none of them is alive."""
    for leftover in out.rglob(".*.partial"):
        leftover.unlink()


def _read_settings(path: Path) -> object:
    """The settings of an earlier call; None for a damaged file."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _difference(earlier: object, facts: dict[str, Any]) -> str:
    """The first setting that differs, in words."""
    old, new = _flat(earlier if isinstance(earlier, dict) else {}), _flat(facts)
    for key in new:
        if old.get(key) != new[key]:
            if key == "source":
                return "the source has changed"
            return f"{key} was {old.get(key)}, now {new[key]}"
    return "unknown ones"


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat


def _set_aside(out: Path) -> None:
    """Moves finished pairs away; what says that they are finished comes last, so that an interrupted call can be repeated."""
    if not (out / "pairs.txt").is_file():
        return
    kept = out / _REPLACED
    kept.mkdir(exist_ok=True)
    for name in (*_FOLDERS, *_FILES):
        if (out / name).exists():
            shutil.rmtree(kept / name) if (kept / name).is_dir() else (kept / name).unlink(missing_ok=True)
            (out / name).rename(kept / name)
    log(f"the earlier pairs are kept in {kept} until the new ones are there")


def _clear(out: Path) -> None:
    """Removes only the files of an earlier call; settings last, so that an interrupted call can be repeated."""
    for folder in _FOLDERS:
        if (out / folder).is_dir():
            shutil.rmtree(out / folder)
    for name in _FILES:
        (out / name).unlink(missing_ok=True)


@contextmanager
def _explain_errors(out: Path) -> Iterator[None]:
    """Turns a killed worker and a failed write into a `DataError`."""
    try:
        yield
    except BrokenProcessPool as error:
        raise DataError(
            f"a process that mined pairs for {out} was killed, perhaps for want of memory",
            f"run the same command again with fewer --workers{IN_A_SCRIPT}",
        ) from error
    except OSError as error:
        raise DataError(f"{out} can't be written ({error.strerror or error})", "choose another folder") from error
