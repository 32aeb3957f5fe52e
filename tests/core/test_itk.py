"""Between RAS+ arrays and ITK: points must land where the affine says, whatever the grid."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from mripipe.core.grid import Volume
from mripipe.core.itk import affine_transform, displacement_transform, matrix_of, to_itk


def oblique_psr() -> np.ndarray:
    axes = np.eye(3)[:, [1, 2, 0]] * (-1, 1, 1)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (10, -15, 25), degrees=True).as_matrix() @ axes * (1, 2, 3)
    affine[:3, 3] = (-40.0, 12.5, 7.0)
    return affine


@pytest.mark.parametrize("affine", [np.diag([-1.0, 2.0, 3.0, 1.0]), oblique_psr()])
def test_voxels_keep_value_and_place(affine):
    data = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    image = to_itk(Volume(data, affine))
    index = (1, 3, 5)
    assert image.GetPixel(*index) == data[index]
    left, back, up = image.TransformIndexToPhysicalPoint(index)
    np.testing.assert_allclose((-left, -back, up), affine[:3, :3] @ index + affine[:3, 3], atol=1e-9)


def test_sheared_grid_is_refused():
    affine = np.eye(4)
    affine[0, 1] = 0.2
    with pytest.raises(ValueError, match="not at right angles"):
        to_itk(Volume(np.zeros((3, 3, 3), np.float32), affine))


def test_affine_maps_a_point_and_comes_back_as_its_matrix():
    matrix = np.array([[1.0, 0.2, 0, 5], [-0.1, 1.1, 0, -3], [0, 0.3, 0.9, 2], [0, 0, 0, 1]])
    transform = affine_transform(matrix)
    # RAS (10, 20, 30) goes to (1 x 10 + 0.2 x 20 + 5, ...) = (19, 18, 35); ITK turns the first two signs.
    assert transform.TransformPoint((-10.0, -20.0, 30.0)) == pytest.approx((-19.0, -18.0, 35.0))
    np.testing.assert_allclose(matrix_of(transform), matrix, atol=1e-12)


def test_matrix_of_a_composite_is_the_product_last_listed_first():
    shift, stretch = np.eye(4), np.diag([2.0, 3.0, 4.0, 1.0])
    shift[:3, 3] = (1.0, 2.0, 3.0)
    both = sitk.CompositeTransform([affine_transform(shift), affine_transform(stretch)])
    np.testing.assert_allclose(matrix_of(both), shift @ stretch, atol=1e-12)


def test_displacement_adds_in_ras_on_an_oblique_grid():
    affine = oblique_psr()
    field = np.zeros((5, 6, 7, 3), np.float32)
    field[..., 0], field[..., 1], field[..., 2] = 1.0, 2.0, 3.0
    field[2, 3, 4] = (4.0, -5.0, 6.0)
    point = affine[:3, :3] @ (2, 3, 4) + affine[:3, 3]
    moved = displacement_transform(field, affine).TransformPoint((point * (-1, -1, 1)).tolist())
    np.testing.assert_allclose(np.array(moved) * (-1, -1, 1), point + np.array((4.0, -5.0, 6.0)), atol=1e-6)
