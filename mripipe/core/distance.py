"""Euclidean distance to the nearest voxel that is not set, exact; by ITK, as scipy takes longer."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


def depth_within(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how deep each voxel lies within a mask (Maurer et al. 2003, doi:10.1109/TPAMI.2003.1177156).

    Parameters
    ----------
    mask : array of bool (X, Y, Z)
        Voxels of 1 mm.

    Returns
    -------
    array (X, Y, Z)
        Distance in voxels to the centre of the nearest voxel that is not set; 0 outside the mask, infinite
        where all voxels are set.

    Examples
    --------
    >>> depth_within(np.array([[[False, True, True]]])).ravel().tolist()
    [0.0, 1.0, 2.0]

    """
    if mask.all():
        return np.full(mask.shape, np.inf)
    outside = sitk.GetImageFromArray((~mask).astype(np.uint8))
    squared = sitk.SignedMaurerDistanceMap(
        outside, insideIsPositive=False, squaredDistance=True, useImageSpacing=False, backgroundValue=0.0
    )
    return np.sqrt(np.where(mask, sitk.GetArrayFromImage(squared), 0.0).astype(np.float64))


def signed_depth(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how deep each voxel lies within a mask, or, below 0, how far outside it.

    Parameters
    ----------
    mask : array of bool (X, Y, Z)
        Voxels of 1 mm, some of them set and some not.

    Examples
    --------
    >>> signed_depth(np.array([[[False, False, True, True]]])).ravel().tolist()
    [-2.0, -1.0, 1.0, 2.0]

    """
    return depth_within(mask) - depth_within(~mask)
