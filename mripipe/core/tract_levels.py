"""Levels of a tract: pieces of equal length that are compared each with its counterpart on the other side.

FA differs along a tract. A mean of one side in which a level counts more than in the mean of the other, since
the lesion, the field of view or the mask's rim took more of it there, tells of that and not of the tract.
So a level counts by the same size on both sides, and not at all where one side has nothing left of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Levels = NDArray[np.int64]

LEVEL_MM = 5.0
"""About two voxels: thinner levels have few voxels each."""
LEAST_WEIGHT = 0.05
"""Of the mean level's size; less than this, at an end or beside a lesion, says nothing of its own."""


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


def level_sizes(weights: Floats, everything: Floats, levels: Levels) -> dict[int, float]:
    """Return the sum of weights of each level of which something is left, with nothing left out of it.

    Parameters
    ----------
    weights, everything : array (N,)
        Weights of voxels, and what they were before anything was left out.
    levels : array (N,)

    Examples
    --------
    >>> level_sizes(np.array([1.0, 0.0, 0.0]), np.array([1.0, 2.0, 4.0]), np.array([0, 0, 1]))
    {0: 3.0}

    """
    whole, left = np.bincount(levels, everything), np.bincount(levels, weights)
    least = LEAST_WEIGHT * float(whole[whole > 0].mean()) if whole.any() else 0.0
    return {int(level): float(whole[level]) for level in np.flatnonzero(left > least)}


def shared_sizes(one: dict[int, float], other: dict[int, float]) -> dict[int, float]:
    """Return the smaller size of each level that both sides have."""
    return {level: min(size, other[level]) for level, size in one.items() if level in other}


def sized(weights: Floats, levels: Levels, sizes: dict[int, float]) -> NDArray[np.float64]:
    """Return weights (N,) that add up to the size of each level, and to 0 in a level that has none.

    Examples
    --------
    >>> sized(np.array([1.0, 3.0, 5.0, 2.0]), np.array([0, 0, 1, 2]), {0: 8.0, 1: 1.0}).tolist()
    [2.0, 6.0, 1.0, 0.0]

    """
    sums = np.bincount(levels, weights)
    factor = np.zeros(len(sums))
    for level, size in sizes.items():
        factor[level] = size / sums[level]
    return np.asarray(weights * factor[levels], np.float64)
