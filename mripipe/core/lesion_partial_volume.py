"""The infarct's border on T1w, where a voxel half of infarct, half of white matter is as bright as cortex.

By brightness alone such a voxel is grey matter, and the infarct ends a millimetre or two too early. But near
the border of an infarct that was found, voxels that hold some of each are common, and what tissue to expect
there is known. With m the infarct's brightness around that place, T_k that of tissue k, expected with
probability e_k, and s the infarct's share of a voxel, v = s m + (1 - s) T_k + noise. Every second voxel is
taken to be pure, and any share of the others to be as likely (compare Santago and Gage 1993,
doi:10.1109/42.241885). A voxel is infarct where s > 1/2 is more likely than s < 1/2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mripipe.core.distance import signed_depth
from mripipe.core.grid import box_about
from mripipe.core.healthy import HealthyModel
from mripipe.core.lesion_edge import BAND_MM, PURE_MM, local_means
from mripipe.core.tissue import LEAST_DEVIATION, log_density

Floats = NDArray[np.floating]
Masks = NDArray[np.bool_]

MIXED = 0.5
"""Share of the voxels near the border that hold both: of a band of 4 mm what a voxel and its blur take."""
LEAST_PURE = 50
"""Fewer pure voxels of the infarct tell nothing of its brightness."""
MARGIN = int(np.ceil(BAND_MM)) + 1


def partial_volume_log_odds(
    image: Floats, infarct: Masks, region: Masks, solid: Masks, expected: Floats, model: HealthyModel
) -> tuple[Floats, Masks]:
    """Return log odds of more infarct than tissue in voxels near its border, and where they hold.

    Parameters
    ----------
    image : array (X, Y, Z)
        Levelled T1w on a 1 mm grid; NaN outside its view.
    infarct : array of bool (X, Y, Z)
        As found so far.
    region : array of bool (X, Y, Z)
        Where an infarct is looked for.
    solid : array of bool (X, Y, Z)
        Not like CSF.
    expected : array (4, X, Y, Z)
        Probability of grey matter, white matter, CSF, and grey matter mixed with CSF, were there no infarct.
    model : HealthyModel
        Of this one sequence.

    Returns
    -------
    log_odds : array (X, Y, Z)
    held : array of bool (X, Y, Z)
        Empty where the infarct has no pure voxels.

    """
    log_odds, held = np.zeros(infarct.shape, np.float32), np.zeros(infarct.shape, bool)
    if not infarct.any():
        return log_odds, held
    box = box_about(infarct, MARGIN)
    depth = signed_depth(infarct[box])
    shown = region[box] & solid[box] & np.isfinite(image[box])
    inside = shown & (depth > PURE_MM)
    if inside.sum() < LEAST_PURE:
        return log_odds, held
    values = np.where(shown, image[box], 0.0).astype(np.float64)
    middle, spread = _infarct_brightness(values, inside, model)
    band = shown & (np.abs(depth) <= BAND_MM)
    shares = np.asarray(expected[:, *box][:, band], np.float64)
    log_odds[box][band] = _log_ratio(values[band], middle[band], spread, shares, model)
    held[box] = band
    return log_odds, held


def _infarct_brightness(values: Floats, inside: Masks, model: HealthyModel) -> tuple[Floats, float]:
    """Return the infarct's brightness around each place, and its robust deviation from that."""
    (local,), known = local_means(values[None], inside)
    middle = np.where(known, local, np.median(values[inside]))
    spread = 1.4826 * float(np.median(np.abs(values - middle)[inside]))
    grey, white = model.means[:2, 0]
    # Between infarct and tissue there is room: the one is the darker.
    middle = np.minimum(middle, grey - np.sqrt(model.covariances[0, 0, 0]))
    return middle, max(spread, LEAST_DEVIATION * float(white))


def _log_ratio(
    values: Floats, middle: Floats, spread: float, shares: Floats, model: HealthyModel
) -> NDArray[np.float64]:
    """Return the log odds (N,) of a share above one half, with infarct as bright as `middle` beside."""
    deviations = np.sqrt(model.covariances[:, 0, 0])
    pure = np.exp(model.log_densities(values[:, None]))
    own = log_density((values - middle)[:, None], np.zeros(1), np.full((1, 1), spread**2))
    more = (1.0 - MIXED) * np.exp(own)
    less = shares[2] * pure[2] + shares[3] * pure[3]
    tissue = shares[0] + shares[1] + 1e-6
    # With grey and with white matter a voxel may be shared; what is like CSF is not asked.
    for k in range(2):
        level = float(model.means[k, 0])
        half = (middle + level) / 2.0
        more += MIXED * shares[k] / tissue * _line(values, middle, half, deviations[k])
        less += shares[k] * (1.0 - MIXED) * pure[k]
        less += shares[k] * MIXED * _line(values, half, level, deviations[k])
    return np.asarray(np.log(more + 1e-12) - np.log(less + 1e-12))


def _line(values: Floats, low: Floats | float, high: Floats | float, deviation: float) -> NDArray[np.float64]:
    """Return the density of what is spread evenly from `low` to `high`, and blurred by a Gaussian."""
    reached = ndtr((values - low) / deviation) - ndtr((values - high) / deviation)
    return np.asarray(reached / np.maximum(high - low, 1e-9))
