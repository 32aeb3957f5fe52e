"""Infarct, cavity and distractors of a phantom patient, as level functions in MNI mm.

A lesion is where a level function lies below a threshold, inside the brain and outside the ventricles. The
threshold is the quantile that gives the wanted volume in the patient, so volumes are exact by construction.
"""

from __future__ import annotations

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
COUNTING_SHAPE = (210, 250, 220)
COUNTING_LOW_MM = (-105.0, -140.0, -110.0)


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
    grey = ndimage.gaussian_filter(atlas.template.gm, 1.0, truncate=3.0)
    level = distance * (1.0 + 0.24 * coarse) + 2.2 * fine
    level -= 4.0 * sample(grey, atlas.template.affine, points).reshape(LEVEL_SHAPE)
    level += 3.0 * _beyond_territory_mm(points, sign).reshape(LEVEL_SHAPE)
    return level.astype(np.float32)


def _beyond_territory_mm(points: FloatArray, sign: float) -> FloatArray:
    """Distance beyond rough limits of the middle cerebral artery's territory on one side, 0 within."""
    lateral, y, z = sign * points[0], points[1], points[2]
    medial = 18.0 + 0.28 * np.clip(z - 20.0, 0.0, None)
    floor = -24.0 + 0.3 * np.clip(-y - 10.0, 0.0, None)
    excess = (medial - lateral, y - 48.0 + 0.15 * z, -68.0 - 0.2 * z - y, z - 66.0, floor - z)
    return np.asarray(np.sqrt(sum(np.clip(part, 0.0, None) ** 2 for part in excess)), np.float32)


def _hyperintensity_level(rng: np.random.Generator, atlas: PhantomAtlas, points: FloatArray) -> FloatArray:
    """Low in white matter near the ventricles' horns and in scattered deep spots, on both sides."""
    spacing = float(atlas.template.affine[0, 0])
    near = ndimage.distance_transform_edt(atlas.ventricles < 0.5, sampling=spacing).astype(np.float32)
    white = ndimage.gaussian_filter(atlas.template.wm, 1.0, truncate=3.0)
    distance = sample(near, atlas.template.affine, points, outside=None).reshape(LEVEL_SHAPE)
    fraction = sample(white, atlas.template.affine, points).reshape(LEVEL_SHAPE)
    spots = smooth_noise(rng, LEVEL_SHAPE, 1.3)
    level = np.minimum(distance, 14.0) / 4.0 - 0.9 * spots - 0.5 * smooth_noise(rng, LEVEL_SHAPE, 5.0)
    supratentorial = (points[2] > -12.0).reshape(LEVEL_SHAPE)
    return np.where((fraction > 0.75) & supratentorial, level, OUTSIDE_LEVEL).astype(np.float32)


def fit_thresholds(
    levels: LesionLevels,
    atlas: PhantomAtlas,
    anatomy: AnatomyMap,
    *,
    lesion_ml: float,
    cavity_fraction: float,
    hyperintensity_ml: float,
    lacune: bool,
    keep_clear_of: float,
) -> LesionThresholds:
    """Find the cuts that give the wanted volumes in the patient's own millimetres.

    Parameters
    ----------
    lesion_ml, hyperintensity_ml : float
        Volumes in the patient, mL; 0 for none.
    cavity_fraction : float
        Cavity's share of the infarct, 0 to 1.
    lacune : bool
        Whether there is an old lacune on the other side.
    keep_clear_of : float
        Infarct level below which no hyperintensity is counted.

    """
    affine = grid_affine(COUNTING_LOW_MM, COUNTING_SPACING_MM)
    mni = anatomy.to_mni(grid_points(COUNTING_SHAPE, affine))
    infarct = infarct_level_at(levels, atlas, mni)
    cut = _level_of_volume(infarct, lesion_ml)
    inside = infarct < cut
    cavity = sample(levels.cavity, levels.affine, mni[:, inside], outside=OUTSIDE_LEVEL)
    spots = sample(levels.hyperintensity, levels.affine, mni, outside=OUTSIDE_LEVEL)
    spots = np.where(infarct < keep_clear_of, OUTSIDE_LEVEL, spots)
    return LesionThresholds(
        infarct=cut,
        cavity=_level_of_volume(cavity, lesion_ml * cavity_fraction),
        hyperintensity=_level_of_volume(spots, hyperintensity_ml),
        lacune=lacune,
    )


def infarct_level_at(
    levels: LesionLevels, atlas: PhantomAtlas, mni: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Sample the infarct's level at MNI points (3, N); high outside the brain and inside the ventricles."""
    level = sample(levels.infarct, levels.affine, mni, outside=OUTSIDE_LEVEL)
    allowed = np.flatnonzero(level < OUTSIDE_LEVEL / 2)
    near = mni[:, allowed]
    brain = sample(atlas.brain, atlas.template.affine, near) >= 0.5
    fluid = sample(atlas.ventricles, atlas.template.affine, near) >= 0.5
    level[allowed[~brain | fluid]] = OUTSIDE_LEVEL
    return level


def lacune_distance(levels: LesionLevels, mni: NDArray[np.floating]) -> NDArray[np.floating]:
    """Signed distance in mm to the lacune's core, negative inside, at MNI points (3, N)."""
    return ball_distance(mni, levels.lacune_centre_mm, levels.lacune_radii_mm)


def _level_of_volume(level: NDArray[np.floating], volume_ml: float) -> float:
    """Return the cut below which a level on the counting grid fills a volume."""
    count = round(volume_ml * 1000.0 / COUNTING_SPACING_MM**3)
    if count == 0:
        return -np.inf
    return float(np.partition(level, count)[count])
