"""Mid-level cues of rooms, in place of Taskonomy's scans."""

import numpy as np
import trimesh

from croco_bench.data.rooms import mid_level_cues
from croco_bench.data.rooms.camera import look
from croco_bench.data.rooms.render import View, render
from croco_bench.data.rooms.scene import Scene, SceneBuilder


def scene_with(thing: str, mesh: trimesh.Trimesh) -> tuple[Scene, View]:
    """One solid, one metre above the origin, in front of a large wall 3 m from a camera 2 m away."""
    builder = SceneBuilder(np.random.default_rng(0))
    builder.box(builder.start("wall", ("plain",)), (0.1, 20, 20), (1.05, 0, 0), 0.0, (0.0, 0.0))
    builder.add(builder.start(thing, ("plain",)), mesh, 0.0, (0, 0, 1))
    scene = builder.finish("test", (4.0, 4.0, 3.0))
    return scene, render(scene, look(np.array([-2.0, 0.0, 1.0]), 0.0, 0.0, 0.0, (65, 65)))


def shown(curvature: float) -> float:
    return (127 + 128 * curvature / (curvature + 5)) / 255


def test_curvature_of_balls_cylinders_and_planes() -> None:
    ball, view = scene_with("ball", trimesh.creation.icosphere(subdivisions=4, radius=0.25))
    found = mid_level_cues.curvature(ball, view)
    assert np.allclose(found[32, 32], [shown(4), shown(4)], atol=0.01)
    assert np.allclose(found[2, 2], shown(0))
    column, view = scene_with("column", trimesh.creation.cylinder(radius=0.2, height=1.0, sections=64))
    found = mid_level_cues.curvature(column, view)
    assert np.allclose(found[32, 32], [shown(5), shown(0)], atol=0.01)
    assert np.allclose(found[2, 2], shown(0))


def test_reshading_is_the_cosine_to_the_camera() -> None:
    _, view = scene_with("ball", trimesh.creation.icosphere(subdivisions=4, radius=0.05))
    found = mid_level_cues.reshading(view)
    focal = view.camera.K[0, 0]
    column = 5
    assert np.isclose(found[32, column], np.cos(np.arctan((32 - column) / focal)), atol=1e-3)
    assert np.isclose(found[32, 32], 1, atol=0.02)


def test_normals_point_up_and_towards_the_camera() -> None:
    _, view = scene_with("ball", trimesh.creation.icosphere(subdivisions=4, radius=0.3))
    found = mid_level_cues.encoded_normals(view.normals)
    assert np.allclose(found[2, 2], [0.5, 0.5, 1], atol=1e-3)  # the wall faces the camera
    there = np.flatnonzero(view.semantic[:, 32] != view.semantic[2, 2])
    assert found[there[2], 32, 1] > 0.7  # the top of the ball looks up
    left = np.flatnonzero(view.semantic[32] != view.semantic[2, 2])
    assert found[32, left[2], 0] < 0.3  # its left side to the left


def test_planes_have_no_occlusion_edges_and_jumps_have() -> None:
    rows, columns = np.mgrid[0:40, 0:40]
    plane = 1 / (0.2 + 0.004 * rows + 0.002 * columns)
    assert mid_level_cues.occlusion_edges(plane).max() < 1e-9
    step = np.where(columns < 20, 2.0, 3.0)
    found = mid_level_cues.occlusion_edges(step)
    assert np.allclose(np.flatnonzero(found[5] > 0.1), [19, 20])
    assert np.isclose(found[5, 19], 2 * (1 / 2 - 1 / 3) * 2)


def test_edges_and_keypoints_are_where_the_picture_changes() -> None:
    picture = np.full((40, 40, 3), 40, dtype=np.uint8)
    picture[18:22, 18:22] = 90
    edges, points = mid_level_cues.texture_edges(picture), mid_level_cues.keypoints2d(picture)
    assert edges[20, 18] > 0.02 > edges[2, 2]
    row, column = divmod(int(points.argmax()), 40)
    assert {row, column} <= {19, 20}
    assert points[2, 2] == 0


def test_corners_of_solids_are_keypoints_and_edges_are_less() -> None:
    normals = np.zeros((40, 40, 3), dtype=np.float32)
    normals[:, :, 2] = 1
    normals[:20, :20] = (1, 0, 0)
    found = mid_level_cues.keypoints3d(normals)
    assert found[20, 20] > 2 * found[5, 20]
    assert found[35, 35] == 0
