"""Which part of a tract's tube holds the tract: where diffusion runs along its centre line.

Crossing tracts of other anisotropy would dilute what is measured. The direction is looked at on both sides
and their mean is used for both, so that a tract that degenerates on one side is weighted there as on the
other: its weakest voxels are not the ones left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Floats = NDArray[np.floating]

LOW, HIGH = 0.3, 0.6
"""Squared cosine between diffusion and centre line at which a voxel starts to count, and counts in full."""
FLOOR = 0.01
"""Weight of a voxel where diffusion runs another way: where all do, the plain mean is left."""
LEAST_FA = 0.2
"""Below, the main direction is noise."""
NEIGHBOURS = 7
REACH_MM = 6.0
"""A place whose neighbours lie further away is outside the brain."""


def rotation_between(from_mm: Floats, to_mm: Floats) -> NDArray[np.float64]:
    """Return the rotation (3, 3) nearest to the affine that best maps points (N, 3) to others (N, 3)."""
    padded = np.column_stack([from_mm, np.ones(len(from_mm))])
    linear = np.linalg.lstsq(padded, to_mm, rcond=None)[0][:3].T
    u, _, vt = np.linalg.svd(linear)
    return np.asarray(u @ vt, np.float64)


def along_tract(directions: Floats, tangents: Floats, fa: Floats) -> NDArray[np.float64]:
    """Return the squared cosine between diffusion and a tract, 0 where FA is low, shape (N,).

    Parameters
    ----------
    directions, tangents : arrays (N, 3)
        Unit vectors in the same axes; signs have no meaning.
    fa : array (N,)

    """
    cosine = np.einsum("ni,ni->n", directions, tangents)
    return np.asarray(np.where(fa > LEAST_FA, cosine**2, 0.0), np.float64)


def both_sides(
    tree: KDTree, here_mm: Floats, own: NDArray[np.float64], other: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return the weight of each voxel of a tract, `FLOOR` to 1, shape (M,).

    Parameters
    ----------
    tree : KDTree
        Of the brain's voxels in MNI mm, shape (N, 3).
    here_mm : array (M, 3)
        The tract's voxels in MNI mm.
    own, other : arrays (N,)
        `along_tract` at all of the brain's voxels for this side's tract and the other side's; None for a
        tract that crosses the midline.

    """
    _, near = tree.query(here_mm, k=NEIGHBOURS)
    value = own[near].mean(axis=1)
    if other is not None:
        apart, near = tree.query(here_mm * np.array([-1.0, 1.0, 1.0]), k=NEIGHBOURS)
        mirrored = other[near].mean(axis=1)
        value = np.where(apart.max(axis=1) < REACH_MM, 0.5 * (value + mirrored), value)
    t = np.clip((value - LOW) / (HIGH - LOW), 0.0, 1.0)
    return np.asarray(FLOOR + (1.0 - FLOOR) * t * t * (3.0 - 2.0 * t))
