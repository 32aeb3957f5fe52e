"""Infarct, cavity and distractors of a phantom patient, as level functions in MNI mm.

A lesion is where a level function lies below a threshold, inside the brain and outside the ventricles. The
threshold is the quantile that gives the wanted volume in the patient, so volumes are exact by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mripipe.core.phantom_anatomy import AnatomyMap
from mripipe.core.phantom_atlas import PhantomAtlas
from mripipe.core.phantom_fields import (
    AffineArray,
    FloatArray,
    ball_distance,
    grid_affine,
    grid_points,
    sample,
    smooth_noise,
)

LEVEL_SHAPE = (100, 118, 96)
LEVEL_LOW_MM = (-99.0, -135.0, -73.0)
LEVEL_SPACING_MM = 2.0
OUTSIDE_LEVEL = 1e3
COUNTING_SPACING_MM = 1.0
"""Fine grid on which the infarct's volume is counted, around the infarct only."""
SURVEY_SPACING_MM = 2.0
SURVEY_SHAPE = (108, 128, 108)
SURVEY_LOW_MM = (-107.0, -144.0, -107.0)
"""Coarse grid in patient mm over any drawn brain: finds the infarct, counts hyperintensities."""
SURVEY_MARGIN_MM = 3.0
CLEARANCE = 6.0
"""Levels between the infarct and the nearest hyperintensity, about as many mm."""


@dataclass(frozen=True)
class LesionLevels:
    """Level functions on one coarse grid in MNI mm, (X, Y, Z) each; lower is more likely affected."""

    infarct: FloatArray
    cavity: FloatArray
    hyperintensity: FloatArray
    texture: FloatArray
    """Mean 0, deviation 1: makes gliosis uneven."""
    lacune_centre_mm: tuple[float, float, float]
    lacune_radii_mm: tuple[float, float, float]
    affine: AffineArray
    """Voxel index to MNI mm (4, 4)."""


@dataclass(frozen=True)
class LesionThresholds:
    """Where each level function is cut at one visit; minus infinity means none."""

    infarct: float
    cavity: float
    hyperintensity: float
    clear_of: float
    """Infarct level below which there is no hyperintensity, so that none touches the infarct."""
    lacune: bool


def draw_levels(rng: np.random.Generator, atlas: PhantomAtlas, *, side: str) -> LesionLevels:
    """Draw the level functions of a patient whose infarct is on ``side`` (a healthy one's are never cut)."""
    affine = grid_affine(LEVEL_LOW_MM, LEVEL_SPACING_MM)
    points = grid_points(LEVEL_SHAPE, affine)
    sign = -1.0 if side == "left" else 1.0
    infarct = _infarct_level(rng, atlas, points, sign)
    cavity = infarct + 5.0 * smooth_noise(rng, LEVEL_SHAPE, 3.0)
    centre = rng.uniform((20.0, -12.0, 4.0), (27.0, 8.0, 22.0))
    radii = rng.uniform(2.8, 4.6, 3)
    return LesionLevels(
        infarct=infarct,
        cavity=cavity.astype(np.float32),
        hyperintensity=_hyperintensity_level(rng, atlas, points),
        texture=smooth_noise(rng, LEVEL_SHAPE, 2.0),
        lacune_centre_mm=(float(-sign * centre[0]), float(centre[1]), float(centre[2])),
        lacune_radii_mm=(float(radii[0]), float(radii[1]), float(radii[2])),
        affine=affine,
    )


def _infarct_level(
    rng: np.random.Generator, atlas: PhantomAtlas, points: FloatArray, sign: float
) -> FloatArray:
    """Uneven distance from a point near the insula, longer beyond the middle cerebral artery's reach."""
    centre = np.array([40.0, -8.0, 14.0]) + rng.uniform(-1.0, 1.0, 3) * (6.0, 16.0, 9.0)
    stretch = np.array([0.85, 1.2, 1.0]) * rng.uniform(0.9, 1.12, 3)
    away = points - (centre * (sign, 1.0, 1.0))[:, None].astype(np.float32)
    distance = np.sqrt(((away / stretch[:, None].astype(np.float32)) ** 2).sum(0)).reshape(LEVEL_SHAPE)
    coarse = np.clip(smooth_noise(rng, LEVEL_SHAPE, 6.0), -2.0, 2.0)
    fine = smooth_noise(rng, LEVEL_SHAPE, 2.5)
    level = distance * (1.0 + 0.24 * coarse) + 2.2 * fine
    # Grey matter dies first, so that edges follow gyri.
    level -= 4.0 * _on_level_grid(atlas.template.gm, atlas, points)
    level += 3.0 * _beyond_territory_mm(points, sign).reshape(LEVEL_SHAPE)
    return np.asarray(level, np.float32)


def _beyond_territory_mm(points: FloatArray, sign: float) -> FloatArray:
    """Distance beyond rough limits of the middle cerebral artery's territory on one side, 0 within."""
    lateral, y, z = sign * points[0], points[1], points[2]
    medial = 18.0 + 0.28 * np.clip(z - 20.0, 0.0, None)
    floor = -24.0 + 0.3 * np.clip(-y - 10.0, 0.0, None)
    excess = (medial - lateral, y - 48.0 + 0.15 * z, -68.0 - 0.2 * z - y, z - 66.0, floor - z)
    return np.asarray(np.sqrt(sum(np.clip(part, 0.0, None) ** 2 for part in excess)), np.float32)


def _hyperintensity_level(rng: np.random.Generator, atlas: PhantomAtlas, points: FloatArray) -> FloatArray:
    """Low in white matter near the ventricles' horns and in scattered deep spots, on both sides."""
    fluid = sample(atlas.ventricles, atlas.template.affine, points).reshape(LEVEL_SHAPE) >= 0.5
    distance = ndimage.distance_transform_edt(~fluid, sampling=LEVEL_SPACING_MM).astype(np.float32)
    spots = smooth_noise(rng, LEVEL_SHAPE, 1.3)
    level = np.minimum(distance, 14.0) / 4.0 - 0.9 * spots - 0.5 * smooth_noise(rng, LEVEL_SHAPE, 5.0)
    supratentorial = (points[2] > -12.0).reshape(LEVEL_SHAPE)
    white = _on_level_grid(atlas.template.wm, atlas, points) > 0.7
    return np.where(white & supratentorial, level, OUTSIDE_LEVEL).astype(np.float32)


def _on_level_grid(volume: FloatArray, atlas: PhantomAtlas, points: FloatArray) -> FloatArray:
    coarse = sample(volume, atlas.template.affine, points).reshape(LEVEL_SHAPE)
    return np.asarray(ndimage.gaussian_filter(coarse, 0.5), np.float32)


def fit_thresholds(
    levels: LesionLevels,
    atlas: PhantomAtlas,
    anatomies: Sequence[AnatomyMap],
    *,
    lesion_ml: Sequence[float],
    cavity_fractions: Sequence[float],
    hyperintensity_ml: float,
    lacune: bool,
) -> list[LesionThresholds]:
    """Find the cuts that give the wanted volumes in the patient's own millimetres, visit by visit.

    Parameters
    ----------
    levels, atlas
        Level functions and the head they belong to.
    anatomies : sequence of AnatomyMap
        The head at each visit.
    lesion_ml : sequence of float
        Infarct in mL at each visit, the first the largest; 0 for none.
    cavity_fractions : sequence of float
        Cavity's share of the infarct at each visit, 0 to 1.
    hyperintensity_ml : float
        About this much in mL, the same at every visit.
    lacune : bool
        Whether there is an old lacune on the other side.

    """
    cuts = [
        _fit_infarct(levels, atlas, *visit)
        for visit in zip(anatomies, lesion_ml, cavity_fractions, strict=True)
    ]
    clear_of = cuts[0][0] + CLEARANCE
    affine = grid_affine(SURVEY_LOW_MM, SURVEY_SPACING_MM)
    mni = anatomies[0].to_mni(grid_points(SURVEY_SHAPE, affine))
    infarct = sample(levels.infarct, levels.affine, mni, outside=OUTSIDE_LEVEL)
    spots = hyperintensity_level(levels, mni, infarct, clear_of=clear_of)
    spots_cut = _level_of_volume(spots, hyperintensity_ml, SURVEY_SPACING_MM)
    return [LesionThresholds(infarct, cavity, spots_cut, clear_of, lacune) for infarct, cavity in cuts]


def hyperintensity_level(
    levels: LesionLevels, mni: NDArray[np.floating], infarct: NDArray[np.floating], *, clear_of: float
) -> NDArray[np.floating]:
    """Return the hyperintensities' level at MNI points (3, N), high where the infarct's (N,) is low."""
    level = sample(levels.hyperintensity, levels.affine, mni, outside=OUTSIDE_LEVEL)
    return np.where(infarct < clear_of, OUTSIDE_LEVEL, level)


def _fit_infarct(
    levels: LesionLevels,
    atlas: PhantomAtlas,
    anatomy: AnatomyMap,
    lesion_ml: float,
    cavity_fraction: float,
) -> tuple[float, float]:
    """Return the infarct's and the cavity's cut at one visit."""
    if not lesion_ml:
        return -np.inf, -np.inf
    survey = grid_points(SURVEY_SHAPE, grid_affine(SURVEY_LOW_MM, SURVEY_SPACING_MM))
    infarct = _infarct_in_brain(levels, atlas, anatomy.to_mni(survey))
    rough = _level_of_volume(infarct, lesion_ml, SURVEY_SPACING_MM)
    fine = anatomy.to_mni(_points_around(survey[:, infarct < rough + SURVEY_MARGIN_MM]))
    infarct = _infarct_in_brain(levels, atlas, fine)
    cut = _level_of_volume(infarct, lesion_ml, COUNTING_SPACING_MM)
    cavity = sample(levels.cavity, levels.affine, fine[:, infarct < cut], outside=OUTSIDE_LEVEL)
    return cut, _level_of_volume(cavity, lesion_ml * cavity_fraction, COUNTING_SPACING_MM)


def room_for_infarct(atlas: PhantomAtlas, mni: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return 1 in the brain, 0 outside and in the ventricles, at MNI points (3, N)."""
    brain = sample(atlas.brain, atlas.template.affine, mni)
    fluid = sample(atlas.ventricles, atlas.template.affine, mni)
    return np.asarray(np.minimum(brain, 1.0 - fluid))


def _infarct_in_brain(
    levels: LesionLevels, atlas: PhantomAtlas, mni: NDArray[np.floating]
) -> NDArray[np.floating]:
    level = sample(levels.infarct, levels.affine, mni, outside=OUTSIDE_LEVEL)
    return np.where(room_for_infarct(atlas, mni) >= 0.5, level, OUTSIDE_LEVEL)


def _points_around(points: FloatArray) -> FloatArray:
    """Fill the box around points (3, N) with the counting grid."""
    low, high = points.min(axis=1) - SURVEY_SPACING_MM, points.max(axis=1) + SURVEY_SPACING_MM
    counts = np.ceil((high - low) / COUNTING_SPACING_MM).astype(int)
    affine = grid_affine((float(low[0]), float(low[1]), float(low[2])), COUNTING_SPACING_MM)
    return grid_points(tuple(counts.tolist()), affine)


def lacune_distance(levels: LesionLevels, mni: NDArray[np.floating]) -> NDArray[np.floating]:
    """Signed distance in mm to the lacune's core, negative inside, at MNI points (3, N)."""
    return ball_distance(mni, levels.lacune_centre_mm, levels.lacune_radii_mm)


def _level_of_volume(level: NDArray[np.floating], volume_ml: float, spacing_mm: float) -> float:
    """Return the cut below which a level on a grid of that spacing fills a volume."""
    count = round(volume_ml * 1000.0 / spacing_mm**3)
    if count == 0:
        return -np.inf
    return float(np.partition(level, count)[count])
