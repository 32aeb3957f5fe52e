"""Brain mask: the template's map lands where affine and deformation put it."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.brain import carry_mask
from mripipe.core.grid import Volume, reorient
from mripipe.core.roughspace import RoughMap, push_to_native

TEMPLATE = np.diag([3.0, 3.0, 3.0, 1.0])
TEMPLATE[:3, 3] = (-60.0, -60.0, -60.0)
SHAPE = (41, 41, 41)
MATRIX = np.array([[1.1, 0, 0, 12.0], [0, 0.9, 0, -8.0], [0, 0, 1.2, 5.0], [0, 0, 0, 1]])
STILL = np.zeros((2, 2, 2, 3), np.float32)


def ball(centre_mm=(0.0, 0.0, 0.0)) -> np.ndarray:
    points = np.moveaxis(np.indices(SHAPE), 0, -1) * 3.0 - 60.0
    return (np.linalg.norm(points - np.array(centre_mm), axis=-1) < 36.0).astype(np.float32)


def native(codes: str) -> Volume:
    affine = np.diag([4.0, 3.0, 5.0, 1.0])
    affine[:3, 3] = (-60.0, -70.0, -60.0)
    return Volume(*reorient(np.zeros((36, 42, 26), np.float32), affine, codes=codes))


def volume_and_centre(mask: np.ndarray, image: Volume) -> tuple[float, np.ndarray]:
    points = np.argwhere(mask) @ image.affine[:3, :3].T + image.affine[:3, 3]
    return len(points) * image.voxel_volume_ml, points.mean(axis=0)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PSR"])
def test_affine_carries_place_and_volume(codes):
    image = native(codes)
    found = push_to_native(ball(), TEMPLATE, image, RoughMap(MATRIX, STILL, np.eye(4)))
    assert found.shape == image.shape
    volume_ml, centre = volume_and_centre(found >= 0.5, image)
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 3.6**3 * 1.1 * 0.9 * 1.2, rel=0.02)
    np.testing.assert_allclose(centre, (12.0, -8.0, 5.0), atol=0.5)


@pytest.mark.parametrize("codes", ["RAS", "PSR"])
def test_deformation_comes_before_the_affine(codes):
    # A template point p lies at MATRIX (p + (9, 0, -6)).
    push = np.zeros((*SHAPE, 3), np.float32)
    push[...] = (9.0, 0.0, -6.0)
    image = native(codes)
    found = push_to_native(ball(), TEMPLATE, image, RoughMap(MATRIX, push, TEMPLATE))
    _, centre = volume_and_centre(found >= 0.5, image)
    np.testing.assert_allclose(centre, (12.0 + 9.9, -8.0, 5.0 - 7.2), atol=0.5)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PSR"])
def test_mask_carried_by_a_matrix_alone(codes):
    image = native(codes)
    volume_ml, centre = volume_and_centre(carry_mask(ball() > 0, TEMPLATE, MATRIX, image), image)
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 3.6**3 * 1.1 * 0.9 * 1.2, rel=0.02)
    np.testing.assert_allclose(centre, (12.0, -8.0, 5.0), atol=0.5)
