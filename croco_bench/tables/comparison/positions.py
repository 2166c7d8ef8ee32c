"""A note where read-outs of frozen tokens compare networks that know in different ways where a patch lies.

Absolute positions are a part of each token, and tell of a scene: a floor lies below, a ceiling above. Rotary positions are
known to attention alone. A linear layer on random weights reads depth and normals from the former, hardly from the latter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from croco_bench.records.schema import Result

# Heads that see one vector of an image, so no positions.
_POOLED = ("linear", "attentive")


def position_notes(runs: Iterable[tuple[str, Result]]) -> list[str]:
    """What a reader must know of results beside each other, each with the name that it has there."""
    kinds: dict[str, dict[str, None]] = defaultdict(dict)
    for name, result in runs:
        if result.model.positions and _reads_places(result):
            kinds[result.model.positions][name] = None
    if len(kinds) < 2:
        return []
    which = "; ".join(f"{kind} in {', '.join(names)}" for kind, names in sorted(kinds.items()))
    return [
        f"positions are {which}: frozen tokens with absolute ones say where in the image they lie, which helps by itself; "
        "compare each with random weights of its own (--ckpt random:NAME or random:FILE)"
    ]


def _reads_places(result: Result) -> bool:
    """Whether tokens of a frozen encoder are read one by one; tasks without training have no choice of it."""
    frozen = result.settings.get("train", {}).get("frozen", True)
    return bool(frozen) and result.settings.get("head", {}).get("name") not in _POOLED
