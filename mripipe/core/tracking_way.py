"""The way that a tract takes through a grid: where it may run, where it must pass, where it is begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from mripipe.core.grid import voxel_sizes_mm
from mripipe.core.tract_course import Course, tract_at

CORRIDOR_MM = 8.0
"""How far from the atlas's tract a streamline may run: people differ, and an infarct shifts tissue."""
GATE_MM = 2.0
"""How far from the atlas's tract it may pass a way-point."""


@dataclass(frozen=True, eq=False)
class Way:
    """Masks on one grid, each (X, Y, Z)."""

    corridor: NDArray[np.bool_]
    """Where a streamline may run; it ends where it leaves."""
    gates: tuple[NDArray[np.bool_], ...]
    """Way-points from one end to the other, all of which it must pass."""
    seeds: NDArray[np.bool_]
    """Where streamlines are begun."""


def way_of(
    course: Course,
    side: str,
    *,
    way_points: Sequence[str],
    inside: NDArray[np.bool_],
    mni_mm: NDArray[np.floating],
    affine: NDArray[np.float64],
) -> Way:
    """Look a tract's way up on a grid.

    Parameters
    ----------
    course : Course
        Of a tract of one hemisphere.
    side : ``left`` or ``right``
    way_points : sequence of str
        Segments that a streamline must pass, from one end of the course to the other.
    inside : array of bool (X, Y, Z)
        Brain.
    mni_mm : array (N, 3)
        Place of each of its voxels in MNI, in the order of ``np.argwhere(inside)``.
    affine : array (4, 4)
        Of the grid, voxel index to RAS+ mm.

    """
    at = tract_at(course, mni_mm, side=side)
    tract = _spread(at.probability >= 0.5, inside)
    away = distance_transform_edt(~tract, sampling=voxel_sizes_mm(affine)) if tract.any() else np.inf
    own_half = _spread(mni_mm[:, 0] * (-1.0 if side == "left" else 1.0) > 0, inside)
    corridor = own_half & (away <= CORRIDOR_MM)
    near = own_half & (away <= GATE_MM)
    gates = tuple(near & _spread(at.segment == course.segments.index(name), inside) for name in way_points)
    return Way(corridor, gates, tract & own_half)


def _spread(values: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    whole = np.zeros(inside.shape, bool)
    whole[inside] = values
    return whole
