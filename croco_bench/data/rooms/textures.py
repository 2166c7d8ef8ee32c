"""Solid textures: colour as a function of a point on an object, so that all views of it agree.

Patterns are large compared with a patch, and no detail is finer than a few pixels: with fine textures, small networks don't
learn correspondence.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from croco_bench.types import Array

KINDS = ("plain", "stripes", "checks", "blobs", "bricks", "gradient")
_PLAIN, _STRIPES, _CHECKS, _BLOBS, _BRICKS, _GRADIENT = range(len(KINDS))


@dataclass(frozen=True)
class Textures:
    """Textures of n objects.

    Attributes:
        kind: (n,), indices of `KINDS`.
        period: (n,), metres.
        first: colours (n, 3) in [0, 1], where the pattern is 0.
        second: colours (n, 3) in [0, 1], where the pattern is 1.
        frame: rotations (n, 3, 3) of the world into texture axes.
        phase: (n, 3), in periods.
    """

    kind: Array
    period: Array
    first: Array
    second: Array
    frame: Array
    phase: Array

    @classmethod
    def sample(cls, kinds: list[tuple[str, ...]], rng: np.random.Generator) -> Textures:
        """Draws one texture per entry, with one of the kinds in the entry."""
        count = len(kinds)
        chosen = np.array([KINDS.index(str(rng.choice(allowed))) for allowed in kinds])
        hue, other = rng.random(count), rng.uniform(0.08, 0.5, count)
        value = rng.uniform(0.35, 0.95, count)
        darker = np.clip(value + rng.choice([-1, 1], count) * rng.uniform(0.25, 0.5, count), 0.08, 1.0)
        saturation = rng.uniform(0.1, 0.75, count)
        angles = rng.uniform(0, np.pi / 2, (count, 2)) * (rng.random((count, 1)) < 0.5)
        return cls(
            kind=chosen,
            period=rng.uniform(0.5, 1.4, count),
            first=_rgb(hue, saturation, value),
            second=_rgb((hue + other) % 1, saturation, darker),
            frame=np.stack([_rotation(around_z, around_x) for around_z, around_x in angles]),
            phase=rng.uniform(0.1, 0.9, (count, 3)),
        )

    def joined(self, others: Textures) -> Textures:
        """These textures, followed by others."""
        names = [field.name for field in fields(self)]
        return Textures(**{name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in names})

    def moved(self, rotation: Array, translation: Array) -> Textures:
        """The textures of objects rotated by `rotation` (n, 3, 3), then translated by `translation` (n, 3) in metres."""
        frame = self.frame @ rotation.transpose(0, 2, 1)
        phase = self.phase - np.einsum("nij,nj->ni", frame, translation) / self.period[:, None]
        return replace(self, frame=frame.astype(np.float32), phase=phase)

    def color(self, points: Array, owner: Array) -> Array:
        """Linear colours (m, 3) at points (m, 3) in metres on objects `owner` (m,)."""
        local = np.einsum("nij,nj->ni", self.frame[owner], points) / self.period[owner][:, None] + self.phase[owner]
        share = np.zeros(len(points), dtype=np.float32)
        kinds = self.kind[owner]
        for kind, pattern in _PATTERNS.items():
            rows = np.flatnonzero(kinds == kind)
            if rows.size:
                share[rows] = pattern(local[rows], owner[rows])
        return self.first[owner] + (self.second - self.first)[owner] * share[:, None]


def _rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """HSV in [0, 1] -> RGB (n, 3) float32."""
    sector = (hue[:, None] * 6 + np.array([5.0, 3.0, 1.0])) % 6
    ramp = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    color: Array = value[:, None] * (1 - saturation[:, None] * ramp)
    return color.astype(np.float32)


def _rotation(around_z: float, around_x: float) -> Array:
    """Rotation (3, 3) about z, then about x, by angles in radians."""
    cos_z, sin_z, cos_x, sin_x = np.cos(around_z), np.sin(around_z), np.cos(around_x), np.sin(around_x)
    about_z = np.array([[cos_z, -sin_z, 0], [sin_z, cos_z, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cos_x, -sin_x], [0, sin_x, cos_x]])
    both: Array = about_x @ about_z
    return both.astype(np.float32)


def _edge(wave: Array, softness: float = 0.12) -> Array:
    """A wave in [-1, 1] -> its sign as 0 or 1, with soft edges against aliasing."""
    return np.clip(wave / softness * 0.5 + 0.5, 0, 1)


# Patterns: points (m, 3) in texture axes and periods, and their objects (m,) -> share (m,) of the second colour.


def _stripes(local: Array, owner: Array) -> Array:
    return _edge(np.sin(2 * np.pi * local[:, 0]))


def _checks(local: Array, owner: Array) -> Array:
    waves = np.sin(np.pi * local)
    return _edge(waves[:, 0] * waves[:, 1] * np.where(np.abs(waves[:, 2]) < 0.1, 1, np.sign(waves[:, 2])))


def _bricks(local: Array, owner: Array) -> Array:
    row = local[:, 2] * 2
    across = local[:, 0] + local[:, 1] + 0.5 * (np.floor(row) % 2)
    mortar = np.minimum(np.abs(row - np.round(row)) * 0.5, np.abs(across - np.round(across)))
    tint = _hash(np.floor(row).astype(np.int64), np.floor(across + 0.5).astype(np.int64), owner)
    share: Array = np.clip(1 - mortar / 0.06, 0, 1) * 0.9 + 0.35 * tint * (mortar > 0.03)
    return share


def _gradient(local: Array, owner: Array) -> Array:
    return np.clip(0.5 + 0.5 * np.sin(np.pi * 0.6 * local[:, 2]), 0, 1)


def _blobs(local: Array, owner: Array) -> Array:
    """Value noise with a soft threshold."""
    noise = _noise(local * 1.3, owner)
    return _edge(noise - 0.5, 0.25)


def _noise(local: Array, owner: Array) -> Array:
    """Smoothly interpolated value noise in [0, 1] on the integer lattice, different for every object."""
    base = np.floor(local).astype(np.int64)
    inside = (local - base).astype(np.float32)
    inside = inside * inside * (3 - 2 * inside)
    total = np.zeros(len(local), dtype=np.float32)
    for corner in range(8):
        offset = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
        weight = np.prod(np.where(offset, inside, 1 - inside), axis=1)
        cell = base + offset
        total += weight * _hash(cell[:, 0] + 57 * cell[:, 2], cell[:, 1], owner)
    return total


def _hash(first: Array, second: Array, third: Array) -> Array:
    """Hash of integers: uniform float32 in [0, 1)."""
    mixed = (first * 73856093) ^ (second * 19349663) ^ (third.astype(np.int64) * 83492791)
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    low: Array = (mixed ^ (mixed >> 16)) & 0xFFFF
    return low.astype(np.float32) / 65536


_PATTERNS = {_STRIPES: _stripes, _CHECKS: _checks, _BLOBS: _blobs, _BRICKS: _bricks, _GRADIENT: _gradient}
