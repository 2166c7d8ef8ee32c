"""Mines training pairs from posed RGB-D video: frames that see about half of each other."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from filelock import FileLock, Timeout

from croco_bench import __version__
from croco_bench.data.mining.covisibility import Matching
from croco_bench.data.mining.crops import write_crops
from croco_bench.data.mining.report import draw_report, in_words, no_pairs, summarize
from croco_bench.data.mining.selection import PairCriteria
from croco_bench.data.mining.sequence import MiningSettings, Split, mine_sequence
from croco_bench.data.posed.sequences import SEVEN_SCENES_FOCAL, PosedSequence, open_posed
from croco_bench.data.process_pool import process_pool
from croco_bench.errors import DataError, UsageError, unknown
from croco_bench.files import atomic
from croco_bench.progress import Bar, log

# Rises when equal settings give other pairs.
_VERSION = 1
_SETTINGS, _LOCK = "settings.json", ".make-pairs.lock"


def make_pairs(
    source: str | Path,
    out: str | Path,
    *,
    every: int = 10,
    covisibility: tuple[float, float] = (0.35, 0.65),
    per_frame: int = 4,
    per_sequence: int = 200,
    split: Split = "train",
    crop: int | None = None,
    focal_px: float = SEVEN_SCENES_FOCAL,
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes `out/pairs.txt`: a pair a line, two image paths relative to `source`; returns its path.

    Beside it: `pairs.json` (settings, root, fingerprint of the source, counts), `report.png`, `parts/` (one file per
    finished sequence, with co-visibility, baseline and rotation of its pairs), and with `crop` a training set `crops/`
    in CroCo v2's layout. Pairs are of one sequence. An interrupted call goes on where it stopped; the number of workers
    changes nothing.

    Args:
        source: posed RGB-D video in the layout of 7-Scenes or ScanNet.
        out: a new folder, or one of an earlier call.
        every: look at every so many frames only.
        covisibility: range of the smaller of both shares of pixels that the other view sees. With `crop`, of the
            middle squares; without, of whole images. Unknown depth counts as not seen.
        per_frame: most pairs that one frame is in.
        per_sequence: most pairs of one sequence, spread evenly over the range.
        split: which sequences, where the source has lists; those in no list are always taken.
        crop: side in pixels of square JPEG pairs to write.
        focal_px: focal length of 7-Scenes at 640x480.
        seed: of everything that is drawn.
        workers: processes; default: as many as processors.
        overwrite: replace pairs that were made with other settings.

    Raises:
        UsageError: a setting is out of range.
        DataError: the source is damaged, no pair lies in the range, or `out` holds something else.
    """
    source, out = Path(source), Path(out)
    wanted = PairCriteria(*covisibility, per_frame=per_frame, per_sequence=per_sequence)
    settings = MiningSettings(every, wanted, Matching(square=crop is not None), split, seed, focal_px, crop)
    _check(settings)
    sequences = [one for one in open_posed(source, focal_px=focal_px) if split == "all" or one.split in (split, None)]
    if not sequences:
        raise DataError(f"{source} has no sequence of the {split} split", "choose another --split")
    facts = _facts(settings, sequences)
    with _explain_errors(out), _only_one(out):
        _prepare(out, facts, overwrite)
        with process_pool(workers or os.cpu_count() or 1) as pool:
            parts = _mine_all(source, out, sequences, settings, pool)
            pairs = [pair for part in parts for pair in part["pairs"]]
            if not pairs:
                _clear(out)
                raise no_pairs(source, parts, wanted)
            if crop is not None:
                _crop(source, pairs, out / "crops", crop, pool)
        summary = {"croco_bench": __version__, "root": str(source.resolve()), "settings": facts, **summarize(parts)}
        draw_report(out / "report.png", source, pairs, square=crop is not None, title=in_words(summary))
        _write(out / "pairs.json", json.dumps(summary, indent=2) + "\n")
        _write(out / "pairs.txt", "".join(" ".join(pair["images"]) + "\n" for pair in pairs))
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
    if not settings.focal_px > 0:
        raise UsageError(f"a focal length of {settings.focal_px:g} pixels is no camera", "give a number above 0")


def _facts(settings: MiningSettings, sequences: Sequence[PosedSequence]) -> dict[str, Any]:
    """What an earlier call must agree with for its parts to be used."""
    text = "".join(sequence.fingerprint() for sequence in sequences)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"version": _VERSION, **asdict(settings), "source": fingerprint}


def _prepare(out: Path, facts: dict[str, Any], overwrite: bool) -> None:
    """Makes `out` a place where parts with these facts may lie."""
    path = out / _SETTINGS
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found == facts:
            for leftover in out.rglob(".*.partial"):  # of a killed call
                leftover.unlink()
            return
        if not overwrite:
            raise DataError(
                f"{out} holds pairs made with other settings ({_difference(found, facts)})",
                "give --overwrite to replace them, or choose another folder",
            )
        _clear(out)
    elif any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise DataError(f"{out} exists and holds something else", "choose another folder for the pairs")
    _write(path, json.dumps(facts, indent=2) + "\n")


def _difference(found: object, facts: dict[str, Any]) -> str:
    """The first setting that differs, in words."""
    old, new = _flat(found if isinstance(found, dict) else {}), _flat(facts)
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


def _clear(out: Path) -> None:
    """Removes what an earlier call wrote, and nothing else; settings last, so that an interruption can be repeated."""
    for folder in ("parts", "crops"):
        if (out / folder).is_dir():
            shutil.rmtree(out / folder)
    for name in ("pairs.txt", "pairs.json", "report.png", _SETTINGS):
        (out / name).unlink(missing_ok=True)


def _mine_all(
    source: Path, out: Path, sequences: Sequence[PosedSequence], settings: MiningSettings, pool: Executor
) -> list[dict[str, Any]]:
    """The parts of all sequences, in their order; those on disk are not made again."""
    paths = [out / "parts" / f"{sequence.name}.json" for sequence in sequences]
    todo = [(sequence, path) for sequence, path in zip(sequences, paths, strict=True) if not path.is_file()]
    if len(todo) < len(paths):
        log(f"{len(paths) - len(todo)} of {len(paths)} sequences are done already")
    with Bar("pairs", len(paths), start=len(paths) - len(todo)) as bar:
        for done in as_completed([pool.submit(mine_sequence, source, *one, settings) for one in todo]):
            bar.advance(1, done.result())
    return [_read_part(path) for path in paths]


def _read_part(path: Path) -> dict[str, Any]:
    try:
        part: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged", "delete it and run the same command again") from error
    return part


def _crop(source: Path, pairs: list[dict[str, Any]], out: Path, side: int, pool: Executor) -> None:
    images = [(pair["images"][0], pair["images"][1]) for pair in pairs]
    with Bar("crops", len(images)) as bar:
        write_crops(source, images, out, side, pool, bar.advance)


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def _only_one(out: Path) -> Iterator[None]:
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / _LOCK, timeout=0):
            yield
    except Timeout as error:
        raise DataError(
            f"another process is writing pairs into {out}", "wait for it, or choose another folder"
        ) from error


@contextmanager
def _explain_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise DataError(
            f"a process that mined pairs for {out} was killed, perhaps for want of memory",
            "run the same command again with fewer --workers",
        ) from error
    except OSError as error:
        raise DataError(f"{out} can't be written ({error.strerror or error})", "choose another folder") from error
