"""Scanner side of the phantoms: grids, bias field, noise and gradients."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.phantom_diffusion import Gradients, axial_radial, even_gradients, fsl_vectors
from mripipe.core.phantom_scan import add_rician_noise, bias_field, make_grid, rotation, voxel_slabs


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "PSR", "IPL"])
def test_grid_is_centred_with_its_sizes_along_the_body(orientation: str) -> None:
    centre = np.array([3.0, -20.0, 11.0])
    grid = make_grid(centre, zooms_mm=(1.0, 2.0, 4.0), view_mm=(40.0, 60.0, 80.0), orientation=orientation)
    middle = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]
    np.testing.assert_allclose(middle, centre, atol=1e-4)
    for array_axis, letter in enumerate(orientation):
        axis = "RAS".find(letter) if letter in "RAS" else "LPI".find(letter)
        column = grid.affine[:3, array_axis]
        assert column[axis] == pytest.approx((1.0, 2.0, 4.0)[axis] * (1 if letter in "RAS" else -1))
        assert grid.shape[array_axis] * abs(column[axis]) == pytest.approx((40.0, 60.0, 80.0)[axis])
    assert grid.voxel_ml == pytest.approx(0.008)


def test_rotation_about_z_turns_x_towards_y() -> None:
    np.testing.assert_allclose(rotation((0.0, 0.0, 90.0)) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_slabs_cover_each_voxel_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mripipe.core.phantom_scan.SLAB_VOXELS", 50)
    grid = make_grid(np.zeros(3), zooms_mm=(1.0, 2.0, 3.0), view_mm=(7.0, 8.0, 9.0), orientation="PSR")
    pose = np.eye(4)
    pose[:3, 3] = (5.0, 0.0, 0.0)
    seen = np.full((*grid.shape, 3), np.nan)
    for part, points in voxel_slabs(grid, pose, np.array([0.5, 0.0, 0.0])):
        seen[part] = points.T.reshape(*seen[part].shape)
    index = np.moveaxis(np.indices(grid.shape), 0, -1) + np.array([0.5, 0.0, 0.0])
    np.testing.assert_allclose(
        seen, index @ grid.affine[:3, :3].T + grid.affine[:3, 3] - pose[:3, 3], atol=1e-4
    )


def test_bias_field_reaches_its_strength_and_is_smooth() -> None:
    field = bias_field(np.random.default_rng(1), (40, 30, 20), strength=0.25)
    assert field.min() == pytest.approx(0.75)
    assert field.max() == pytest.approx(1.25)
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in range(3)) < 0.2


def test_noise_in_air_is_rayleigh() -> None:
    noisy = add_rician_noise(np.random.default_rng(2), np.zeros((50, 50, 20), np.float32), sigma=2.0)
    assert noisy.mean() == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.01)


def test_directions_are_even_over_the_sphere() -> None:
    gradients = even_gradients(30, b_value=1000.0, n_b0=2)
    assert gradients.b_values.tolist() == [0.0] * 2 + [1000.0] * 30
    rows = gradients.directions[2:]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0)
    apart = np.degrees(np.arccos(np.clip(np.abs(rows @ rows.T) - 2 * np.eye(30), 0, 1).max(1)))
    assert apart.min() > 20
    np.testing.assert_allclose(rows.T @ rows / 30, np.eye(3) / 3, atol=0.01)


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "PSR", "AIL"])
def test_bvec_read_back_by_the_fsl_rule_is_the_direction(orientation: str) -> None:
    """Written out by hand: undo the flip of x for a positive determinant, then go through the axes."""
    gradients = even_gradients(6)
    grid = make_grid(
        np.zeros(3), zooms_mm=(2.0, 2.0, 3.0), orientation=orientation, oblique_deg=(9.0, -4.0, 20.0)
    )
    vectors = fsl_vectors(gradients, grid.affine).T.copy()
    if np.linalg.det(grid.affine[:3, :3]) > 0:
        vectors[:, 0] = -vectors[:, 0]
    axes = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    np.testing.assert_allclose(vectors @ axes.T, gradients.directions, atol=1e-6)


def test_bvec_of_a_known_case() -> None:
    """A radiological image (x reversed, determinant negative) stores the left-right component unflipped."""
    gradients = Gradients(np.array([1000.0]), np.array([[0.6, 0.8, 0.0]]))
    np.testing.assert_allclose(fsl_vectors(gradients, np.diag([-2.0, 2, 2, 1])).ravel(), [-0.6, 0.8, 0.0])
    np.testing.assert_allclose(fsl_vectors(gradients, np.diag([2.0, 2, 2, 1])).ravel(), [-0.6, 0.8, 0.0])


def test_diffusivities_have_the_anisotropy_asked_for() -> None:
    md, fa = np.array([0.7e-3, 0.8e-3]), np.array([0.3, 0.75])
    axial, radial = axial_radial(md, fa)
    np.testing.assert_allclose((axial + 2 * radial) / 3, md)
    np.testing.assert_allclose((axial - radial) / np.sqrt(axial**2 + 2 * radial**2), fa)
