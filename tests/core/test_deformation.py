"""Displacement fields against closed forms, on grids that are anisotropic, flipped and oblique."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mripipe.core.deformation import grid_points, invert_field, jacobian_determinant, sample_field

SHAPE = (12, 14, 16)
LAS = np.diag([-2.0, 3.0, 1.5, 1.0])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", (12, -20, 30), degrees=True).as_matrix() * (2.0, 3.0, 1.5)
OBLIQUE[:3, 3] = (5.0, -7.0, 9.0)
AFFINES = pytest.mark.parametrize("affine", [LAS, OBLIQUE])


def field_of(rule, affine):
    points = np.moveaxis(np.indices(SHAPE), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return rule(points).astype(np.float32)


@AFFINES
def test_grid_points_follow_the_arrays_order(affine):
    points = grid_points(SHAPE, affine)
    at = np.ravel_multi_index((1, 2, 3), SHAPE)
    np.testing.assert_allclose(points[:, at], affine[:3, :3] @ (1, 2, 3) + affine[:3, 3], atol=1e-5)


@AFFINES
def test_linear_field_is_sampled_exactly_and_held_outside(affine):
    slope = np.array([[0.1, 0.2, 0], [0, -0.1, 0.3], [0.2, 0, 0.1]])
    field = field_of(lambda p: p @ slope.T + 1.0, affine)
    inside = affine[:3, :3] @ np.array([[3.3], [4.7], [5.1]]) + affine[:3, 3:]
    np.testing.assert_allclose(sample_field(field, affine, inside), slope @ inside + 1.0, atol=1e-4)
    far = affine[:3, :3] @ np.array([[-50.0], [4.0], [5.0]]) + affine[:3, 3:]
    np.testing.assert_allclose(sample_field(field, affine, far)[:, 0], field[0, 4, 5], atol=1e-5)


@AFFINES
def test_inverse_of_a_scaling_is_known(affine):
    centre = affine[:3, :3] @ (np.array(SHAPE) / 2) + affine[:3, 3]
    inverse = invert_field(field_of(lambda p: 0.25 * (p - centre), affine), affine)
    # x -> c + 1.25 (x - c), so y -> c + 0.8 (y - c); the points it needs lie within the grid.
    np.testing.assert_allclose(inverse, field_of(lambda p: -0.2 * (p - centre), affine), atol=2e-3)


@AFFINES
def test_a_field_then_its_inverse_leads_back(affine):
    wave = field_of(lambda p: 1.5 * np.sin(0.2 * p[..., [1, 2, 0]]), affine)
    inverse = invert_field(wave, affine)
    points = grid_points(SHAPE, affine).reshape(3, *SHAPE)[:, 3:-3, 3:-3, 3:-3].reshape(3, -1)
    there = points + sample_field(inverse, affine, points)
    np.testing.assert_allclose(there + sample_field(wave, affine, there), points, atol=1e-3)
    assert np.abs(wave).max() > 1.0


@AFFINES
def test_jacobian_is_the_volume_ratio(affine):
    stretch = np.diag([0.3, -0.2, 0.1])
    stretch[0, 2] = 0.4
    found = jacobian_determinant(field_of(lambda p: p @ stretch.T, affine), affine)
    assert found.shape == SHAPE
    np.testing.assert_allclose(found, 1.3 * 0.8 * 1.1, rtol=1e-4)


@AFFINES
def test_a_fold_has_a_negative_jacobian(affine):
    found = jacobian_determinant(field_of(lambda p: p * (-2.0, 0.0, 0.0), affine), affine)
    np.testing.assert_allclose(found, -1.0, atol=1e-4)
