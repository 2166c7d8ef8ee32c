"""Moving rooms: flow, occlusion, flying objects and post effects, compared with poses and projections written a second time."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh

from croco_bench.data.rooms.camera import Camera, look, sample_camera
from croco_bench.data.rooms.flying_objects import FlyingObjects, add_flying_objects
from croco_bench.data.rooms.generator import make_scene
from croco_bench.data.rooms.motion import Frame, Motion, Shot, flow_truth, mixed_pixels
from croco_bench.data.rooms.post_effects import SHUTTER, PostEffects
from croco_bench.data.rooms.render import View, display, flow_between, occlusion, render
from croco_bench.data.rooms.scene import Scene
from croco_bench.data.rooms.textures import Textures
from croco_bench.types import Array

SIZE = (48, 64)
ROOM = 41


def room_with_a_box(velocity: tuple[float, float, float]) -> Shot:
    """A camera that looks along x at a white box, its front 1.25 m away, and at a dark wall 4 m away."""
    shell = trimesh.creation.box(extents=(8, 8, 8))
    box = trimesh.creation.box(extents=(0.51, 0.51, 0.51))
    box.apply_translation((1.505, 0, 0))
    textures = Textures.sample([("plain",)] * 3, np.random.default_rng(0))
    colors = np.array([[0, 0, 0], [0.1, 0.1, 0.1], [0.9, 0.9, 0.9]], dtype=np.float32)
    scene = Scene(
        name="box",
        size=(8, 8, 8),
        triangles=np.concatenate([shell.triangles, box.triangles]),
        owner=np.repeat([1, 2], 12),
        semantic=np.array([0, 1, 13]),
        textures=replace(textures, first=colors, second=colors),
        lights=np.zeros((0, 3)),
        power=np.zeros(0),
        ambient=1.0,
    )
    wall = replace(scene, triangles=scene.triangles[:12], owner=scene.owner[:12], semantic=scene.semantic[:2])
    motion = replace(Motion.none(1), velocity=np.array([velocity]))
    return Shot(scene, wall, motion, look(np.zeros(3), 0.0, 0.0, 0.0, SIZE), Motion.none(1))


def shot_with_flying_objects(seed: int, *, lamps: bool = True) -> Shot:
    """Several objects fly and turn in front of a camera that moves and turns."""
    rng = np.random.default_rng(seed)
    scene = make_scene(ROOM + seed)
    if not lamps:
        scene = replace(scene, power=np.zeros_like(scene.power), ambient=1.0)
    camera = sample_camera(scene, SIZE, rng)
    velocity, acceleration, spin = (rng.normal(0, scale, (1, 3)) for scale in (0.04, 0.01, 0.03))
    static = Shot.static(scene, camera, Motion(camera.center[None], velocity, acceleration, spin))
    return add_flying_objects(static, (0, 1), FlyingObjects(max_count=6, speed_px=4.0, turn_deg=15.0), rng)


@pytest.fixture(scope="module")
def shots() -> list[Shot]:
    return [shot_with_flying_objects(seed) for seed in range(6)]


def pose_by_hand(motion: Motion, body: int, time: float) -> Array:
    """(4, 4), by Rodrigues' formula."""
    vector = motion.spin[body] * time
    angle = float(np.linalg.norm(vector))
    x, y, z = vector / angle if angle else vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    pose = np.eye(4)
    pose[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    pivot = motion.pivot[body]
    path = motion.velocity[body] * time + motion.acceleration[body] * time * time / 2
    pose[:3, 3] = pivot - pose[:3, :3] @ pivot + path
    return pose


def flying_objects_of(shot: Shot) -> dict[int, int]:
    """Objects that fly, and their rows in the shot's motions."""
    count = len(shot.still.semantic)
    return {count + row: row for row in range(len(shot.objects.pivot))}


def moved_points(shot: Shot, view: View, start: float, end: float) -> Array:
    """Where what the pixels of a view at `start` show is at `end`: (n, 3), object by object."""
    points, instance = view.points(), view.instance.ravel()
    for body, row in flying_objects_of(shot).items():
        motion = pose_by_hand(shot.objects, row, end) @ np.linalg.inv(pose_by_hand(shot.objects, row, start))
        there = instance == body
        points[there] = points[there] @ motion[:3, :3].T + motion[:3, 3]
    return points


def grid(size: tuple[int, int] = SIZE) -> Array:
    return np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1)


def test_bodies_move_as_their_numbers_say() -> None:
    rng = np.random.default_rng(0)
    motion = Motion(*rng.normal(0, 1, (4, 3, 3)))
    for time in (-1.5, 0.0, 2.0):
        rotation, translation = motion.poses(time)
        for body in range(3):
            pose = pose_by_hand(motion, body, time)
            assert np.allclose(rotation[body], pose[:3, :3]) and np.allclose(translation[body], pose[:3, 3])
        for one, other in zip(motion.scaled(3.0).poses(time), motion.poses(3 * time), strict=True):
            assert np.allclose(one, other)
    rotation, translation = Motion.none(4).poses(7.0)
    assert np.array_equal(rotation, np.tile(np.eye(3), (4, 1, 1))) and not translation.any()
    both = motion.joined(Motion.none(2))
    assert np.array_equal(both.poses(1.0)[0][:3], motion.poses(1.0)[0]) and len(both.spin) == 5


def test_a_box_that_moves_by_a_known_vector_before_a_still_camera() -> None:
    """Parallel to the image, 10 cm to the right and 5 cm down: f times that over the depth, and nothing moves elsewhere."""
    shot = room_with_a_box((0.0, -0.1, -0.05))
    first, second = shot.frame(0), shot.frame(1)
    truth = flow_truth(shot, first, second)
    focal = 32 / np.tan(np.radians(32.5))
    front = render(first.scene, first.camera).instance == 2
    assert np.allclose(truth.flow_px[front], np.array([0.1, 0.05]) * focal / 1.25, atol=1e-4)
    assert np.abs(truth.flow_px[~front]).max() < 1e-6 and truth.known.all()
    # Nothing else moves: what vanishes is just the wall where the box arrives.
    after = render(second.scene, second.camera).instance == 2
    assert np.array_equal(truth.occluded, after & ~front) and 20 < truth.occluded.sum() < 300
    # Pixels that are partly box and partly wall lie on its outline, inside or outside.
    mixed = mixed_pixels(shot, first, second)
    box = front.astype(np.uint8)
    inside, outside = (change(box, np.ones((3, 3), np.uint8)) > 0 for change in (cv2.erode, cv2.dilate))
    assert mixed.sum() > 20 and not (mixed & (inside | ~outside)).any()
    slow = replace(shot, objects=shot.objects.scaled(0.2))
    assert not mixed_pixels(slow, slow.frame(0), slow.frame(1)).any()


def test_towards_the_camera_things_grow() -> None:
    shot = room_with_a_box((-0.25, 0.0, 0.0))
    truth = flow_truth(shot, shot.frame(0), shot.frame(1))
    front = render(shot.scene, shot.camera).instance == 2
    from_middle = grid() - np.array([31.5, 23.5])
    assert np.allclose(truth.flow_px[front], (0.25 * from_middle)[front], atol=1e-4)  # from 1.25 m to 1 m


def test_what_comes_to_lie_behind_the_camera_is_unknown() -> None:
    shot = room_with_a_box((0.0, 0.0, 0.0))
    still = Motion.none(1)
    shot = replace(shot, camera_motion=replace(still, velocity=np.array([[2.5, 0.0, 0.0]])))
    first, second = shot.frame(0), shot.frame(1)
    truth = flow_truth(shot, first, second)
    assert np.allclose(second.camera.center, [2.5, 0, 0])
    box = render(first.scene, first.camera).instance == 2
    assert np.array_equal(~truth.known, box) and not truth.flow_px[box].any() and truth.occluded[box].all()
    assert mixed_pixels(shot, first, second)[box].all()
    # Without the wall ahead, there is nothing that could move.
    shot = Shot.static(
        replace(shot.scene, triangles=shot.scene.triangles[12:], owner=shot.scene.owner[12:]), shot.camera, still
    )
    truth = flow_truth(shot, shot.frame(0), shot.frame(1))
    assert np.array_equal(truth.known, box) and truth.occluded[~box].all() and np.isfinite(truth.flow_px).all()


@pytest.mark.slow
def test_static_rooms_agree_with_the_flow_of_static_rooms(shots: list[Shot]) -> None:
    for shot in shots:
        still = replace(shot, objects=Motion.none(len(shot.objects.pivot)))
        first, second = still.frame(-0.5), still.frame(1.0)
        truth = flow_truth(still, first, second)
        views = [render(shot.scene, frame.camera) for frame in (first, second)]
        assert np.abs(truth.flow_px - flow_between(*views)).max() < 2e-3
        assert (truth.occluded == occlusion(shot.scene, *views)).mean() > 0.999
        for one, other in zip(views, (render(frame.scene, frame.camera) for frame in (first, second)), strict=True):
            assert np.array_equal(one.rgb, other.rgb) and np.array_equal(one.instance, other.instance)


def test_flow_is_where_points_go(shots: list[Shot]) -> None:
    fast = 0
    for shot in shots:
        first, second = shot.frame(0.25), shot.frame(1.5)
        view, camera = render(first.scene, first.camera), second.camera
        pose = pose_by_hand(shot.camera_motion, 0, 1.5) @ shot.camera.cam2world
        assert np.allclose(camera.cam2world, pose)
        points = moved_points(shot, view, 0.25, 1.5)
        local = (np.linalg.inv(pose) @ np.append(points, np.ones((len(points), 1)), axis=1).T)[:3]
        pixels = ((camera.K @ local)[:2] / local[2]).T.reshape(*SIZE, 2)
        truth = flow_truth(shot, first, second)
        assert np.abs(truth.flow_px - (pixels - grid())).max() < 5e-3
        own = np.linalg.norm(truth.flow_px - flow_between(view, render(first.scene, camera)), axis=2)
        moving = view.instance >= len(shot.still.semantic)
        assert own[~moving].max() < 5e-3
        fast += int((own[moving] > 2).sum())
    assert fast > 1000


@pytest.mark.slow
def test_flow_on_a_moving_thing_is_that_of_a_camera_which_moves_around_it(shots: list[Shot]) -> None:
    tested = 0
    for shot in shots:
        first, second = shot.frame(0), shot.frame(1)
        truth, view = flow_truth(shot, first, second), render(shot.scene, shot.camera)
        for body, row in flying_objects_of(shot).items():
            around = np.linalg.inv(pose_by_hand(shot.objects, row, 1)) @ second.camera.cam2world
            alone = flow_between(view, render(shot.scene, Camera(shot.camera.K, around, SIZE)))
            there = view.instance == body
            assert np.allclose(truth.flow_px[there], alone[there], atol=5e-3)
            tested += int(there.sum())
    assert tested > 1500


@pytest.mark.slow
def test_occlusion_is_what_the_next_frame_s_depth_hides(shots: list[Shot]) -> None:
    """A z-buffer instead of rays: points are compared with the next frame's depth where that is smooth."""
    hidden = visible = 0
    for shot in shots:
        for start, end in ((0.0, 1.0), (1.0, 0.0)):
            first, second = shot.frame(start), shot.frame(end)
            view, other = (render(frame.scene, frame.camera) for frame in (first, second))
            pixels, depth = second.camera.project(moved_points(shot, view, start, end))
            occluded = flow_truth(shot, first, second).occluded.ravel()
            outside = ((pixels < -0.5) | (pixels >= np.array(SIZE[::-1]) - 0.5)).any(axis=1) | (depth < 0)
            assert np.array_equal(occluded & outside, outside)
            inverse = 1 / other.depth_m.astype(np.float64)
            low, high = (change(inverse, np.ones((3, 3))) for change in (cv2.erode, cv2.dilate))
            x, y = np.rint(pixels[~outside]).astype(int).T
            smooth = (high / low)[y, x] < 1.05
            behind = depth[~outside] * inverse[y, x] > 1.1
            before = depth[~outside] * inverse[y, x] < 0.9
            assert not (before & smooth).any()
            assert (behind == occluded[~outside])[smooth].mean() > 0.995
            hidden, visible = hidden + int((behind & smooth).sum()), visible + int((~behind & smooth).sum())
    assert hidden > 500 and visible > 10000


@pytest.mark.slow
def test_textures_move_along() -> None:
    """Without lamps a point keeps its colour, and frames look alike along the flow."""
    differences: list[Array] = []
    otherwise: list[Array] = []
    for seed in range(8):
        shot = shot_with_flying_objects(seed, lamps=False)
        first, second = shot.frame(0), shot.frame(1)
        view, truth = render(first.scene, first.camera), flow_truth(shot, first, second)
        owner = view.instance.ravel()
        color = first.scene.textures.color(view.points(), owner)
        again = second.scene.textures.color(moved_points(shot, view, 0, 1), owner)
        assert np.quantile(np.abs(again - color).max(axis=1), 0.999) < 1e-3
        after = render(second.scene, second.camera).rgb.astype(np.float32)
        ends = (grid() + truth.flow_px).astype(np.float32)
        kept = ~truth.occluded & ~mixed_pixels(shot, first, second) & (view.instance >= len(shot.still.semantic))
        rough = cv2.remap(cv2.dilate(step_of(after), np.ones((3, 3))), ends, None, cv2.INTER_LINEAR)
        for found, where in ((cv2.remap(after, ends, None, cv2.INTER_LINEAR), rough < 40), (after, True)):
            step = np.abs(found - view.rgb).max(axis=2)[kept & where]
            (differences if where is not True else otherwise).append(step)
    along, stay = np.concatenate(differences), np.concatenate(otherwise)
    assert len(along) > 300 and np.median(along) <= 2 and (along < 12).mean() > 0.95
    assert np.median(stay) > 10


def step_of(rgb: Array) -> Array:
    """(H, W): the largest difference to a neighbour."""
    values = rgb.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    steps: Array = (cv2.dilate(values, kernel) - cv2.erode(values, kernel)).max(axis=2)
    return steps


def test_things_fly_in_sight_and_in_free_space(shots: list[Shot]) -> None:
    count = []
    for shot in shots:
        bodies = flying_objects_of(shot)
        assert 1 <= len(bodies) == len(shot.scene.semantic) - len(shot.still.semantic) <= 6
        pixels, depth = shot.camera.project(shot.objects.pivot)
        assert ((depth > 1) & (depth < 3)).all() and ((pixels > 0) & (pixels < (64, 48))).all()
        for time in (0.0, 1.0):
            scene = shot.frame(time).scene
            corners = [scene.triangles[scene.owner == body].reshape(-1, 3) for body in bodies]
            for row, mine in enumerate(corners):
                center = (mine.min(axis=0) + mine.max(axis=0)) / 2
                radius = np.linalg.norm(mine - center, axis=1).max()
                assert (mine > 0).all() and (mine < np.array(shot.scene.size)).all()
                for others in corners[:row]:
                    assert np.linalg.norm(others - center, axis=1).min() > 0.4 * radius
        seen = set(np.unique(render(shot.scene, shot.camera).instance).tolist())
        count.append((len(bodies), len(seen & bodies.keys())))
    assert sum(many for many, _ in count) >= 10
    assert sum(seen for _, seen in count) >= 0.8 * sum(many for many, _ in count)


def test_frames_of_a_shot_follow_each_other() -> None:
    """Flow from one frame to the next, then to the one after: together where the first goes in two steps."""
    shot = shot_with_flying_objects(2)
    frames: list[Frame] = [shot.frame(time) for time in (0, 1, 2)]
    view = render(frames[0].scene, frames[0].camera)
    owner = view.instance.ravel()
    points = view.points()
    for before, after in pairwise(frames):
        points = shot.move_points(points, owner, before.time, after.time)
    pixels, _ = frames[2].camera.project(points)
    truth = flow_truth(shot, frames[0], frames[2])
    assert np.abs(pixels.reshape(*SIZE, 2) - grid() - truth.flow_px).max() < 5e-3


def post_effects(**changes: Any) -> PostEffects:
    settings = {"fog": 0.0, "fog_color": np.array([0.2, 0.4, 0.6]), "focus_m": 1.25, "aperture_m": 0.0, "noise": 0.0}
    return PostEffects(**{**settings, **changes})


def test_without_effects_the_final_pass_is_the_clean_one() -> None:
    for shot in (
        room_with_a_box((0.0, 0.0, 0.0)),
        Shot.static(make_scene(3), sample_camera(make_scene(3), SIZE, np.random.default_rng(3)), Motion.none(1)),
    ):
        clean = render(shot.scene, shot.camera).rgb.astype(float)
        final = post_effects().render(shot, 0.0, np.random.default_rng(0)).astype(float)
        assert np.abs(final - clean)[step_of(clean) < 3].max() <= 3
        assert np.abs(final - clean).mean() < 2


def test_motion_blurs_around_the_middle_of_the_exposure() -> None:
    """A box that crosses 8 pixels a frame: its sides become ramps of 4 pixels, whose middles are the sharp sides."""
    focal = 32 / np.tan(np.radians(32.5))
    shot = room_with_a_box((0.0, -8 * 1.25 / focal, 0.0))
    row = post_effects().render(shot, 0.0, np.random.default_rng(0))[24, :, 0].astype(float)
    sharp = render(shot.scene, shot.camera).rgb[24, :, 0].astype(float)
    linear, hard = ((values / 255) ** 2.2 for values in (row, sharp))
    share, whole = ((values - values.min()) / np.ptp(values) for values in (linear, hard))
    columns = np.arange(64)
    assert (share * columns).sum() / share.sum() == pytest.approx((whole * columns).sum() / whole.sum(), abs=0.15)
    assert share.sum() == pytest.approx(whole.sum(), abs=0.3)
    ramps = ((share > 0.02) & (share < 0.98)).sum()
    assert 2 * 8 * SHUTTER - 1 <= ramps <= 2 * (8 * SHUTTER + 1) + 1


def test_fog_lens_and_noise() -> None:
    shot = room_with_a_box((0.0, 0.0, 0.0))
    rng = np.random.default_rng(0)
    clean = render(shot.scene, shot.camera).rgb
    foggy = post_effects(fog=0.2).render(shot, 0.0, rng)
    for row, column, depth, own in ((24, 32, 1.25, 0.9), (2, 32, 4.0, 0.1)):
        clear = np.exp(-0.2 * depth)
        expected = display(clear * own + (1 - clear) * np.array([0.2, 0.4, 0.6]))
        assert np.abs(foggy[row, column].astype(int) - expected).max() <= 1
    noisy = post_effects(noise=2.0).render(shot, 0.0, rng).astype(float)
    assert np.std((noisy - clean)[step_of(clean) == 0]) == pytest.approx(2.0, abs=0.15)
    # In focus the outline is as sharp as without a lens, out of focus it spreads.
    plain, near, far = (
        step_of(post_effects(**lens).render(shot, 0.0, rng)) > 20
        for lens in ({}, {"aperture_m": 0.1}, {"aperture_m": 0.1, "focus_m": 3.9})
    )
    assert abs(int(near.sum()) - int(plain.sum())) < 0.1 * plain.sum() and far.sum() > 1.3 * plain.sum()
