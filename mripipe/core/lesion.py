"""What each voxel says of an infarct by itself, from a tissue mixture and the mirrored hemisphere.

All arrays lie on one symmetric grid: the template's, brain roughly aligned, so that reversing the first axis
exchanges the hemispheres. The evidence of a voxel is a log-likelihood ratio. Healthy: a tissue that the
template, or the mirrored place, expects there. Infarct: gliosis (any intensity that is dark on T1w and
bright on FLAIR, uniformly), cavity (CSF where tissue is expected), or a voxel on the edge between the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.special import expit

from mripipe.core.healthy import HealthyModel, fit_healthy, mixed_prior
from mripipe.core.residual_bias import without_shading
from mripipe.core.smoothing import smoother_within
from mripipe.core.tissue import posterior

Floats = NDArray[np.floating]

PRIOR_BLUR_MM = 2.0
"""Misfit of the rough alignment, by which the template's maps are blurred."""
MIRROR_BLUR_MM = 4.0
"""Gyri of the two hemispheres do not match closer than this."""
LEAST_PRIOR = 0.02
"""No tissue is ruled out anywhere."""
LARGEST_EVIDENCE = 4.0
"""One voxel's log-likelihood ratio is cut here: an artefact must not outvote its neighbours."""
OUTSIDE_TERRITORY_LOG_ODDS = -0.5
"""Added outside the MCA territory: less likely, not impossible."""
RIM_MM = 2.5
RIM_CSF = 0.5
"""In the outermost shell of a brain mask at least every second voxel is CSF: the mask's edge is no better."""
SHARES = {"gliosis": 0.5, "cavity": 0.4, "both": 0.1}
"""Of an infarct's voxels, before they are seen; ``both`` lie on the edge between the two."""


def tissue_priors(gm: Floats, wm: Floats, csf: Floats) -> Floats:
    """Return blurred template maps (3, X, Y, Z) that sum to 1."""
    maps = (
        np.stack([gaussian_filter(m.astype(np.float32), PRIOR_BLUR_MM) for m in (gm, wm, csf)]) + LEAST_PRIOR
    )
    return np.asarray(maps / maps.sum(axis=0), np.float32)


def lesion_log_odds(
    images: Floats,
    kinds: tuple[str, ...],
    brain: NDArray[np.bool_],
    priors: Floats,
    territory: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what each voxel says by itself: the log odds of infarct, and whether it would be cavity.

    Parameters
    ----------
    images : array (C, X, Y, Z)
        Bias-corrected sequences on the symmetric 1 mm grid, the reference image first; NaN outside their
        view.
    kinds : tuple of C str
        ``T1w``, ``T2w`` or ``FLAIR``.
    brain : array of bool (X, Y, Z)
    priors : array (3, X, Y, Z)
        From `tissue_priors`.
    territory : array of bool (X, Y, Z)
        MCA territory of both sides.

    Returns
    -------
    log_odds : array (X, Y, Z)
        0 outside the brain and outside the reference image's view.
    cavity : array (X, Y, Z)
        Probability that a voxel, if it is infarct, is cavity rather than gliosis; 0 where `log_odds` is.

    """
    images = np.stack([without_shading(image, brain & np.isfinite(image), priors) for image in images])
    covered = brain & np.isfinite(images).all(axis=0)
    seen = brain & np.isfinite(images[0])
    evidence, cavity = np.zeros((2, *brain.shape), np.float32)
    parts = ((covered, covered, images, kinds), (seen, seen & ~covered, images[:1], kinds[:1]))
    for fitted, region, present, names in parts:
        if region.any():
            evidence[region], cavity[region] = _evidence(present, names, fitted, region, priors)
    evidence -= _mirrored_evidence(evidence, brain)
    evidence[seen & ~territory] += OUTSIDE_TERRITORY_LOG_ODDS
    return evidence, cavity


def _evidence(
    images: Floats,
    kinds: tuple[str, ...],
    fitted: NDArray[np.bool_],
    region: NDArray[np.bool_],
    priors: Floats,
) -> tuple[Floats, Floats]:
    """Return log-likelihood ratios of a region's voxels (N,), infarct over healthy, and cavity's share."""
    values = images[:, fitted].T.astype(np.float64)
    dark_csf = kinds[0] != "T2w"
    model = fit_healthy(values[::8], priors[:, fitted].T[::8].astype(np.float64), dark_csf=dark_csf)
    logs = model.log_densities(values)
    healthy = np.logaddexp.reduce(logs + np.log(_expected_tissue(logs, fitted, priors)), axis=0)
    gliosis = _log_uniform(values, [_gliosis_range(*sequence) for sequence in _sequences(kinds, model)])
    both = _log_uniform(values, [_infarct_range(*sequence) for sequence in _sequences(kinds, model)])
    cavity = logs[2] + np.log(SHARES["cavity"])
    solid = np.logaddexp(gliosis + np.log(SHARES["gliosis"]), both + np.log(SHARES["both"]))
    ratio = np.clip(np.logaddexp(solid, cavity) - healthy, -LARGEST_EVIDENCE, LARGEST_EVIDENCE)
    wanted = region[fitted]
    return ratio[wanted], expit(cavity - solid)[wanted]


def _mirrored_evidence(evidence: Floats, brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mirrored place's evidence, at least 0: what both sides show speaks less for an infarct."""
    return np.asarray(np.maximum(smoother_within(brain, MIRROR_BLUR_MM)(evidence), 0.0)[::-1] * brain)


def _expected_tissue(logs: Floats, brain: NDArray[np.bool_], priors: Floats) -> Floats:
    """Return class probabilities (4, N) expected in brain voxels: template and mirrored side in equal parts.

    The mirrored hemisphere knows this patient's wide sulci and ventricles, the template knows what an infarct
    on both sides hides.
    """
    prior = priors[:, brain].copy()
    shallow = distance_transform_edt(brain)[brain] <= RIM_MM
    prior[2, shallow] = np.maximum(prior[2, shallow], RIM_CSF)
    four = mixed_prior(prior)
    smooth = smoother_within(brain, MIRROR_BLUR_MM)
    mirrored = []
    for share in posterior(logs, four):
        volume = np.zeros(brain.shape, np.float32)
        volume[brain] = share
        mirrored.append(smooth(volume)[::-1][brain])
    expected = 0.5 * four + 0.5 * np.array(mirrored) + 1e-4
    return np.asarray(expected / expected.sum(axis=0))


def _sequences(kinds: tuple[str, ...], model: HealthyModel) -> list[tuple[str, Floats, float]]:
    """Return each sequence, its means of the tissues, and grey matter's deviation."""
    deviations = np.sqrt(np.diagonal(model.covariances[0]))
    return [(kind, model.means[:, c], float(deviations[c])) for c, kind in enumerate(kinds)]


def _gliosis_range(kind: str, means: Floats, spread: float) -> tuple[float, float, float]:
    """Return least and largest intensity of gliosis in one sequence, and how sharp these limits are."""
    grey, white, csf = (float(mean) for mean in means)
    if kind == "T1w":
        # A poor fit may leave no room between CSF and grey matter: then a narrow band is all there is.
        return csf, max(grey - 0.5 * spread, csf + 0.5 * spread), 0.5 * spread
    low = max(grey, white) + 1.5 * spread
    # Nothing is brighter than CSF on T2w; on FLAIR gliosis has no such ceiling.
    high = max(grey, low) + 0.8 * abs(grey) if kind == "FLAIR" else max(csf, low + spread)
    return low, high, 0.5 * spread


def _infarct_range(kind: str, means: Floats, spread: float) -> tuple[float, float, float]:
    """Return the range of gliosis, widened to CSF: a voxel may hold any share of cavity."""
    low, high, edge = _gliosis_range(kind, means, spread)
    return min(low, float(means[2])), max(high, float(means[2])), edge


def _log_uniform(values: Floats, ranges: list[tuple[float, float, float]]) -> Floats:
    """Return the log density of values (N, C) spread evenly over a range in each sequence."""
    found = np.zeros(len(values))
    for c, (low, high, edge) in enumerate(ranges):
        inside = expit((values[:, c] - low) / edge) * expit((high - values[:, c]) / edge)
        found += np.log(inside + 1e-6) - np.log(high - low)
    return found
