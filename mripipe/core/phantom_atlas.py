"""The average head in MNI mm from which phantom patients are bent: tissue, ventricles, skull and scalp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mripipe.core.phantom_fields import (
    AffineArray,
    FloatArray,
    ball_distance,
    grid_affine,
    grid_points,
    sample,
)

HEAD_SHAPE = (111, 146, 156)
HEAD_LOW_MM = (-110.0, -155.0, -195.0)
HEAD_SPACING_MM = 2.0
"""Grid of the distance maps in MNI mm; it reaches the shoulders, well below the template."""

HULL_CLOSING_MM = 14.0
"""Wide enough to bridge the fissure between the hemispheres, so that the dura follows a smooth hull."""

SKULL_AND_SCALP_MM = 15.0
"""Mean distance from the brain's hull to the skin."""

VENTRICLE_SEEDS_MM = ((-10.0, 20.0, 10.0), (10.0, 20.0, 10.0), (-25.0, -42.0, 10.0), (25.0, -42.0, 10.0))


@dataclass(frozen=True)
class PhantomTemplate:
    """Tissue maps of an average brain on one RAS+ grid in MNI mm."""

    gm: FloatArray
    """Grey-matter fraction (X, Y, Z), 0 to 1."""
    wm: FloatArray
    """White-matter fraction (X, Y, Z), 0 to 1."""
    mask: NDArray[np.bool_]
    """Brain with ventricles and sulcal fluid (X, Y, Z)."""
    affine: AffineArray
    """Voxel index to MNI mm (4, 4), diagonal and positive."""


@dataclass(frozen=True)
class PhantomAtlas:
    """A template with what the phantoms need besides; made once by `prepare_atlas`."""

    template: PhantomTemplate
    brain: FloatArray
    """Brain mask as 0 to 1, template grid."""
    ventricles: FloatArray
    """Fluid fraction of both lateral ventricles, template grid."""
    hull_mm: FloatArray
    """Signed distance to the hull of the brain, negative inside, head grid."""
    skin_mm: FloatArray
    """Signed distance to the skin, negative inside, head grid."""
    airway_mm: FloatArray
    """Signed distance to sinuses and airway, negative inside, head grid."""
    head_affine: AffineArray
    """Head grid's voxel index to MNI mm (4, 4)."""


def prepare_atlas(template: PhantomTemplate) -> PhantomAtlas:
    """Derive ventricles and head shape from a template's tissue maps (a few seconds)."""
    affine = grid_affine(HEAD_LOW_MM, HEAD_SPACING_MM)
    points = grid_points(HEAD_SHAPE, affine)
    brain = sample(template.mask.astype(np.float32), template.affine, points).reshape(HEAD_SHAPE) >= 0.5
    hull = _hull_distance(brain)
    return PhantomAtlas(
        template=template,
        brain=template.mask.astype(np.float32),
        ventricles=_lateral_ventricles(template),
        hull_mm=hull,
        skin_mm=_skin_distance(hull, points),
        airway_mm=_airway_distance(points).reshape(HEAD_SHAPE).astype(np.float32),
        head_affine=affine,
    )


def signed_distance(mask: NDArray[np.bool_], spacing_mm: float) -> FloatArray:
    """Return the distance to a mask's surface in mm, negative inside."""
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    return np.asarray(outside - inside, np.float32)


def _hull_distance(brain: NDArray[np.bool_]) -> FloatArray:
    grown = signed_distance(brain, HEAD_SPACING_MM) < HULL_CLOSING_MM
    closed = signed_distance(grown, HEAD_SPACING_MM) < -HULL_CLOSING_MM + HEAD_SPACING_MM / 2
    return np.asarray(
        ndimage.gaussian_filter(signed_distance(closed | brain, HEAD_SPACING_MM), 0.7), np.float32
    )


def _skin_distance(hull_mm: FloatArray, points: FloatArray) -> FloatArray:
    x, y, z = points
    slant = y + 25.0 + 0.25 * (z + 60.0)
    neck = np.maximum(np.hypot(x, slant) - 56.0, z + 45.0)
    face = ball_distance(points, (0.0, 42.0, -75.0), (62.0, 62.0, 62.0))
    nose = ball_distance(points, (0.0, 104.0, -62.0), (13.0, 20.0, 24.0))
    shapes = (hull_mm.ravel() - SKULL_AND_SCALP_MM, neck, face, nose)
    smooth = -6.0 * np.logaddexp.reduce([-shape / 6.0 for shape in shapes], axis=0)
    return np.asarray(smooth.reshape(HEAD_SHAPE), np.float32)


def _airway_distance(points: FloatArray) -> FloatArray:
    x, y, z = points
    nasal = ball_distance(points, (0.0, 68.0, -62.0), (11.0, 30.0, 18.0))
    throat = np.maximum(np.hypot(x, y - 22.0 + 0.2 * (z + 80.0)) - 9.0, z + 70.0)
    sinuses = [ball_distance(points, (side * 30.0, 62.0, -68.0), (12.0, 14.0, 14.0)) for side in (-1, 1)]
    return np.asarray(np.minimum.reduce([nasal, throat, *sinuses]), np.float32)


def _lateral_ventricles(template: PhantomTemplate) -> FloatArray:
    csf = np.where(template.mask, np.clip(1.0 - template.gm - template.wm, 0.0, 1.0), 0.0).astype(np.float32)
    labels, _ = ndimage.label(csf > 0.5)
    inverse = np.linalg.inv(template.affine)
    seeds = [np.round(inverse @ (*seed, 1.0))[:3].astype(int) for seed in VENTRICLE_SEEDS_MM]
    found = np.unique([labels[tuple(seed)] for seed in seeds])
    body = np.isin(labels, found[found > 0])
    # Two voxels more take in the partial-volume edge, whose fraction stays below one half.
    return np.where(ndimage.binary_dilation(body, iterations=2), csf, 0.0).astype(np.float32)
