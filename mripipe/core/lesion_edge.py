"""The infarct's border: half way between the brightness of the infarct and of the tissue beside it.

A voxel's evidence against all tissue of the brain says that it is infarct as soon as it is brighter than
tissue is: of a bright infarct's blurred edge that takes the whole, of a faint one's too little. Once the
infarct is found, its own brightness and that of its surroundings are known at every place, and the border
can be drawn where a voxel is as much the one as the other (a local two-region model: Lankton and Tannenbaum
2008, doi:10.1109/TIP.2008.2004611; the discriminant is Fisher's).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mripipe.core.distance import signed_depth
from mripipe.core.grid import box_about

Floats = NDArray[np.floating]
Masks = NDArray[np.bool_]

BAND_MM = 2.0
"""Depth to either side of the border in which voxels are decided anew: what thick slices blur."""
PURE_MM = 1.5
"""From this depth on a voxel counts as wholly infarct, or wholly tissue."""
BESIDE_MM = 12.0
"""Tissue further away tells nothing of the border."""
REACH_MM = 4.0
"""Deviation of the Gaussian over which either side's brightness is averaged."""
LEAST_WEIGHT = 0.02
"""Less of that Gaussian over one of the two sides is no mean."""
OUTLIER_DEVIATIONS = 3.0


def edge_log_odds(images: Floats, infarct: Masks, region: Masks, solid: Masks) -> tuple[Floats, Masks]:
    """Return log odds of infarct against tissue near its border, and where they hold.

    Parameters
    ----------
    images : array (C, X, Y, Z)
        Levelled sequences on a 1 mm grid, one of them at least on which gliosis is brighter than any tissue;
        NaN outside their view. On T1w alone the brightness half way from gliosis to white matter is that of
        grey matter, and says nothing.
    infarct : array of bool (X, Y, Z)
        As found so far.
    region : array of bool (X, Y, Z)
        Where an infarct is looked for.
    solid : array of bool (X, Y, Z)
        Not like CSF: what is CSF in a cavity or a sulcus is not told by brightness.

    Returns
    -------
    log_odds : array (X, Y, Z)
    held : array of bool (X, Y, Z)
        Empty where there is no pure infarct or no pure tissue.

    """
    log_odds, held = np.zeros(infarct.shape, np.float32), np.zeros(infarct.shape, bool)
    if not infarct.any():
        return log_odds, held
    box = box_about(infarct, int(np.ceil(BESIDE_MM)))
    depth = signed_depth(infarct[box])
    shown = region[box] & solid[box] & np.isfinite(images[:, *box]).all(axis=0)
    inside, beside = (shown & side for side in (depth > PURE_MM, (depth < -PURE_MM) & (depth > -BESIDE_MM)))
    values = np.where(shown, images[:, *box], 0.0).astype(np.float32)
    (within, known), (outside, also) = local_means(values, inside), local_means(values, beside)
    sure = shown & known & also
    # Two sides, and more voxels than a covariance has numbers.
    if min((inside & sure).sum(), (beside & sure).sum()) < 10 * len(images):
        return log_odds, held
    spread = 0.5 * (_spread(values, within, inside & sure) + _spread(values, outside, beside & sure))
    slope = np.tensordot(np.linalg.inv(spread), within - outside, axes=1)
    log_odds[box] = ((values - 0.5 * (within + outside)) * slope).sum(axis=0)
    held[box] = sure & (np.abs(depth) <= BAND_MM)
    return log_odds, held


def local_means(values: Floats, part: Masks) -> tuple[Floats, Masks]:
    """Return the means (C, X, Y, Z) of a part's voxels around each place, and where there are enough."""
    weight = gaussian_filter(part.astype(np.float32), REACH_MM)
    sums = np.stack([gaussian_filter(np.where(part, image, np.float32(0.0)), REACH_MM) for image in values])
    return sums / np.maximum(weight, 1e-4), weight > LEAST_WEIGHT


def _spread(values: Floats, mean: Floats, part: Masks) -> Floats:
    """Return the covariance (C, C) of a part's voxels about their local mean, outliers drawn in."""
    rest = (values - mean)[:, part]
    limit = OUTLIER_DEVIATIONS * 1.4826 * np.median(np.abs(rest), axis=1, keepdims=True) + 1e-6
    drawn_in = np.clip(rest, -limit, limit)
    return np.asarray(drawn_in @ drawn_in.T / drawn_in.shape[1] + 1e-6 * np.eye(len(values)))
