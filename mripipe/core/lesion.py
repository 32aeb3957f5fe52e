"""What each voxel says of an infarct by itself, from a tissue mixture and the mirrored hemisphere.

All arrays lie on one symmetric grid: the template's, brain roughly aligned, so that reversing the first axis
exchanges the hemispheres. The evidence of a voxel is a log-likelihood ratio. Healthy: a tissue that the
template, or the mirrored place, expects there. Infarct: gliosis (any intensity that is dark on T1w and
bright on FLAIR, T2w and in ADC, uniformly), cavity (CSF where tissue is expected), or a voxel on the edge
between the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from mripipe.core.distance import depth_within
from mripipe.core.healthy import HealthyModel, fit_healthy, mixed_prior
from mripipe.core.lesion_edge import edge_log_odds
from mripipe.core.lesion_field import lesion_probability
from mripipe.core.lesion_partial_volume import partial_volume_log_odds
from mripipe.core.lesion_ranges import gliosis_range, infarct_range, log_uniform, sequences
from mripipe.core.lesion_region import regional_log_odds
from mripipe.core.lesion_select import select_infarct
from mripipe.core.residual_bias import without_shading
from mripipe.core.smoothing import smoother_within
from mripipe.core.tissue import log_density, posterior, voxels_to_fit
from mripipe.core.widened_ventricle import widened_ventricle

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
BORDER_ROUNDS = 2
"""The border on T1w alone is drawn anew about itself: it may lie further out than one band."""
LEAST_PART = 0.05
"""Share of the brain that a set of sequences must show for tissues to be fitted in it."""
GLIOSIS_IS_BRIGHTEST = {"FLAIR", "T2w"}
"""There gliosis is brighter than grey and white matter, and a border can be drawn by brightness alone."""
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
    ventricles: NDArray[np.bool_],
    suspect: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what each voxel says by itself: the log odds of infarct, and whether it would be cavity.

    What may be infarct has no say in what healthy tissue looks like, nor in how the image is shaded: a large
    one little brighter than grey matter would be taken for some of it.

    Parameters
    ----------
    images : array (C, X, Y, Z)
        Bias-corrected sequences on the symmetric 1 mm grid, the reference image first; NaN outside their
        view, where the others decide.
    kinds : tuple of C str
        ``T1w``, ``T2w``, ``FLAIR`` or ``ADC``, each once.
    brain, territory, ventricles : arrays of bool (X, Y, Z)
        The brain, the MCA territory of both sides, and the template's lateral ventricles.
    priors : array (3, X, Y, Z)
        From `tissue_priors`.
    suspect : array of bool (X, Y, Z), optional
        What may be infarct; what a first look at all voxels finds, where not given.

    Returns
    -------
    log_odds : array (X, Y, Z)
        0 outside the brain and outside the reference image's view.
    cavity : array (X, Y, Z)
        Probability that a voxel, if it is infarct, is cavity rather than gliosis; 0 where `log_odds` is.

    """
    if suspect is None:
        first, _ = _log_odds(images, kinds, brain, priors, territory)
        suspect = lesion_probability(first, brain) >= 0.5
    levelled = np.stack(
        [level(i, k, brain, priors, left_out=suspect) for i, k in zip(images, kinds, strict=True)]
    )
    log_odds, cavity = _log_odds(levelled, kinds, brain, priors, territory, suspect)
    alone = _fit_t1w(levelled[0], brain, priors, suspect) if kinds == ("T1w",) else None
    if alone is not None:
        odds = regional_log_odds(
            levelled[0], alone.seen, alone.expected[:, alone.seen], alone.model.means[:, 0]
        )
        log_odds += np.clip(odds, -LARGEST_EVIDENCE, LARGEST_EVIDENCE)
    infarct = select_infarct(lesion_probability(log_odds, brain), territory, brain)
    solid = cavity < 0.5
    widened = widened_ventricle(infarct, ~solid, ventricles)
    log_odds[widened] = -LARGEST_EVIDENCE
    infarct &= ~widened
    if alone is not None:
        edge, held = _t1w_border(levelled[0], log_odds, infarct, solid, brain, territory, alone)
    else:
        edge, held = _bright_border(levelled, kinds, infarct, solid, brain)
    log_odds[held] = np.clip(edge[held], -LARGEST_EVIDENCE, LARGEST_EVIDENCE)
    return log_odds, cavity


def _log_odds(
    images: Floats,
    kinds: tuple[str, ...],
    brain: NDArray[np.bool_],
    priors: Floats,
    territory: NDArray[np.bool_],
    left_out: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return log odds and cavity from images whose shading is dealt with."""
    seen = brain & np.isfinite(images[0])
    evidence, cavity = np.zeros((2, *brain.shape), np.float32)
    for present, region in view_patterns(images, seen):
        fitted = seen & np.isfinite(images[present]).all(axis=0)
        names = tuple(kinds[c] for c in present)
        evidence[region], cavity[region] = _evidence(images[present], names, fitted, region, priors, left_out)
    return settle(evidence, seen, brain, territory), cavity


@dataclass(frozen=True, eq=False)
class _HealthyT1w:
    """Healthy tissue on a T1w alone."""

    model: HealthyModel
    seen: NDArray[np.bool_]
    expected: Floats
    """Probability of the four classes, shape (4, X, Y, Z); 0 where it is not seen."""


def _fit_t1w(
    image: Floats, brain: NDArray[np.bool_], priors: Floats, left_out: NDArray[np.bool_]
) -> _HealthyT1w:
    seen = brain & np.isfinite(image)
    values = image[seen][:, None].astype(np.float64)
    expected = np.zeros((4, *brain.shape))
    model, _, expected[:, seen] = _healthy(values, seen, priors, left_out, dark_csf=True)
    return _HealthyT1w(model, seen, expected)


def _regional(image: Floats, alone: _HealthyT1w) -> NDArray[np.float32]:
    """Return what the surroundings of each voxel say on a T1w image."""
    odds = regional_log_odds(image, alone.seen, alone.expected[:, alone.seen], alone.model.means[:, 0])
    return np.clip(odds, -LARGEST_EVIDENCE, LARGEST_EVIDENCE)


def _t1w_border(
    image: Floats,
    log_odds: NDArray[np.float32],
    infarct: NDArray[np.bool_],
    solid: NDArray[np.bool_],
    brain: NDArray[np.bool_],
    territory: NDArray[np.bool_],
    alone: _HealthyT1w,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return log odds near the border of what was found on T1w alone, and where they hold."""
    for left in reversed(range(BORDER_ROUNDS)):
        edge, held = partial_volume_log_odds(image, infarct, brain, solid, alone.expected, alone.model)
        if left:
            drawn = np.where(held, np.clip(edge, -LARGEST_EVIDENCE, LARGEST_EVIDENCE), log_odds)
            infarct = select_infarct(lesion_probability(drawn, brain), territory, brain)
    return edge, held


def _bright_border(
    images: Floats,
    kinds: tuple[str, ...],
    infarct: NDArray[np.bool_],
    solid: NDArray[np.bool_],
    brain: NDArray[np.bool_],
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the same where a sequence shows gliosis brighter than tissue; elsewhere they hold nowhere."""
    # A diffusion voxel is too large to tell where a border runs.
    sharp = [c for c, kind in enumerate(kinds) if kind != "ADC"]
    if {kinds[c] for c in sharp} & GLIOSIS_IS_BRIGHTEST:
        return edge_log_odds(images[sharp], infarct, brain, solid)
    return np.zeros(brain.shape, np.float32), np.zeros(brain.shape, bool)


def _healthy(
    values: Floats,
    fitted: NDArray[np.bool_],
    priors: Floats,
    left_out: NDArray[np.bool_] | None,
    *,
    dark_csf: bool,
) -> tuple[HealthyModel, Floats, Floats]:
    """Return healthy tissue's model, log densities (4, N) of voxels, and the tissue expected there (4, N)."""
    counted = voxels_to_fit(left_out, fitted)
    shares = priors[:, fitted].T[counted][::8].astype(np.float64)
    model = fit_healthy(values[counted][::8], shares, dark_csf=dark_csf)
    logs = model.log_densities(values)
    return model, logs, expected_tissue(logs, fitted, priors)


def level(
    image: Floats,
    kind: str,
    brain: NDArray[np.bool_],
    priors: Floats,
    *,
    left_out: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Take the shading out of an image of arbitrary units; ADC is in units of its own and has none."""
    if kind == "ADC":
        return np.asarray(image, np.float32)
    return without_shading(image, brain & np.isfinite(image), priors, left_out=left_out)


def view_patterns(images: Floats, seen: NDArray[np.bool_]) -> Iterator[tuple[list[int], NDArray[np.bool_]]]:
    """Yield parts of what the first sequence shows, each with the sequences (C,) that show all of it.

    A part too small to fit tissues for is left to the first sequence alone.
    """
    shown = np.isfinite(images)
    codes = np.tensordot(2 ** np.arange(len(images)), shown, axes=1)
    numbers, counts = np.unique(codes[seen], return_counts=True)
    large = [n for n, count in zip(numbers.tolist(), counts, strict=True) if count >= LEAST_PART * seen.sum()]
    for number in large:
        if number != 1:
            yield [c for c in range(len(images)) if number >> c & 1], seen & (codes == number)
    rest = seen & ~np.isin(codes, [number for number in large if number != 1])
    if rest.any():
        yield [0], rest


def settle(
    evidence: NDArray[np.float32],
    seen: NDArray[np.bool_],
    brain: NDArray[np.bool_],
    territory: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Subtract what the mirrored place shows as well, and weigh the territory."""
    settled = evidence - _mirrored_evidence(evidence, brain)
    settled[seen & ~territory] += OUTSIDE_TERRITORY_LOG_ODDS
    return np.asarray(settled, np.float32)


def _evidence(
    images: Floats,
    kinds: tuple[str, ...],
    fitted: NDArray[np.bool_],
    region: NDArray[np.bool_],
    priors: Floats,
    left_out: NDArray[np.bool_] | None,
) -> tuple[Floats, Floats]:
    """Return log-likelihood ratios of a region's voxels (N,), infarct over healthy, and cavity's share."""
    values = images[:, fitted].T.astype(np.float64)
    model, logs, expected = _healthy(values, fitted, priors, left_out, dark_csf=kinds[0] != "T2w")
    healthy = np.logaddexp.reduce(logs + np.log(expected), axis=0)
    cavity, solid = _cavity_and_solid(values, kinds, model)
    ratio = np.clip(np.logaddexp(solid, cavity) - healthy, -LARGEST_EVIDENCE, LARGEST_EVIDENCE)
    # A diffusion voxel is as large as a small cavity, and distorted: what is cavity the other sequences tell.
    sharp = [c for c, kind in enumerate(kinds) if kind != "ADC"]
    if len(sharp) < len(kinds):
        cavity, solid = _cavity_and_solid(values[:, sharp], tuple(kinds[c] for c in sharp), model.part(sharp))
    wanted = region[fitted]
    return ratio[wanted], expit(cavity - solid)[wanted]


def _cavity_and_solid(
    values: Floats, kinds: tuple[str, ...], model: HealthyModel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the log densities (N,) of cavity, and of gliosis or a voxel on the edge between the two."""
    measured = sequences(kinds, model, 0)
    gliosis = log_uniform(values, [gliosis_range(*sequence) for sequence in measured])
    both = log_uniform(values, [infarct_range(*sequence) for sequence in measured])
    cavity = log_density(values, model.means[2], model.covariances[2]) + np.log(SHARES["cavity"])
    return cavity, np.logaddexp(gliosis + np.log(SHARES["gliosis"]), both + np.log(SHARES["both"]))


def _mirrored_evidence(evidence: Floats, brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mirrored place's evidence, at least 0: what both sides show speaks less for an infarct."""
    return np.asarray(np.maximum(smoother_within(brain, MIRROR_BLUR_MM)(evidence), 0.0)[::-1] * brain)


def expected_tissue(logs: Floats, brain: NDArray[np.bool_], priors: Floats) -> Floats:
    """Return class probabilities (4, N) expected in brain voxels: template and mirrored side in equal parts.

    The mirrored hemisphere knows this patient's wide sulci and ventricles, the template knows what an infarct
    on both sides hides.
    """
    prior = priors[:, brain].copy()
    shallow = depth_within(brain)[brain] <= RIM_MM
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
