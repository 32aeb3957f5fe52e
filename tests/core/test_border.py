"""Surface and volume interval of shapes whose values are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mripipe.core.border import surface_area_mm2, volume_interval_ml

OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", (15, 25, -35), degrees=True).as_matrix() * (1.0, 1.5, 2.0)
OBLIQUE[:3, 3] = (3.0, -4.0, 5.0)
AFFINES = pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, 1.5, 2.0, 1.0]), OBLIQUE])


def ball(radius_mm: float, affine: np.ndarray) -> np.ndarray:
    shape = tuple(int(2 * radius_mm / size) + 5 for size in np.linalg.norm(affine[:3, :3], axis=0))
    centre = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return np.linalg.norm(points - centre, axis=-1) <= radius_mm


@AFFINES
def test_surface_of_a_ball(affine):
    # The faces of its voxels would be half as much again.
    assert surface_area_mm2(ball(20.0, affine), affine) == pytest.approx(4 * np.pi * 20.0**2, rel=0.03)


@AFFINES
def test_a_mask_at_the_images_edge_has_a_surface_there_too(affine):
    mask = ball(10.0, affine)
    cropped = mask[tuple(slice(i.min(), i.max() + 1) for i in np.nonzero(mask))]
    assert cropped.shape != mask.shape
    assert surface_area_mm2(cropped, affine) == pytest.approx(surface_area_mm2(mask, affine), rel=2e-3)


@AFFINES
def test_interval_is_that_of_a_smaller_and_a_larger_ball(affine):
    lower, upper = volume_interval_ml(ball(20.0, affine), affine, border_mm=0.5)
    small, large = (4 / 3 * np.pi * r**3 / 1000 for r in (19.5, 20.5))
    assert lower == pytest.approx(small, rel=0.01)
    assert upper == pytest.approx(large, rel=0.01)


def test_small_lesion_and_none():
    speck = np.zeros((9, 9, 9), bool)
    speck[4, 4, 4] = True
    lower, upper = volume_interval_ml(speck, np.eye(4), border_mm=2.0)
    assert lower == 0.0
    assert upper > 0.001
    assert volume_interval_ml(np.zeros((5, 5, 5), bool), np.eye(4), border_mm=0.5) == (0.0, 0.0)
