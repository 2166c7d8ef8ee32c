"""Lists of pairs for ablations of pre-training, from a folder in the layout of CroCo's Habitat release.

    python benchmarks/pair_lists.py data/habitat_release lists

writes one file for `croco-bench pretrain --pairs` for each kind of second view:

same.txt    view 1 itself, of which another crop is taken; pre-training asks for --set data.unusual=note
wrong.txt   the second view of the pair half a list away, so of another room
fifth.txt   a fifth of the pairs, drawn by chance
low.txt     the fifth with the least co-visibility: the smaller of its two shares (`covisibility_ratios` in metadata.json)
high.txt    the fifth with the most
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

Pair = tuple[Path, Path]


def covisibility(pair: Pair) -> float:
    """The smaller of the two shares of pixels that the other view of a pair sees."""
    room = pair[0].parent
    views = json.loads((room / "metadata.json").read_text(encoding="utf-8"))["multiviews"]
    return float(min(views[pair[0].stem.rsplit("_", 1)[0]]["covisibility_ratios"]))


def kinds(pairs: Sequence[Pair]) -> Mapping[str, Sequence[Pair]]:
    """The lists by the name of their file."""
    firsts, seconds = zip(*pairs, strict=True)
    half, fifth = len(pairs) // 2, len(pairs) // 5
    wrong = [*zip(firsts, seconds[half:] + seconds[:half], strict=True)]
    if any(first.parent == second.parent for first, second in wrong):
        raise ValueError("half a list away there are pairs of the same room, so there is no wrong reference")
    ordered = sorted(pairs, key=covisibility)
    return {
        "same": [*zip(firsts, firsts, strict=True)],
        "wrong": wrong,
        "fifth": random.Random(0).sample(pairs, fifth),
        "low": ordered[:fifth],
        "high": ordered[-fifth:],
    }


def read_pairs(root: Path) -> list[Pair]:
    """The pairs that `pairs.txt` lists; OSError or ValueError where it doesn't."""
    lines = (root / "pairs.txt").read_text(encoding="utf-8").splitlines()
    pairs = [(root / first, root / second) for first, second in (line.split() for line in lines)]
    if len(pairs) < 5:
        raise ValueError(f"pairs.txt lists {len(pairs)} pairs, too few for a fifth of them")
    return pairs


def main() -> None:
    """Writes the lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    try:
        lists = kinds(read_pairs(arguments.folder.resolve()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.exit(
            1,
            f"{arguments.folder} should hold pairs.txt, and metadata.json with covisibility_ratios in each room's folder, as "
            f"`croco-bench data make-mini DIR --only habitat_release` writes them: {type(error).__name__}: {error}\n",
        )
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for name, chosen in lists.items():
            text = "".join(f"{first} {second}\n" for first, second in chosen)
            (arguments.out / f"{name}.txt").write_text(text, encoding="utf-8")
    except OSError as error:
        parser.exit(1, f"the lists can't be written to {arguments.out}: {error}; name another folder\n")


if __name__ == "__main__":
    main()
