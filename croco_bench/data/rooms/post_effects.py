"""How a camera films a shot: sharp, or as Sintel's final pass with blur of motion and lens, fog and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.motion import Shot
from croco_bench.data.rooms.render import display, radiance
from croco_bench.types import Array

# Of the time from one frame to the next, centred on the frame's own time: flow is that of the middle of the exposure.
SHUTTER = 0.5
_EXPOSURES = 16
# Their spread over the pixel and the lens: a sequence of low discrepancy in four dimensions, 1/g to 1/g^4, g^5 = g + 1.
_SPREAD = 1.1673039782614187 ** -np.arange(1.0, 5.0)


@dataclass(frozen=True)
class PostEffects:
    """`fog` per metre: its share of the light at a distance d is 1 - exp(-d fog), of linear colour `fog_color` (3,).

    Things at `focus_m` are sharp, through a lens of radius `aperture_m`. `noise` is the standard deviation of a grey
    level, of 255.
    """

    fog: float
    fog_color: Array
    focus_m: float
    aperture_m: float
    noise: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> PostEffects:
        """That of one shot."""
        return cls(
            fog=float(rng.uniform(0.04, 0.16)),
            fog_color=rng.uniform(0.35, 0.6) * rng.uniform(0.85, 1.0, 3),
            focus_m=float(rng.uniform(1.5, 3.5)),
            aperture_m=float(rng.uniform(0.004, 0.014)),
            noise=float(rng.uniform(1.0, 2.5)),
        )

    def expose(self, shot: Shot, time: float, rng: np.random.Generator) -> Array:
        """(H, W, 3) uint8: the light of `SHUTTER` frames about a time, gathered by 16 rays a pixel."""
        total = np.zeros((*shot.camera.size, 3))
        for number in range(_EXPOSURES):
            spread = (0.5 + number * _SPREAD) % 1
            moment = time + SHUTTER * ((number + 0.5) / _EXPOSURES - 0.5)
            frame = shot.frame(moment)
            camera = self._through_lens(frame.camera, spread[2:])
            color, depth = radiance(frame.scene, camera, (float(spread[0]) - 0.5, float(spread[1]) - 0.5))
            clear = np.exp(-self.fog * depth)[:, :, None]
            total += clear * color + (1 - clear) * self.fog_color
        image = display(total / _EXPOSURES) + self.noise * rng.normal(0, 1, total.shape)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _through_lens(self, camera: Camera, spread: Array) -> Camera:
        """The camera seen from a place on its lens: what is in focus stays on its pixels."""
        radius, angle = self.aperture_m * np.sqrt(spread[0]), 2 * np.pi * spread[1]
        aside = radius * np.array([np.cos(angle), np.sin(angle)])
        K, pose = camera.K.copy(), camera.cam2world.copy()
        K[:2, 2] += np.diag(K)[:2] * aside / self.focus_m
        pose[:3, 3] += pose[:3, :2] @ aside
        return replace(camera, K=K, cam2world=pose)
