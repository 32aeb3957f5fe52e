"""Shading that bias correction left, from how far the tissues of a place stray from the brain's mean.

A tissue mixture says what each voxel should be; the smooth part of the log ratio to that is shading (compare
Ashburner and Friston 2005, doi:10.1016/j.neuroimage.2005.02.018). Voxels that no tissue explains, an
infarct's among them, have no say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from mripipe.core.tissue import TYPICAL_DISTANCE, fit_tissues, log_density, posterior, voxels_to_fit

Floats = NDArray[np.floating]

REACH_VOXELS = 20.0
"""Standard deviation of the smoothing, in 1 mm voxels: coils shade over centimetres, gyri are narrower."""
STEP = 2
"""Every other voxel is enough for a field this smooth."""
ROUNDS = 2
LEAST_WEIGHT = 1e-3
"""Share of the largest weight below which a place has no shading of its own."""


def without_shading(
    image: Floats, brain: NDArray[np.bool_], priors: Floats, *, left_out: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Divide an image by the smooth shading that is left in it.

    Parameters
    ----------
    image : array (X, Y, Z)
        1 mm voxels, positive in the brain; NaN outside the view.
    brain : array of bool (X, Y, Z)
    priors : array (3, X, Y, Z)
        Grey matter, white matter and CSF by the template, sum 1.
    left_out : array of bool (X, Y, Z), optional
        Places without a say, whose shading is that of their surroundings: what may be infarct. A large one
        little brighter than tissue is as smooth as shading, and would be taken for some of the tissue.

    Returns
    -------
    array (X, Y, Z)
        NaN where the image is.

    """
    part = (slice(None, None, STEP),) * 3
    known = brain[part] & (np.nan_to_num(image[part]) > 0)
    values, expected = image[part][known].astype(float), priors[:, *part][:, known].T.astype(float)
    counted = voxels_to_fit(None if left_out is None else left_out[part], known)
    shading = np.zeros(known.shape, np.float32)
    for _ in range(ROUNDS):
        weight, stray = _straying(values * np.exp(-shading[known]), expected, counted)
        # From the image itself each time: smoothing what is left over would take an infarct for shading.
        shading = _smooth(weight * counted, stray + shading[known], known)
    # The last coarse voxel may lie before the image's last.
    axes = [np.minimum(np.arange(size) / STEP, (size - 1) // STEP) for size in image.shape]
    fine = map_coordinates(shading, np.meshgrid(*axes, indexing="ij"), order=1)
    return np.asarray(image * np.exp(-fine), np.float32)


def _straying(values: Floats, expected: Floats, counted: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return each voxel's precision as grey or white matter, and its log ratio to that tissue's mean."""
    column = values[:, None]
    model = fit_tissues(column[counted][::2], expected[counted][::2])
    logs = np.stack([log_density(column, m, c) for m, c in zip(model.means, model.covariances, strict=True)])
    mean, deviation = model.means[:2, 0], np.sqrt(model.covariances[:2, 0, 0])
    share = posterior(logs, expected.T + 1e-6)[:2].T * (np.abs(column - mean) < TYPICAL_DISTANCE * deviation)
    precision = share * (mean / deviation) ** 2
    weight = precision.sum(axis=1)
    tissue = np.maximum(precision @ mean / np.maximum(weight, 1e-9), 1e-6)
    return weight, np.where(weight > 1e-6, np.log(np.maximum(values, 1e-6) / tissue), 0.0)


def _smooth(weight: Floats, stray: Floats, known: NDArray[np.bool_]) -> NDArray[np.float32]:
    amount, total = np.zeros((2, *known.shape), np.float32)
    amount[known], total[known] = weight, weight * stray
    reach = REACH_VOXELS / STEP
    least = LEAST_WEIGHT * float(weight.max(initial=1e-9))
    return np.asarray(gaussian_filter(total, reach) / np.maximum(gaussian_filter(amount, reach), least))
