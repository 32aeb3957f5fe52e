"""Infarct probability from a tissue mixture, the mirrored hemisphere and the neighbourhood.

All arrays lie on one symmetric grid: the template's, brain roughly aligned, so that reversing the first axis
exchanges the hemispheres. The evidence of a voxel is a log-likelihood ratio. Healthy: a tissue that the
template, or the mirrored place, expects there. Infarct: gliosis (any intensity that is dark on T1w and
bright on FLAIR, uniformly) or cavity (CSF where tissue is expected). Neighbours then speak through a
mean-field iteration.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.special import expit

from mripipe.core.tissue import TissueModel, fit_tissues, log_density

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
START_MM = 2.5
"""Evidence averaged over this reach starts the iteration: a sulcus is narrower, an infarct is wider."""
NEIGHBOUR_MM = 1.5
NEIGHBOUR_WEIGHT = 4.0
"""Reach and strength of the neighbours' say."""
RIM_MM = 2.5
RIM_CSF = 0.5
"""In the outermost shell of a brain mask at least every second voxel is CSF: the mask's edge is no better."""
MEAN_FIELD_STEPS = 15


def tissue_priors(gm: Floats, wm: Floats, csf: Floats) -> Floats:
    """Return blurred template maps (3, X, Y, Z) that sum to 1."""
    maps = (
        np.stack([gaussian_filter(m.astype(np.float32), PRIOR_BLUR_MM) for m in (gm, wm, csf)]) + LEAST_PRIOR
    )
    return np.asarray(maps / maps.sum(axis=0), np.float32)


def lesion_probability(
    images: Floats,
    kinds: tuple[str, ...],
    brain: NDArray[np.bool_],
    priors: Floats,
    territory: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Return the probability of infarct in each voxel.

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
    array (X, Y, Z)
        0 outside the brain.

    """
    covered = brain & np.isfinite(images).all(axis=0)
    evidence = np.zeros(brain.shape, np.float32)
    parts = ((covered, images, kinds), (brain & ~covered & np.isfinite(images[0]), images[:1], kinds[:1]))
    for region, present, names in parts:
        if region.any():
            evidence[region] = _evidence(present, names, region if names == kinds else brain, region, priors)
    evidence -= _mirrored_evidence(evidence, brain)
    odds = np.where(territory, 0.0, OUTSIDE_TERRITORY_LOG_ODDS).astype(np.float32)
    return mean_field(evidence + odds, brain)


def _evidence(
    images: Floats,
    kinds: tuple[str, ...],
    fitted: NDArray[np.bool_],
    region: NDArray[np.bool_],
    priors: Floats,
) -> Floats:
    """Return the log-likelihood ratio, infarct over healthy, of a region's voxels (N,), cut at its limit."""
    fitted = fitted & np.isfinite(images).all(axis=0)
    values = images[:, fitted].T.astype(np.float64)
    model = fit_tissues(values[::8], priors[:, fitted].T[::8].astype(np.float64)).with_partial_volume()
    logs = np.stack([log_density(values, m, c) for m, c in zip(model.means, model.covariances, strict=True)])
    healthy = np.logaddexp.reduce(logs + np.log(_expected_tissue(logs, fitted, priors)), axis=0)
    ratio = _log_lesion(values, kinds, logs, model) - healthy
    return np.asarray(np.clip(ratio[region[fitted]], -LARGEST_EVIDENCE, LARGEST_EVIDENCE), np.float32)


def _mirrored_evidence(evidence: Floats, brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mirrored place's evidence, at least 0: what both sides show speaks less for an infarct."""
    weight = np.maximum(gaussian_filter(brain.astype(np.float32), MIRROR_BLUR_MM), 0.05)
    return np.asarray(np.maximum(gaussian_filter(evidence, MIRROR_BLUR_MM) / weight, 0.0)[::-1] * brain)


def mean_field(log_odds: Floats, brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Let neighbours agree: the fixed point of P = sigmoid(log odds + weight x mean of their 2P - 1)."""
    inside = np.maximum(gaussian_filter(brain.astype(np.float32), NEIGHBOUR_MM), 0.05)
    wide = np.maximum(gaussian_filter(brain.astype(np.float32), START_MM), 0.05)
    start = gaussian_filter(np.where(brain, log_odds, 0.0).astype(np.float32), START_MM) / wide
    probability = np.where(brain, expit(NEIGHBOUR_WEIGHT * start), 0.0).astype(np.float32)
    for _ in range(MEAN_FIELD_STEPS):
        votes = gaussian_filter(
            np.where(brain, 2.0 * probability - 1.0, 0.0).astype(np.float32), NEIGHBOUR_MM
        )
        probability = np.where(brain, expit(log_odds + NEIGHBOUR_WEIGHT * votes / inside), 0.0).astype(
            np.float32
        )
    return probability


def _expected_tissue(logs: Floats, brain: NDArray[np.bool_], priors: Floats) -> Floats:
    """Return class probabilities (4, N) expected in brain voxels: template and mirrored side in equal parts.

    The mirrored hemisphere knows this patient's wide sulci and ventricles, the template knows what an infarct
    on both sides hides.
    """
    prior = priors[:, brain].copy()
    shallow = distance_transform_edt(brain)[brain] <= RIM_MM
    prior[2, shallow] = np.maximum(prior[2, shallow], RIM_CSF)
    mixed = 2.0 * np.minimum(prior[0], prior[2])
    four = np.concatenate([prior, mixed[None]])
    four /= four.sum(axis=0)
    joint = logs + np.log(four)
    posterior = np.exp(joint - joint.max(axis=0))
    posterior /= posterior.sum(axis=0)
    weight = gaussian_filter(brain.astype(np.float32), MIRROR_BLUR_MM)
    mirrored = []
    for share in posterior:
        volume = np.zeros(brain.shape, np.float32)
        volume[brain] = share
        smooth = gaussian_filter(volume, MIRROR_BLUR_MM) / np.maximum(weight, 0.05)
        mirrored.append(smooth[::-1][brain])
    expected = 0.5 * four + 0.5 * np.array(mirrored) + 1e-4
    return np.asarray(expected / expected.sum(axis=0))


def _log_lesion(values: Floats, kinds: tuple[str, ...], logs: Floats, model: TissueModel) -> Floats:
    """Return the log density of infarct: gliosis, uniform over its intensities, or cavity, as CSF."""
    grey, white, csf = model.means[:3]
    deviation = np.sqrt(np.stack([np.diag(c) for c in model.covariances[:3]]))
    log_gliosis = np.zeros(len(values))
    for c, kind in enumerate(kinds):
        if kind == "T1w":
            low = csf[c]
            # A poor fit may leave no room between CSF and grey matter: then a narrow band is all there is.
            high = max(grey[c] - 0.5 * deviation[0, c], low + 0.5 * deviation[0, c])
        else:
            top = grey[c] if kind == "FLAIR" else csf[c]
            low = max(grey[c], white[c]) + 1.5 * deviation[0, c]
            high = max(top, low) + 0.8 * abs(grey[c])
        edge = 0.5 * deviation[0, c]
        inside = 1.0 / (
            (1.0 + np.exp(-(values[:, c] - low) / edge)) * (1.0 + np.exp((values[:, c] - high) / edge))
        )
        log_gliosis += np.log(inside + 1e-6) - np.log(high - low)
    return np.asarray(np.logaddexp(log_gliosis + np.log(0.6), logs[2] + np.log(0.4)))
