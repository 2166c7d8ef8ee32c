"""Effects of Sintel's final pass: motion blur, defocus blur, fog and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from croco_bench.data.rooms.camera import Camera
from croco_bench.data.rooms.motion import Shot
from croco_bench.data.rooms.render import display, radiance
from croco_bench.types import Array

# Exposure time in frames, centred on the time of a frame: flow is defined for the middle of the exposure.
SHUTTER = 0.5
_EXPOSURES = 16
# Steps of an additive low-discrepancy sequence over pixel and lens, in four dimensions: 1/g to 1/g^4, g^5 = g + 1.
_STEPS = 1.1673039782614187 ** -np.arange(1.0, 5.0)


@dataclass(frozen=True)
class PostEffects:
    """The effects of one shot.

    Attributes:
        fog: density per metre; the fog's share of the light from a distance d is 1 - exp(-d fog).
        fog_color: linear colour (3,) of the fog.
        focus_m: distance in focus.
        aperture_m: radius of the lens.
        noise: standard deviation of the noise, in grey levels of 255.
    """

    fog: float
    fog_color: Array
    focus_m: float
    aperture_m: float
    noise: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> PostEffects:
        """Draws the effects of a shot."""
        return cls(
            fog=float(rng.uniform(0.04, 0.16)),
            fog_color=rng.uniform(0.35, 0.6) * rng.uniform(0.85, 1.0, 3),
            focus_m=float(rng.uniform(1.5, 3.5)),
            aperture_m=float(rng.uniform(0.004, 0.014)),
            noise=float(rng.uniform(1.0, 2.5)),
        )

    def render(self, shot: Shot, time: float, rng: np.random.Generator) -> Array:
        """Renders the image (H, W, 3) uint8 of an exposure of `SHUTTER` frames around `time`, with 16 rays per pixel."""
        total = np.zeros((*shot.camera.size, 3))
        for number in range(_EXPOSURES):
            sample = (0.5 + number * _STEPS) % 1
            moment = time + SHUTTER * ((number + 0.5) / _EXPOSURES - 0.5)
            frame = shot.frame(moment)
            camera = self._through_lens(frame.camera, sample[2:])
            color, depth = radiance(frame.scene, camera, (float(sample[0]) - 0.5, float(sample[1]) - 0.5))
            clear = np.exp(-self.fog * depth)[:, :, None]
            total += clear * color + (1 - clear) * self.fog_color
        image = display(total / _EXPOSURES) + self.noise * rng.normal(0, 1, total.shape)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _through_lens(self, camera: Camera, sample: Array) -> Camera:
        """The camera moved to a point of its lens, given by two numbers in [0, 1); points in focus keep their pixels."""
        radius, angle = self.aperture_m * np.sqrt(sample[0]), 2 * np.pi * sample[1]
        offset = radius * np.array([np.cos(angle), np.sin(angle)])
        K, pose = camera.K.copy(), camera.cam2world.copy()
        K[:2, 2] += np.diag(K)[:2] * offset / self.focus_m
        pose[:3, 3] += pose[:3, :2] @ offset
        return replace(camera, K=K, cam2world=pose)
