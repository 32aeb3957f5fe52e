"""Slopes of a field on a grid, the field carried to another grid, and a symmetric system solved.

What both ways of finding distortion by the field have in common.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

Floats = NDArray[np.floating]

SOLVER_STEPS = 40
SOLVER_TOLERANCE = 1e-2


def slope_along(field: Floats, step_mm: float, axis: int) -> Floats:
    """Return the slope of a field along an array axis by differences of both neighbours, 0 at the ends."""
    ahead, here, behind = (part_along(axis, *cut) for cut in ((2, None), (1, -1), (None, -2)))
    out = np.zeros_like(field)
    out[here] = (field[ahead] - field[behind]) / (2.0 * step_mm)
    return out


def slope_turned(field: Floats, step_mm: float, axis: int) -> Floats:
    """Return the transpose of `slope_along` times a field."""
    ahead, here, behind = (part_along(axis, *cut) for cut in ((2, None), (1, -1), (None, -2)))
    out = np.zeros_like(field)
    out[ahead] += field[here]
    out[behind] -= field[here]
    return out / (2.0 * step_mm)


def part_along(axis: int, start: int | None, stop: int | None) -> tuple[slice, ...]:
    """Return slices of a volume (X, Y, Z): from `start` to `stop` along one axis, all of the others."""
    return tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))


def stretched(field: Floats, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Carry a field to a grid between the same ends."""
    steps = [
        np.linspace(0.0, n - 1, count, dtype=np.float32) for n, count in zip(field.shape, shape, strict=True)
    ]
    where = np.meshgrid(*steps, indexing="ij")
    return np.asarray(map_coordinates(field, where, order=1, mode="nearest"), np.float32)


def solve_symmetric(system: Callable[[Floats], Floats], right: Floats, diagonal: Floats) -> Floats:
    """Solve a symmetric system by conjugate gradients."""
    x, rest = np.zeros_like(right), right.copy()
    scaled = rest / diagonal
    way, size = scaled.copy(), float((rest * scaled).sum())
    target = SOLVER_TOLERANCE**2 * size
    for _ in range(SOLVER_STEPS):
        if size <= target:
            break
        image = system(way)
        length = np.float32(size / float((way * image).sum()))
        x += length * way
        rest -= length * image
        scaled = rest / diagonal
        after = float((rest * scaled).sum())
        way = scaled + np.float32(after / size) * way
        size = after
    return np.asarray(x)
