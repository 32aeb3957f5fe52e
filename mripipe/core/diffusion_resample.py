"""Lay every volume of a diffusion series over one space: motion, eddy currents and field at once.

What belongs at x is found in volume k at ``A_k (G_k x + s_k u(x) e)``: the head's place in the volume's run,
its displacement u by the field along the phase encoding, then motion and eddy currents against the run's
first volume. Signal that was pressed together is thinned by as much (Jacobian): none is made or lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, map_coordinates

from mripipe.core.diffusion_motion import STILL_MM, SeriesMotion
from mripipe.core.field_algebra import slope_along
from mripipe.core.grid import voxel_sizes_mm, voxel_to_world

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class FieldWarp:
    """What the field does to each volume of a series."""

    displacement_mm: NDArray[np.float32]
    """Along the phase-encoding axis in array order, on the series' grid (X, Y, Z)."""
    axis: int
    """Array axis of the phase encoding."""
    share: NDArray[np.float64]
    """Times the displacement, of each volume: 1, or less than 0 where encoded the other way, (N,)."""
    poses: NDArray[np.float64]
    """From the common space to the first volume of each volume's run, RAS mm, (N, 4, 4)."""


def resample_series(
    data: NDArray[np.float32],
    affine: Floats,
    motion: SeriesMotion,
    mask: NDArray[np.bool_],
    field: FieldWarp | None = None,
) -> NDArray[np.float32]:
    """Lay every volume over the first by cubic splines, once; far from the head it stays as it is.

    Parameters
    ----------
    data : array (X, Y, Z, N)
    affine : array (4, 4)
    motion : SeriesMotion
        Of each volume against the first of its run.
    mask : array of bool (X, Y, Z)
        Of the head's tissue as it lies in the series.
    field : FieldWarp, optional
        Without one, a volume that hardly moved is not interpolated.

    Returns
    -------
    array (X, Y, Z, N)

    """
    region = mask if field is None else _widened(mask, affine, field)
    points = voxel_to_world(np.argwhere(region), affine)
    inverse, whole = np.linalg.inv(affine), motion.whole
    out = data.copy()
    apart = motion.largest_mm if motion.eddy_mm is None else np.maximum(motion.largest_mm, motion.eddy_mm)
    if field is not None:
        way = affine[:3, field.axis] / np.linalg.norm(affine[:3, field.axis])
        step_mm = float(voxel_sizes_mm(affine)[field.axis])
        slope = slope_along(field.displacement_mm, step_mm, field.axis)[region]
        shift = field.displacement_mm[region][:, None] * way
    for k in np.flatnonzero(apart > STILL_MM) if field is None else range(data.shape[3]):
        where: Floats = points
        factor: Floats = np.ones(len(points))
        if field is not None:
            where = _apply(points, field.poses[k]) + field.share[k] * shift
            factor = np.maximum(1.0 + field.share[k] * slope, 0.0)
        where = _apply(_apply(where, whole[k]), inverse)
        factor = factor * np.linalg.det(whole[k][:3, :3])
        values = map_coordinates(data[..., k], where.T, order=3, mode="nearest")
        out[..., k][region] = np.maximum(values * factor, 0.0)
    return out


def _widened(mask: NDArray[np.bool_], affine: Floats, field: FieldWarp) -> NDArray[np.bool_]:
    """Return the mask with all that may be displaced into it or out of it."""
    reach = float(np.abs(field.displacement_mm[mask]).max(initial=0.0) * np.abs(field.share).max())
    zooms = voxel_sizes_mm(affine)
    return np.asarray(distance_transform_edt(~mask, sampling=zooms) <= reach + zooms.max())


def _apply(points: Floats, matrix: Floats) -> Floats:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])
