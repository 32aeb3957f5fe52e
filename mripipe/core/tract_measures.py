"""Numbers of a tract: means weighted by its probability, profiles along it, what a lesion takes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

PROFILE_NODES = 100
PROFILE_SIGMA_NODES = 1.5
"""A node is narrower than a voxel: its neighbours share in its mean."""


@dataclass(frozen=True)
class WeightedMean:
    """A mean and what it rests on."""

    value: float | None
    weight: float
    """Sum of the weights."""


def weighted_mean(values: Floats, weights: Floats) -> WeightedMean:
    """Return the mean of the values that are finite; None where no weight is left.

    Examples
    --------
    >>> weighted_mean(np.array([0.25, 0.75, np.nan]), np.array([1.0, 3.0, 9.0]))
    WeightedMean(value=0.625, weight=4.0)

    """
    usable = np.isfinite(values) & (weights > 0)
    total = float(weights[usable].sum())
    if total <= 0:
        return WeightedMean(None, 0.0)
    return WeightedMean(float((values[usable] * weights[usable]).sum() / total), total)


def asymmetry(ipsi: float, contra: float) -> tuple[float, float]:
    """Return ipsi / contra and (contra - ipsi) / (contra + ipsi); both values above 0.

    Examples
    --------
    >>> asymmetry(0.3, 0.5)
    (0.6, 0.25)

    """
    return ipsi / contra, (contra - ipsi) / (contra + ipsi)


def profile(
    values: Floats, weights: Floats, positions: Floats, *, nodes: int = PROFILE_NODES
) -> NDArray[np.float64]:
    """Return the mean along a tract at equal steps, NaN where there is nothing, shape (nodes,).

    Parameters
    ----------
    values, weights, positions : arrays (N,)
        Positions run from 0 to 1.

    """
    usable = np.isfinite(values) & (weights > 1e-6)
    centres = (np.arange(nodes) + 0.5) / nodes
    apart = (centres[:, None] - positions[usable][None, :]) * nodes / PROFILE_SIGMA_NODES
    near = np.where(np.abs(apart) < 3.0, np.exp(-0.5 * apart**2), 0.0) * weights[usable]
    total = near.sum(axis=1)
    found = near @ values[usable]
    return np.where(total > 0.05, found / np.where(total > 0, total, 1.0), np.nan)


def slice_weights(probability: Floats, z_index: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the largest section of a tract over its section on each axial slice, shape (N,).

    Parameters
    ----------
    probability : array (N,)
        Of the tract, at every voxel of a grid whose slices are axial in MNI.
    z_index : array (N,)
        Slice of each voxel.

    Notes
    -----
    A lesion of the narrow internal capsule counts more than one of the wide corona radiata: Zhu et al. 2010,
    doi:10.1161/STROKEAHA.109.577023.

    """
    first = int(z_index.min())
    section = np.bincount(z_index - first, probability)
    factor = section.max() / np.maximum(section, 1e-6)
    return np.asarray(factor[z_index - first])
