"""The generator of rooms: classes, textures, and objects on walls."""

import numpy as np
import pytest

from croco_bench.data.rooms.classes import CLASSES, ID
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.textures import KINDS, Textures


def test_classes_have_ids_in_both_label_sets() -> None:
    assert [ID[thing.name] for thing in CLASSES] == list(range(len(CLASSES)))
    for key, most in (("nyu40", 40), ("ade20k", 150)):
        ids = [getattr(kind, key) for kind in CLASSES]
        assert ids[0] == 0 and len(set(ids)) == len(ids)
        assert all(1 <= one <= most for one in ids[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_textures_are_functions_of_the_point_alone(kind: str) -> None:
    rng = np.random.default_rng(3)
    textures = Textures.sample([(kind,)] * 4, rng)
    points = rng.uniform(0, 6, (2000, 3)).astype(np.float32)
    owner = rng.integers(0, 4, 2000)
    colors = textures.color(points, owner)
    assert colors.min() >= 0 and colors.max() <= 1
    order = rng.permutation(2000)
    assert np.array_equal(textures.color(points[order], owner[order]), colors[order])
    assert np.array_equal(textures.color(points[:1], owner[:1]), colors[:1])
    for number in range(4):
        mine = colors[owner == number]
        assert (float(mine.std(axis=0).max()) > 0.02) == (kind != "plain")
    assert len({tuple(row) for row in textures.first.tolist()}) == 4


def test_things_on_walls_share_no_surface() -> None:
    for seed in range(40):
        scene = make_scene(seed)
        flat = [ID["door"], ID["window"], ID["picture"]]
        numbers = [number for number, kind in enumerate(scene.semantic) if kind in flat]
        thickness = [np.ptp(scene.triangles[scene.owner == number].reshape(-1, 3), axis=0).min() for number in numbers]
        assert len(numbers) >= 2
        assert np.diff(sorted(thickness)).min() > 0.005
