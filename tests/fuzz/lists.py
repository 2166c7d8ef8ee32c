"""Targets: poses, lists of pairs, retrieval lists."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from croco_bench.data.pairs import open_pairs
from croco_bench.data.posed.matrices import read_intrinsics, read_pose
from croco_bench.data.posed.pair_list import open_pair_list
from croco_bench.data.posed.retrieval_lists import RetrievalLists, find_lists
from tests.fuzz.target import Target, of_file, of_json, of_text

_FAMILY = "poses, pair and retrieval lists"
_POSE = "1 0 0 0.5\n0 1 0 -0.25\n0 0 1 2\n0 0 0 1\n"
_CAMERA = "585 0 320 0\n0 585 240 0\n0 0 1 0\n0 0 0 1\n"
_PAIR = "a/0.jpg a/1.jpg 0 0 500 0 320 0 500 240 0 0 1 500 0 320 0 500 240 0 0 1 1 0 0 0.1 0 1 0 0 0 0 1 0 0 0 0 1\n"
_MIMIC = "path1,path2,score\na/1.jpg,a/2.jpg,0.5\nb/1.jpg,b/2.jpg,0.75\n"
_RETRIEVED = "".join(f"seq-01/frame-{k:06d}.color.png seq-02/frame-{k:06d}.color.png\n" for k in range(6))


def lists() -> list[Target]:
    """Readers of poses and lists."""
    pairs = "".join(f"room/{k}_1.jpeg room/{k}_2.jpeg\n" for k in range(8))
    return [
        of_text("pose", _FAMILY, _POSE, lambda path: read_pose(path, may_be_lost=True)),
        of_text("intrinsics", _FAMILY, _CAMERA, read_intrinsics),
        of_text("pairs.txt of SuperGlue", _FAMILY, _PAIR * 4, _pair_list),
        of_text("pairs.txt", _FAMILY, pairs, lambda path: _pairs(path.parent)),
        of_text("two columns", _FAMILY, pairs, _pairs),
        of_text("listing.txt", _FAMILY, "# pair_path\na/1\na/2\n", lambda path: _pairs(path.parent)),
        of_text("mimic.csv", _FAMILY, _MIMIC, _pairs, between=","),
        of_text("room_top10.txt", _FAMILY, _RETRIEVED, _retrieved),
        of_file("room_x.npy", _FAMILY, _objects(), _retrieved),
        of_json("retrieval.json", _FAMILY, {"maker": "x"}, lambda path: find_lists(path.parent, ".").maker),
    ]


def _pair_list(path: Path) -> object:
    reader = open_pair_list(path)
    return [reader.views.names, reader.views.K, reader.views.cam2world, list(reader.groups)]


def _pairs(path: Path) -> object:
    found = open_pairs(path)
    return [[found.names(index) for index in range(len(found))], list(found.groups), found.fingerprint()]


def _retrieved(path: Path) -> object:
    return RetrievalLists(path.parent, "x").of("room")


def _objects() -> bytes:
    entries = [{"query_path": f"room/seq-01/{k}.png", "db_path": f"room/seq-02/{k}.png"} for k in range(3)]
    stream = io.BytesIO()
    np.save(stream, np.array(entries, dtype=object), allow_pickle=True)
    return stream.getvalue()
