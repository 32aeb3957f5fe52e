"""Levels of a tract: pieces of equal length, each of which counts alike in a mean over the tract.

A tract fans out, and its widest part, where it is mixed most with other fibres, would rule a mean over
voxels. A mean over levels is that of the profile along the tract (Yeatman et al. 2012,
doi:10.1371/journal.pone.0049790). FA differs along a tract, so both sides have to rest on the same levels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Levels = NDArray[np.int64]

LEVEL_MM = 5.0
"""About two voxels: thinner levels have few voxels each."""
LEAST_WEIGHT = 0.05
"""Of the mean level's weight; one that has less, at an end or beside a lesion, says nothing of its own."""


def levels_of(positions: Floats, length_mm: float) -> Levels:
    """Return the number of each point's level, from 0, shape (N,).

    Parameters
    ----------
    positions : array (N,)
        Where along the tract, 0 to 1.
    length_mm : float
        Of the tract.

    Examples
    --------
    >>> levels_of(np.array([0.0, 0.3, 0.6, 1.0]), 10.0).tolist()
    [0, 0, 1, 1]

    """
    count = max(round(length_mm / LEVEL_MM), 1)
    return np.clip((np.asarray(positions, np.float64) * count).astype(np.int64), 0, count - 1)


def held(weights: Floats, levels: Levels, everything: Floats) -> frozenset[int]:
    """Return the levels that are left.

    Parameters
    ----------
    weights, everything : array (N,)
        Weights of voxels, and what they were before anything was left out.
    levels : array (N,)

    """
    whole = np.bincount(levels, everything)
    if not whole.any():
        return frozenset()
    left = np.bincount(levels, weights)
    return frozenset(np.flatnonzero(left > LEAST_WEIGHT * whole[whole > 0].mean()).tolist())


def evened(weights: Floats, levels: Levels, kept: frozenset[int]) -> NDArray[np.float64]:
    """Return weights that add up to 1 in each of the levels kept, and are 0 elsewhere, shape (N,).

    Examples
    --------
    >>> evened(np.array([1.0, 3.0, 5.0, 2.0]), np.array([0, 0, 1, 2]), frozenset({0, 1})).tolist()
    [0.25, 0.75, 1.0, 0.0]

    """
    sums = np.bincount(levels, weights)[levels]
    inside = np.isin(levels, sorted(kept)) & (sums > 0)
    return np.where(inside, weights / np.where(inside, sums, 1.0), 0.0)
