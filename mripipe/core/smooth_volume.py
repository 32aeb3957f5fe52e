"""A smoothed volume with its slopes, looked up at points: what Gauss-Newton steps of a registration need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from mripipe.core.grid import voxel_sizes_mm

Floats = NDArray[np.floating]

SMOOTH_MM = 1.2


def smooth_with_slopes(volume: Floats, affine: Floats) -> Floats:
    """Return a volume smoothed by `SMOOTH_MM` with its gradient along RAS, a mm, (4, X, Y, Z)."""
    smooth = gaussian_filter(volume.astype(np.float32), SMOOTH_MM / voxel_sizes_mm(affine))
    along = np.stack(np.gradient(smooth))
    turn = np.linalg.inv(affine[:3, :3]).T.astype(np.float32)
    return np.concatenate([smooth[None], np.tensordot(turn, along, axes=1)])


def value_at(volume: Floats, affine: Floats, points_mm: Floats, *, slopes: bool = False) -> Floats:
    """Look the volume up at RAS points (N, 3), linearly: its value (1, N), or value and slopes (4, N)."""
    where = moved(points_mm, np.linalg.inv(affine)).T
    chosen = volume if slopes else volume[:1]
    return np.stack([map_coordinates(part, where, order=1, mode="nearest") for part in chosen])


def moved(points_mm: Floats, matrix: Floats) -> NDArray[np.float64]:
    """Map points (N, 3) by a matrix (4, 4)."""
    return np.asarray(points_mm @ matrix[:3, :3].T + matrix[:3, 3], np.float64)
