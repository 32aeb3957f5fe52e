"""What an infarct looks like in each sequence, measured against this patient's own healthy tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mripipe.core.healthy import HealthyModel

Floats = NDArray[np.floating]
Range = tuple[float, float, float]
"""Least and largest value, and how sharp these limits are."""

BRIGHT_DEVIATIONS = 1.5
"""From this many deviations above grey and white matter on, tissue counts as bright."""
SHARPNESS_DEVIATIONS = 0.5
FLAIR_ROOM = 0.8
"""Gliosis on FLAIR is brighter than grey matter by up to this share of it; it has no ceiling as on T2w."""
LEAST_ACUTE_ADC = 0.25
"""Of the largest: what water in swollen cells falls to at worst."""
TRACE_ROOM = 1.0
"""An acute infarct is brighter than tissue by up to this share of it on a trace image."""


def gliosis_range(kind: str, means: Floats, spread: float) -> Range:
    """Return the range of gliosis in one sequence.

    Parameters
    ----------
    kind : str
        ``T1w``, ``T2w``, ``FLAIR`` or ``ADC``.
    means : array (3,)
        Of grey matter, white matter and CSF.
    spread : float
        Deviation of grey matter.

    """
    grey, white, csf = (float(mean) for mean in means)
    edge = SHARPNESS_DEVIATIONS * spread
    if kind == "T1w":
        # A poor fit may leave no room between CSF and grey matter: then a narrow band is all there is.
        return csf, max(grey - 0.5 * spread, csf + 0.5 * spread), edge
    low = max(grey, white) + BRIGHT_DEVIATIONS * spread
    # Nothing is brighter than CSF on T2w, and nowhere does water move more freely.
    high = max(grey, low) + FLAIR_ROOM * abs(grey) if kind == "FLAIR" else max(csf, low + spread)
    return low, high, edge


def infarct_range(kind: str, means: Floats, spread: float) -> Range:
    """Return the range of gliosis, widened to CSF: a voxel may hold any share of cavity."""
    low, high, edge = gliosis_range(kind, means, spread)
    return min(low, float(means[2])), max(high, float(means[2])), edge


def acute_range(kind: str, means: Floats, spread: float) -> Range:
    """Return the range of an infarct of the first days: bright on the trace image, low in ADC.

    Parameters
    ----------
    kind : str
        ``trace`` or ``ADC``.
    means : array (3,)
        Of grey matter, white matter and CSF.
    spread : float
        Deviation of white matter, which holds less CSF than the cortex at this resolution.

    """
    grey, white = float(means[0]), float(means[1])
    edge = SHARPNESS_DEVIATIONS * spread
    if kind == "ADC":
        high = min(grey, white) - spread
        return LEAST_ACUTE_ADC * high, high, edge
    low = max(grey, white) + BRIGHT_DEVIATIONS * spread
    return low, low + TRACE_ROOM * max(grey, white), edge


def sequences(kinds: tuple[str, ...], model: HealthyModel, tissue: int) -> list[tuple[str, Floats, float]]:
    """Return each sequence, its means (3,) of the tissues, and the deviation of one of these."""
    deviations = np.sqrt(np.diagonal(model.covariances[tissue]))
    return [(kind, model.means[:, c], float(deviations[c])) for c, kind in enumerate(kinds)]


def log_uniform(values: Floats, ranges: list[Range]) -> Floats:
    """Return the log density of values (N, C) spread evenly over a range in each sequence."""
    found = np.zeros(len(values))
    for c, (low, high, edge) in enumerate(ranges):
        inside = expit((values[:, c] - low) / edge) * expit((high - values[:, c]) / edge)
        found += np.log(inside + 1e-6) - np.log(high - low)
    return found
