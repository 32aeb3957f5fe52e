"""What each voxel of a trace image and an ADC map says of an infarct of the first days.

Such an infarct is bright on the trace image because its water is held up: its ADC is low. What is bright
with the ADC of healthy tissue or more is old (T2 shine-through) or an artefact, as beside the air of the
skull base, and is a class of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mripipe.core.healthy import HealthyModel, fit_healthy
from mripipe.core.lesion import LARGEST_EVIDENCE, expected_tissue, level, settle, view_patterns
from mripipe.core.lesion_ranges import acute_range, log_uniform, sequences
from mripipe.core.tissue import log_density

Floats = NDArray[np.floating]

SHINE_THROUGH = 0.05
"""Of the voxels that are no infarct, the share that is bright on a trace image without a low ADC."""


def acute_log_odds(
    images: Floats,
    kinds: tuple[str, ...],
    brain: NDArray[np.bool_],
    priors: Floats,
    territory: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Return the log odds of acute infarct that each voxel shows by itself.

    Parameters
    ----------
    images : array (C, X, Y, Z)
        On the symmetric 1 mm grid; NaN outside their view.
    kinds : tuple of C str
        ``trace`` and ``ADC``, or one of them.
    brain, priors, territory
        As for `mripipe.core.lesion.lesion_log_odds`.

    Returns
    -------
    array (X, Y, Z)
        0 outside the brain and outside the first image's view.

    """
    images = np.stack([level(i, k, brain, priors) for i, k in zip(images, kinds, strict=True)])
    seen = brain & np.isfinite(images[0])
    evidence = np.zeros(brain.shape, np.float32)
    for present, region in view_patterns(images, seen):
        fitted = seen & np.isfinite(images[present]).all(axis=0)
        names = tuple(kinds[c] for c in present)
        evidence[region] = _evidence(images[present], names, fitted, priors)[region[fitted]]
    return settle(evidence, seen, brain, territory)


def _evidence(
    images: Floats, kinds: tuple[str, ...], fitted: NDArray[np.bool_], priors: Floats
) -> NDArray[np.float64]:
    """Return log-likelihood ratios of the fitted voxels (N,), infarct over anything else."""
    values = images[:, fitted].T.astype(np.float64)
    expected = priors[:, fitted].T[::8].astype(np.float64)
    # CSF is dark on a trace image and has the highest ADC.
    model = fit_healthy(values[::8], expected, dark_csf=kinds[0] == "trace")
    logs = model.log_densities(values)
    tissue = expected_tissue(logs, fitted, priors)
    ranges = [acute_range(*sequence) for sequence in sequences(kinds, model, 1)]
    infarct = log_uniform(values, ranges)
    other = np.logaddexp.reduce(logs + np.log(tissue), axis=0)
    if "trace" in kinds:
        first = kinds.index("trace")
        bright = log_uniform(values[:, [first]], [ranges[first]])
        for c in range(len(kinds)):
            if c != first:
                bright = bright + _log_not_acute(values[:, [c]], c, model, tissue)
        other = np.logaddexp(other, bright + np.log(SHINE_THROUGH))
    return np.asarray(np.clip(infarct - other, -LARGEST_EVIDENCE, LARGEST_EVIDENCE))


def _log_not_acute(values: Floats, sequence: int, model: HealthyModel, tissue: Floats) -> Floats:
    """Return the log density (N,) of one sequence in healthy tissue, or in an old infarct: up to CSF's."""
    part = model.part([sequence])
    logs = [log_density(values, m, c) for m, c in zip(part.means, part.covariances, strict=True)]
    share = tissue[:3] / tissue[:3].sum(axis=0)
    healthy = np.logaddexp.reduce(np.stack(logs) + np.log(share), axis=0)
    grey, white, fluid = (float(mean) for mean in part.means[:, 0])
    tissue_edge = float(np.sqrt(part.covariances[1, 0, 0]))
    old = log_uniform(values, [(min(grey, white), fluid, tissue_edge)])
    return np.asarray(np.logaddexp(healthy, old) - np.log(2.0))
