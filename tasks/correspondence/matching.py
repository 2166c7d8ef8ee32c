"""Matches by nearest neighbours of tokens and by attention, for batches of pairs and all points at once.

Positions are (x, y) shares of the image's width and height, from 0 to 1. Maps between tokens are bilinear, with the outermost
tokens continued to the edge. Everything is float64: tokens of random weights are so alike that in float32 rounding, which differs
between processors, would choose among them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from croco_bench.types import Size


def interpolation(positions: Tensor, cells: int) -> Tensor:
    """Bilinear weights (..., cells) of cells whose centers divide [0, 1] evenly, at positions (...) along one axis."""
    place = (positions * cells - 0.5).clamp(0, cells - 1)
    return (1 - (place[..., None] - torch.arange(cells, device=positions.device)).abs()).clamp(min=0)


def tokens_at(tokens: Tensor, grid: Size, points: Tensor) -> Tensor:
    """Tokens (B, N, C) interpolated at points (B, P, 2): (B, P, C)."""
    down, across = (interpolation(points[..., axis], cells) for axis, cells in ((1, grid[0]), (0, grid[1])))
    weights = (down[..., :, None] * across[..., None, :]).flatten(-2)  # (B, P, N)
    return weights @ tokens


def lengths(tokens: Tensor, grid: Size, rows: Tensor, columns: Tensor) -> Tensor:
    """Norms (B, H, W) of tokens (B, N, C) interpolated at all crossings of rows (H,) and columns (W,).

    Between neighbours u and v, the square of a norm is (1 - b)^2 |u|^2 + 2 b (1 - b) u.v + b^2 |v|^2. In both directions it
    follows from the products of each token with itself and its neighbours, so that no map of C channels and H x W positions
    is needed.
    """
    field = tokens.view(len(tokens), *grid, -1)
    down, across = interpolation(rows, grid[0]), interpolation(columns, grid[1])  # (H, h), (W, w)
    upper, lower = field[:, :-1], field[:, 1:]
    square = _between(_dot(field, field), 2 * _dot(field[:, :, :-1], field[:, :, 1:]), across)  # (B, h, W)
    diagonals = _dot(upper[:, :, :-1], lower[:, :, 1:]) + _dot(upper[:, :, 1:], lower[:, :, :-1])
    beside = _between(_dot(upper, lower), diagonals, across)  # (B, h - 1, W)
    mixed = _between(square.mT, 2 * beside.mT, down).mT
    return mixed.clamp(min=1e-12).sqrt()


def _dot(one: Tensor, two: Tensor) -> Tensor:
    return torch.einsum("byxc,byxc->byx", one, two)


def _between(alone: Tensor, beside: Tensor, weights: Tensor) -> Tensor:
    """Products (..., m) at positions of `weights` (m, n), from those (..., n) of places and (..., n - 1) of their neighbours."""
    return alone @ weights.mT**2 + beside @ (weights[:, :-1] * weights[:, 1:]).mT


class Candidates:
    """Positions of view 2 that a match may have: the centers of a fine grid of square cells.

    A search looks at every `step`-th cell in both directions first, then at all cells less than `step` from the best of these.
    """

    def __init__(self, cells: Size, step: int, device: torch.device) -> None:
        self.cells, self.step = cells, step
        self._rows, self._columns = (
            (torch.arange(count, device=device, dtype=torch.float64) + 0.5) / count for count in cells
        )
        self._coarse = [torch.arange(step // 2, count, step, device=device) for count in cells]
        self._near = torch.arange(1 - step, step, device=device)

    def nearest(self, queries: Tensor, tokens: Tensor, grid: Size) -> Tensor:
        """The candidates (B, P, 2) with the highest cosine similarity between a query and the tokens interpolated there.

        Args:
            queries: (B, P, C).
            tokens: of view 2, (B, N, C).
            grid: (h, w) of these tokens.
        """
        similar = (queries @ tokens.mT).view(*queries.shape[:2], *grid)  # (B, P, h, w)
        norms = lengths(tokens, grid, self._rows, self._columns)
        down, across = interpolation(self._rows, grid[0]), interpolation(self._columns, grid[1])
        row, column = self._best_coarse(similar, norms, down, across)
        rows, columns = (
            (best[..., None] + self._near).clamp(0, count - 1)
            for best, count in zip((row, column), self.cells, strict=True)
        )
        window = down[rows] @ similar @ across[columns].mT  # (B, P, k, k)
        batch = torch.arange(len(norms), device=norms.device)[:, None, None, None]
        best = (window / norms[batch, rows[..., :, None], columns[..., None, :]]).flatten(2).argmax(dim=2)
        side = len(self._near)
        row = rows.gather(2, (best // side)[..., None])[..., 0]
        column = columns.gather(2, (best % side)[..., None])[..., 0]
        return torch.stack([self._columns[column], self._rows[row]], dim=-1)

    def _best_coarse(self, similar: Tensor, norms: Tensor, down: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column (B, P) of the best coarse cell."""
        rows, columns = self._coarse
        dense = down[rows] @ similar @ across[columns].mT  # (B, P, H, W)
        best = dense.div_(norms[:, rows][:, :, columns][:, None]).flatten(2).argmax(dim=2)
        return rows[best // len(columns)], columns[best % len(columns)]


def by_attention(attention: Tensor, grid: Size, points: Tensor) -> Tensor:
    """Matches (B, P, 2) from attention (B, N, N) between the tokens of two views, whose grid is (h, w).

    The attention of a point is interpolated between tokens; its match is the center of mass of the 3x3 tokens about the
    highest one.
    """
    found = tokens_at(attention, grid, points)  # (B, P, N)
    best = found.argmax(dim=2)
    row, column = best // grid[1], best % grid[1]
    near = torch.arange(-1, 2, device=found.device)
    rows, columns = row[..., None] + near, column[..., None] + near
    inside = ((rows >= 0) & (rows < grid[0]))[..., :, None] & ((columns >= 0) & (columns < grid[1]))[..., None, :]
    index = rows.clamp(0, grid[0] - 1)[..., :, None] * grid[1] + columns.clamp(0, grid[1] - 1)[..., None, :]
    mass = found.gather(2, index.flatten(2)).view(inside.shape) * inside  # (B, P, 3, 3)
    total = mass.sum(dim=(2, 3)).clamp(min=1e-12)
    y = (mass.sum(dim=3) * (rows + 0.5)).sum(dim=2) / total / grid[0]
    x = (mass.sum(dim=2) * (columns + 0.5)).sum(dim=2) / total / grid[1]
    return torch.stack([x, y], dim=-1)
