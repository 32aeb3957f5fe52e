"""The map from a phantom patient's head to MNI: affine plus a smooth random displacement.

``mni = A x + u(x)`` with x in the patient's own RAS+ mm and u interpolated linearly from a grid. This is
the pullback: anatomy is drawn in a patient by looking up MNI at the mapped point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mripipe.core.phantom_atlas import PhantomAtlas
from mripipe.core.phantom_fields import (
    AffineArray,
    FloatArray,
    apply_affine,
    grid_affine,
    grid_points,
    sample,
    smooth_noise,
)

FIELD_SHAPE = (82, 102, 112)
FIELD_LOW_MM = (-122.0, -160.0, -205.0)
FIELD_SPACING_MM = 3.0
FIELD_SIGMAS_MM = (20.0, 27.0, 35.0)
FIELD_RMS_MM = 3.4
"""Typical displacement; leaves about 3.5 mm after the best affine, like two people's brains."""
FIELD_MAX_MM = 10.0
MIN_JACOBIAN = 0.35
WIDENING_SIGMA_MM = 8.0
INVERSE_STEPS = 60


@dataclass(frozen=True)
class AnatomyMap:
    """Maps patient RAS+ mm to MNI mm; invertible everywhere."""

    affine: AffineArray
    """Linear part, patient mm to MNI mm (4, 4)."""
    displacement_mm: FloatArray
    """Added after the affine, MNI mm, on the field's grid in patient mm (3, X, Y, Z)."""
    field_affine: AffineArray
    """The field's voxel index to patient mm (4, 4)."""

    def to_mni(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """Map patient points (3, N) in mm to MNI mm."""
        mapped = apply_affine(self.affine, points)
        for axis in range(3):
            mapped[axis] += sample(self.displacement_mm[axis], self.field_affine, points, outside=None)
        return mapped

    def to_patient(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """Map MNI points (3, N) in mm to patient mm by fixed-point iteration (error below 0.001 mm)."""
        inverse = np.linalg.inv(self.affine)
        target = points.astype(np.float64)
        guess = apply_affine(inverse, target)
        for _ in range(INVERSE_STEPS):
            residual = target - self.to_mni(guess)
            guess = guess + inverse[:3, :3] @ residual
            if np.abs(residual).max(initial=0.0) < 1e-5:
                break
        return guess

    @property
    def min_jacobian(self) -> float:
        """Smallest determinant of the map's derivative on the field's grid; positive means no folds."""
        return float(jacobian_determinant(self).min())


def jacobian_determinant(anatomy: AnatomyMap) -> FloatArray:
    """Return the volume change patient to MNI on the field's grid (X, Y, Z)."""
    rows = [np.gradient(component, FIELD_SPACING_MM) for component in anatomy.displacement_mm]
    derivative = np.moveaxis(np.array(rows), (0, 1), (-2, -1)) + anatomy.affine[:3, :3]
    return np.asarray(np.linalg.det(derivative), np.float32)


def draw_anatomy(rng: np.random.Generator) -> AnatomyMap:
    """Draw a head: size and shape by an affine, the rest by a smooth random displacement."""
    matrix = np.diag(rng.uniform(0.93, 1.07, 3)) + rng.uniform(-0.03, 0.03, (3, 3)) * (1 - np.eye(3))
    affine = np.eye(4)
    affine[:3, :3] = matrix
    field = np.array([_noise(rng) for _ in range(3)])
    field *= FIELD_RMS_MM / np.sqrt((field**2).sum(0).mean())
    length = np.sqrt((field**2).sum(0))
    # Squash rather than clip, so that the longest displacements stay smooth.
    field /= (1.0 + (length / FIELD_MAX_MM) ** 4) ** 0.25
    return _unfolded(affine, np.zeros_like(field), field.astype(np.float32))


def widen_ventricle(anatomy: AnatomyMap, atlas: PhantomAtlas, *, side: str, widening_mm: float) -> AnatomyMap:
    """Return the anatomy with the lateral ventricle of one side wider by about ``widening_mm``."""
    if widening_mm == 0.0 or side == "none":
        return anatomy
    points = grid_points(FIELD_SHAPE, anatomy.field_affine)
    mni = anatomy.to_mni(points)
    pull = _ventricle_pull(atlas, side)
    shift = np.array([sample(component, atlas.template.affine, mni) for component in pull])
    shift = (widening_mm * shift).reshape(anatomy.displacement_mm.shape).astype(np.float32)
    return _unfolded(anatomy.affine, anatomy.displacement_mm, shift)


def _ventricle_pull(atlas: PhantomAtlas, side: str) -> FloatArray:
    """Direction towards one ventricle, length 1 at most, template grid (3, X, Y, Z)."""
    affine = atlas.template.affine
    x_mm = affine[0, 0] * np.arange(atlas.ventricles.shape[0]) + affine[0, 3]
    chosen = (x_mm < 0) if side == "left" else (x_mm > 0)
    density = ndimage.gaussian_filter(
        atlas.ventricles * chosen[:, None, None], WIDENING_SIGMA_MM / affine[0, 0], truncate=3.0
    )
    pull = np.array(np.gradient(density))
    return np.asarray(pull / np.sqrt((pull**2).sum(0)).max(), np.float32)


def _noise(rng: np.random.Generator) -> FloatArray:
    parts = [smooth_noise(rng, FIELD_SHAPE, sigma / FIELD_SPACING_MM) for sigma in FIELD_SIGMAS_MM]
    return np.asarray(sum(parts) / len(parts), np.float32)


def _unfolded(affine: AffineArray, base: FloatArray, added: FloatArray) -> AnatomyMap:
    """Shrink the added displacement until the map keeps every volume above the limit."""
    field_affine = grid_affine(FIELD_LOW_MM, FIELD_SPACING_MM)
    anatomy = AnatomyMap(affine, (base + added).astype(np.float32), field_affine)
    while anatomy.min_jacobian < MIN_JACOBIAN:
        added = (added * np.float32(0.85)).astype(np.float32)
        anatomy = AnatomyMap(affine, (base + added).astype(np.float32), field_affine)
    return anatomy
