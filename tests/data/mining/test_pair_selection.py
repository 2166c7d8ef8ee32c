"""Selection of pairs by co-visibility: complete within the range, and evenly spread."""

from collections import Counter
from typing import Any

import numpy as np

from croco_bench.data.mining.covisibility import Matching, Surface, surface_covisibility, surface_of
from croco_bench.data.mining.selection import PairCriteria, select_pairs
from croco_bench.data.posed.sequences import seven_scenes_intrinsics
from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.scene import Scene
from croco_bench.data.rooms.trajectory import sample_trajectory
from croco_bench.seeding import make_rng

MATCHING = Matching()


def depth_of(scene: Scene, camera: Camera) -> Any:
    rays = camera.rays()
    depth, _ = scene.cast(np.broadcast_to(camera.center, rays.shape), rays)
    return depth.astype(np.float32).reshape(camera.size)


def surface(scene: Scene, camera: Camera, matching: Matching = MATCHING) -> Surface:
    return surface_of(depth_of(scene, camera), camera.K, camera.cam2world, matching)


def test_cheap_tests_lose_no_pair() -> None:
    """All pairs in the range are found, when nothing but the range limits them; sizes whose rows could alias included."""
    scene = make_scene(7)
    for size in ((60, 80), (48, 128), (50, 64)):
        cameras = sample_trajectory(scene, 22, seven_scenes_intrinsics(size), size, make_rng(size[0], "walk"))
        surfaces = [surface(scene, camera) for camera in cameras]
        all_of_them = {
            (i, j): min(surface_covisibility(surfaces[i], surfaces[j], MATCHING))
            for j in range(len(surfaces))
            for i in range(j)
        }
        exact = {pair for pair, share in all_of_them.items() if 0.35 <= share <= 0.65}
        assert 10 < len(exact) < 300
        unlimited = PairCriteria(per_frame=10_000, per_sequence=10_000)
        chosen = select_pairs(surfaces, unlimited, MATCHING, np.random.default_rng(0))
        assert {pair[:2] for pair in chosen.pairs} == exact
        assert chosen.compared < 0.9 * len(all_of_them) or len(exact) > 0.7 * len(all_of_them)


def test_pairs_spread_over_the_range() -> None:
    scene = make_scene(8)
    K = seven_scenes_intrinsics((48, 64))
    cameras = [camera for k in range(2) for camera in sample_trajectory(scene, 50, K, (48, 64), make_rng(k, "walk"))]
    surfaces = [surface(scene, camera) for camera in cameras]
    chosen = select_pairs(surfaces, PairCriteria(per_frame=6, per_sequence=60), MATCHING, np.random.default_rng(0))
    least = [min(pair[2:]) for pair in chosen.pairs]
    counts, _ = np.histogram(least, bins=6, range=(0.35, 0.65))
    assert len(least) == 60 and counts.min() >= 7 and counts.max() <= 14
    assert max(Counter(frame for pair in chosen.pairs for frame in pair[:2]).values()) <= 6
