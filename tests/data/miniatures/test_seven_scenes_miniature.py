"""The miniature of 7-Scenes: sequences of a scene overlap, and retrieval lists name the views with the highest co-visibility."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from croco_bench.data.miniatures.seven_scenes import (
    SevenScenesMini,
    shared_view,
    write_sevenscenes,
)
from croco_bench.data.posed.retrieval_lists import find_lists
from croco_bench.data.posed.sequences import open_posed, seven_scenes_intrinsics
from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.generator import make_scene, room_seed
from croco_bench.data.rooms.render import (
    camera_covisibility,
)
from croco_bench.data.rooms.trajectory import CameraAnchor, sample_trajectory
from croco_bench.seeding import make_rng


def test_sequences_of_one_scene_see_the_same() -> None:
    first: list[float] = []
    fifth: list[float] = []
    K, reach = seven_scenes_intrinsics((24, 32)), SevenScenesMini().reach / 100
    for seed in range(40, 46):
        scene = make_scene(seed)
        anchor = CameraAnchor.sample(scene, make_rng(seed, "stage"))
        walks = [
            sample_trajectory(scene, 40, K, (24, 32), make_rng(seed, "walk", k), anchor, reach=reach) for k in (1, 2, 3)
        ]
        shared = np.sort(shared_view(scene, walks[2], walks[0] + walks[1]), axis=1)[:, ::-1]
        first, fifth = [*first, *shared[:, 0]], [*fifth, *shared[:, 4]]
    assert np.quantile(first, 0.05) > 0.5 and np.median(first) > 0.65
    assert np.quantile(fifth, 0.05) > 0.45 and np.median(fifth) > 0.6
    # There is something to estimate: no test frame is one that was seen in training.
    assert max(first) < 0.99


def test_shared_views_are_near_the_exact_covisibility() -> None:
    scene = make_scene(3)
    anchor = CameraAnchor.sample(scene, make_rng(3, "stage"))
    K = seven_scenes_intrinsics((60, 80))
    one, other = (sample_trajectory(scene, 12, K, (60, 80), make_rng(3, "walk", k), anchor) for k in (1, 2))
    found = shared_view(scene, one[::4], other[::3])
    exact = np.array([[min(camera_covisibility(scene, a, b)) for b in other[::3]] for a in one[::4]])
    assert found.shape == exact.shape == (3, 4) and np.ptp(exact) > 0.05
    assert np.abs(found - exact).max() < 0.05
    assert np.allclose(np.diag(shared_view(scene, one, one)), 1)


def test_retrieval_lists_name_what_shares_most_of_the_view(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        write_sevenscenes(tmp_path, SevenScenesMini(2, 3, 8, 24, 32), 0, pool, lambda _: None)
    assert find_lists(tmp_path).maker.startswith("the training frames with which")
    for number in (1, 2):
        path = tmp_path / "7scenes_densevlad_retrieval_top_10" / f"room-0{number}_top10.txt"
        lines = [line.split(" ") for line in path.read_text().splitlines()]
        queries = [f"seq-03/frame-{index:06d}.color.png" for index in range(8)]
        assert [query for query, _ in lines] == [query for query in queries for _ in range(10)]
        cameras = {}
        for sequence in open_posed(tmp_path / f"room-0{number}"):
            for index in range(8):
                frame = sequence.frame(index)
                assert frame is not None
                name = f"{sequence.name}/{frame.image.name}"
                cameras[name] = Camera(frame.K, frame.cam2world, frame.size)
        scene = make_scene(room_seed(0, "7scenes", number))
        database = [name for name in cameras if not name.startswith("seq-03")]
        for query in queries[::3]:
            listed = [name for one, name in lines if one == query]
            assert len(set(listed)) == 10 and set(listed) <= set(database)
            shares = {name: min(camera_covisibility(scene, cameras[query], cameras[name])) for name in database}
            values = [shares[name] for name in listed]
            left = max(share for name, share in shares.items() if name not in listed)
            assert all(before > after - 0.08 for before, after in pairwise(values))
            assert min(values) > left - 0.08 and values[0] > max(shares.values()) - 0.08
