"""A rough mask of the head's tissue in a diffusion series."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

Floats = NDArray[np.floating]

SMOOTH_MM = 3.0
RIM_MM = 4.0
"""Around what is bright: the cortex's edge and partly filled voxels stay in."""


def diffusion_mask(mean_weighted: Floats, zooms_mm: Floats) -> NDArray[np.bool_]:
    """Find the tissue in the mean of the weighted volumes, where fat and fluid are dark.

    Parameters
    ----------
    mean_weighted : array (X, Y, Z)
    zooms_mm : array (3,)
        Voxel size along each array axis.

    Returns
    -------
    array of bool (X, Y, Z)
        One piece without holes, a few millimetres wider than the brain. All of the image where it shows none.

    """
    smooth = ndimage.gaussian_filter(np.asarray(mean_weighted, np.float32), SMOOTH_MM / np.asarray(zooms_mm))
    inside = smooth[smooth > 0]
    if inside.size == 0 or float(inside.min()) == float(inside.max()):
        return np.ones(mean_weighted.shape, bool)
    # A few very bright voxels must not rule the threshold.
    bright = smooth > threshold_otsu(np.minimum(inside, np.percentile(inside, 98.0)))
    labels, count = ndimage.label(bright)
    if count == 0:
        return np.ones(mean_weighted.shape, bool)
    largest = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    near = ndimage.distance_transform_edt(~largest, sampling=zooms_mm) <= RIM_MM
    return np.asarray(ndimage.binary_fill_holes(near))
