"""Tensors that outliers do not pull: weights of Geman and McClure, found by fitting again and again.

A volume whose signal lies c deviations from the fit counts 1 / (1 + c^2 / SCALE^2)^2, so that one far away
counts for nothing (compare Chang et al. 2005, doi:10.1002/mrm.20426, who start from the same function).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mripipe.core.gradients import GradientTable
from mripipe.core.tensor import N_TERMS, TensorFit, expected_signal, fit_tensor

Floats = NDArray[np.floating]

ROUNDS = 5
SCALE = 3.0
"""Deviations at which a volume counts a quarter: noise alone hardly changes a fit."""
LEAST_SHARE = 0.5
"""A voxel's own deviation is taken as this share of the image's typical one at least: few volumes may happen
to lie close to a fit."""
LEAST_WEIGHT = 1e-3
CHUNK = 32768


def fit_tensor_robust(signal: Floats, table: GradientTable) -> TensorFit:
    """Fit a tensor to every voxel, volumes that no tensor explains counting little.

    Parameters
    ----------
    signal : array (N, V)
    table : GradientTable
        Of the V volumes; about ten more than a tensor's seven numbers are needed to tell an outlier.

    Returns
    -------
    TensorFit

    """
    fit = fit_tensor(signal, table)
    if not len(signal):
        return fit
    typical = float(np.median(_deviation(signal, fit, table)))
    parts = [
        _refit(signal[first : first + CHUNK], table, _part(fit, first), typical)
        for first in range(0, len(signal), CHUNK)
    ]
    return TensorFit(
        np.concatenate([part.elements for part in parts]), np.concatenate([part.log_s0 for part in parts])
    )


def _part(fit: TensorFit, first: int) -> TensorFit:
    return TensorFit(fit.elements[first : first + CHUNK], fit.log_s0[first : first + CHUNK])


def _refit(signal: Floats, table: GradientTable, fit: TensorFit, typical: float) -> TensorFit:
    for _ in range(ROUNDS):
        rest = signal - expected_signal(fit, table, signal)
        own = _deviation(signal, fit, table)
        scale = SCALE * np.maximum(own, LEAST_SHARE * typical)[:, None] + 1e-12
        weights = np.maximum(1.0 / (1.0 + (rest / scale) ** 2) ** 2, LEAST_WEIGHT)
        found = fit_tensor(signal, table, weights=weights, start=fit)
        usable = np.isfinite(found.log_s0)
        fit = TensorFit(
            np.where(usable[:, None], found.elements, fit.elements),
            np.where(usable, found.log_s0, fit.log_s0),
        )
    return fit


def _deviation(signal: Floats, fit: TensorFit, table: GradientTable) -> NDArray[np.float64]:
    """Return each voxel's deviation from its fit, by the median, so that outliers do not widen it."""
    rest = np.abs(signal - expected_signal(fit, table, signal))
    n = signal.shape[1]
    return np.asarray(1.4826 * np.median(rest, axis=1) * np.sqrt(n / max(n - N_TERMS, 1)))
