"""Smoothing inside a region alone: what lies outside it neither adds nor takes away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.floating]


def smoother_within(
    region: NDArray[np.bool_], reach: float, *, least: float = 0.05
) -> Callable[[Floats], NDArray[np.float32]]:
    """Return a function that averages a map over a region by a Gaussian.

    Parameters
    ----------
    region : array of bool (X, Y, Z)
    reach : float
        Standard deviation of the Gaussian, in voxels.
    least : float
        Share of the Gaussian's weight inside the region below which an average fades to 0.

    Returns
    -------
    function
        Takes a map (X, Y, Z) and returns its average, also at places outside the region.

    """
    weight = np.maximum(gaussian_filter(region.astype(np.float32), reach), np.float32(least))

    def smooth(values: Floats) -> NDArray[np.float32]:
        inside = np.where(region, values, 0.0).astype(np.float32)
        return np.asarray(gaussian_filter(inside, reach) / weight, np.float32)

    return smooth
