"""How much volume hangs on where a lesion's border is drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SMOOTHING_VOXELS = 1.0
"""Blurs the staircase of a mask, whose faces overstate its surface by half."""


def surface_area_mm2(mask: NDArray[np.bool_], affine: NDArray[np.floating]) -> float:
    """Return the surface of a mask on any grid, in mm^2: the integral of its blurred gradient's length."""
    padded = np.pad(mask.astype(np.float32), 4)
    gradient = np.stack(np.gradient(gaussian_filter(padded, SMOOTHING_VOXELS)), axis=-1)
    world = gradient @ np.linalg.inv(affine[:3, :3])
    return float(np.linalg.norm(world, axis=-1).sum() * abs(np.linalg.det(affine[:3, :3])))


def volume_interval_ml(
    mask: NDArray[np.bool_], affine: NDArray[np.floating], *, border_mm: float
) -> tuple[float, float]:
    """Return the volume in mL with the whole border moved in, and out, by a distance; at least 0.

    Parameters
    ----------
    mask : array of bool (X, Y, Z)
    affine : array (4, 4)
        Voxel index to RAS+ mm.
    border_mm : float
        Uncertainty of the border's place, all along it.

    """
    volume = float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000.0)
    change = surface_area_mm2(mask, affine) * border_mm / 1000.0
    return max(0.0, volume - change), volume + change
