"""Tissue around a lesion and the same places on the other side, as pairs of voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MirrorPairs:
    """Voxels near a lesion, each with the one at its mirrored place; all arrays (M,)."""

    near: NDArray[np.intp]
    """Index of the voxel near the lesion."""
    mirror: NDArray[np.intp]
    """Index of the voxel at its mirrored place."""
    distance_mm: NDArray[np.float64]
    """From the voxel's centre to the lesion's border."""


def mirror_pairs(
    world_mm: Floats, mni_mm: Floats, lesion: Mask, tissue: Mask, *, voxel_mm: float, reach_mm: float
) -> MirrorPairs:
    """Pair tissue near a lesion with tissue at the mirrored place in MNI, x turned into -x.

    Both of a pair have to be tissue, so that what is compared is the same part of the anatomy.

    Parameters
    ----------
    world_mm : array (N, 3)
        Places of a brain's voxels in the image's own space, in which distances are taken.
    mni_mm : array (N, 3)
        The same voxels in MNI, RAS mm.
    lesion : array (N,)
        Voxels of the lesion, which lies on one side.
    tissue : array (N,)
        Voxels that may be compared.
    voxel_mm : float
        Size of a voxel: the border lies half of it beyond a lesion voxel's centre, and a mirrored place
        without a voxel that near has no pair.
    reach_mm : float
        Voxels farther from the border are left out, as are those on the other side of the midline.

    Returns
    -------
    MirrorPairs
        In the order of the voxels.

    """
    if not lesion.any():
        nothing = np.empty(0, np.intp)
        return MirrorPairs(nothing, nothing, np.empty(0))
    same_side = np.sign(mni_mm[:, 0]) == np.sign(np.median(mni_mm[lesion, 0]))
    near = np.flatnonzero(tissue & ~lesion & same_side)
    away, _ = KDTree(world_mm[lesion]).query(world_mm[near])
    # Rounded, so that the last digit of a transform does not move voxels over the end of a ring.
    distance = np.round(np.maximum(away - 0.5 * voxel_mm, 0.0), 6)
    near, distance = near[distance < reach_mm], distance[distance < reach_mm]
    apart, mirror = KDTree(mni_mm).query(mni_mm[near] * [-1.0, 1.0, 1.0])
    paired = (apart <= voxel_mm) & tissue[mirror] & ~lesion[mirror] & ~same_side[mirror]
    return MirrorPairs(near[paired], mirror[paired], distance[paired])
