"""Slices that fell out: much darker than the other volumes say, because the head moved as they were taken.

A tensor fitted to all volumes predicts each slice; the ratio of the slice's mean to its prediction tells a
slice that fell out from noise (after Andersson et al. 2016, doi:10.1016/j.neuroimage.2016.06.058). Fit and
search are repeated without the slices found, which had drawn the prediction to them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mripipe.core.gradients import GradientTable
from mripipe.core.tensor import expected_signal, fit_tensor, tensor_volumes

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]

ROUNDS = 4
SAMPLES = 60000
"""Voxels that are looked at: a slice's mean needs no more."""
LEAST_SIGNAL = 0.25
"""Of the head's bright tissue."""
LEAST_VOXELS = 40
"""Of a slice, among those looked at."""
LEAST_SECTION = 0.3
"""Of the largest slice: at the head's ends a slice changes as the head moves through it."""
NEIGHBOURS = 3
"""Slices on either side that one is compared with."""
LEAST_LOSS = 0.25
"""A slice that lost less than this share of its signal against its neighbours is left: a head that moves by
2 mm and 2 degrees makes a sixth."""
HEAVY_LOSS = 0.4
"""A slice that lost this share of its signal fell out, whatever became of its neighbours."""
DEVIATIONS = 5.0
SMALLEST_SHARE = 1e-3
"""Of the largest signal: the logarithm of less says nothing."""
LEFT_IN = 1e-3
"""Weight of what is left out: 0 would leave a voxel undetermined where a slice fell out of many volumes."""


def find_dropped_slices(
    data: NDArray[np.float32], table: GradientTable, mask: Mask, *, axis: int
) -> NDArray[np.bool_]:
    """Find slices that fell out of weighted volumes.

    Parameters
    ----------
    data : array (X, Y, Z, N)
        Before anything that interpolates.
    table : GradientTable
    mask : array of bool (X, Y, Z)
        Of the head's tissue.
    axis : int
        Array axis across the slices, 0 to 2.

    Returns
    -------
    array of bool (N, slices)
        Only volumes that a tensor is fitted to are looked at.

    """
    mean = data.mean(axis=3)
    # Beside the head there is nothing to lose.
    index = np.argwhere(mask & (mean > LEAST_SIGNAL * np.percentile(mean[mask], 90.0)))
    index = index[:: max(1, len(index) // SAMPLES)]
    fitted = np.flatnonzero(tensor_volumes(table))
    part = table.take(fitted)
    signal, place = data[tuple(index.T)][:, fitted], index[:, axis]
    counts = np.bincount(place, minlength=data.shape[axis])
    dropped = np.zeros((len(fitted), data.shape[axis]), bool)
    # One b = 0 volume has nothing to be compared with.
    judged = (~part.is_b0)[:, None] & (counts >= max(LEAST_VOXELS, LEAST_SECTION * counts.max(initial=0)))
    for _ in range(ROUNDS if judged.any() else 0):
        weights = np.where(dropped[:, place].T, LEFT_IN, 1.0)
        expected = _expected(signal, part, weights)
        more = judged & ~dropped & _dark(signal, expected, place, judged & ~dropped)
        if not more.any():
            break
        dropped |= more
    out = np.zeros((data.shape[3], data.shape[axis]), bool)
    out[fitted] = dropped
    return out


def fill_dropped_slices(
    data: NDArray[np.float32], table: GradientTable, mask: Mask, dropped: Mask, *, axis: int
) -> NDArray[np.float32]:
    """Put what the other volumes predict in place of slices that fell out.

    Parameters
    ----------
    data, table, mask, axis
        As for `find_dropped_slices`.
    dropped : array of bool (N, slices)

    Returns
    -------
    array (X, Y, Z, N)
        Outside the mask as it was.

    """
    fitted = np.flatnonzero(tensor_volumes(table))
    part = table.take(fitted)
    index = np.argwhere(mask)
    index = index[np.asarray(dropped.any(axis=0))[index[:, axis]]]
    hit = dropped[:, index[:, axis]].T
    signal = data[tuple(index.T)]
    weights = np.where(hit[:, fitted], LEFT_IN, 1.0)
    expected = _expected(signal[:, fitted], part, weights)
    filled = signal.copy()
    filled[:, fitted] = np.where(hit[:, fitted], expected, signal[:, fitted])
    out = data.copy()
    out[tuple(index.T)] = filled
    return out


def _expected(signal: Floats, table: GradientTable, weights: Floats) -> NDArray[np.float64]:
    floor = max(SMALLEST_SHARE * float(signal.max(initial=0.0)), 1e-12)
    return expected_signal(fit_tensor(signal, table, floor=floor, weights=weights), table, signal)


def _dark(signal: Floats, expected: Floats, place: NDArray[np.int64], judged: Mask) -> Mask:
    """Say which slices lost signal, (volumes, slices)."""
    n_slices = judged.shape[1]
    ratio = np.full(judged.shape, np.nan)
    for volume in range(len(judged)):
        seen = np.bincount(place, signal[:, volume], n_slices)
        due = np.bincount(place, expected[:, volume], n_slices)
        ok = judged[volume] & (seen > 0) & (due > 0)
        ratio[volume, ok] = np.log(seen[ok] / due[ok])
        # A volume's own gain is no slice's fault.
        ratio[volume] -= np.nanmedian(ratio[volume]) if ok.any() else 0.0
    # A head that moved makes whole ranges of slices differ; one that fell out differs from its neighbours.
    padded = np.pad(ratio, ((0, 0), (NEIGHBOURS, NEIGHBOURS)), constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEIGHBOURS + 1, axis=1)
    known = np.isfinite(around).any(axis=2, keepdims=True)
    base = np.nanmedian(np.where(known, around, 0.0), axis=2)
    apart = np.nan_to_num(ratio - base)
    seen = np.abs(apart)[np.isfinite(ratio)]
    deviation = 1.4826 * float(np.median(seen)) if seen.size else 0.0
    limit = max(DEVIATIONS * deviation, -np.log(1.0 - LEAST_LOSS))
    return np.asarray((apart < -limit) | (np.nan_to_num(ratio) < np.log(1.0 - HEAVY_LOSS)))
