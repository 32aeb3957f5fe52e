"""Filling from the other hemisphere: what was put on one side is found on the other."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.filling import fill_lesion, mirrored_indices
from mripipe.core.grid import Volume, reorient
from mripipe.core.roughspace import RoughMap

SHAPE = (51, 48, 44)
GRID = np.diag([3.0, 3.0, 3.5, 1.0])
GRID[:3, 3] = (-70.0, -75.0, -70.0)
POSE = np.eye(4)
POSE[:3, :3] = [[np.cos(0.2), -np.sin(0.2), 0], [np.sin(0.2), np.cos(0.2), 0], [0, 0, 1]]
POSE[:3, 3] = (6.0, -4.0, 3.0)
ROUGH = RoughMap(POSE, np.zeros((2, 2, 2, 3), np.float32), np.eye(4))
"""The head is turned and shifted, not deformed."""
RADIUS_MM = 14.0


def in_template() -> np.ndarray:
    """Return the template mm of every voxel, shape (X, Y, Z, 3)."""
    back = np.linalg.inv(POSE) @ GRID
    return np.moveaxis(np.indices(SHAPE), 0, -1) @ back[:3, :3].T + back[:3, 3]


def mirrored_picture(points: np.ndarray) -> np.ndarray:
    """Return an intensity that is the same on both sides."""
    x, y, z = np.moveaxis(points, -1, 0)
    return 100.0 + 15.0 * np.cos(np.abs(x) / 9.0) + 10.0 * np.sin(y / 11.0) + 0.2 * z


def scene(codes: str, *sides: int) -> tuple[Volume, np.ndarray, np.ndarray, np.ndarray]:
    """Return image, lesion, brain and the healthy image; noise in the image alone."""
    points = in_template()
    healthy = mirrored_picture(points)
    brain = np.linalg.norm(points / (60.0, 65.0, 60.0), axis=-1) < 1
    lesion = np.zeros(SHAPE, bool)
    for side in sides:
        lesion |= np.linalg.norm(points - (30.0 * side, 5.0, 4.0), axis=-1) < RADIUS_MM
    noise = np.random.default_rng(0).normal(0.0, 1.0, SHAPE)
    image = np.where(lesion, 10.0, healthy + noise)
    turned = [reorient(array, GRID, codes=codes)[0] for array in (image, lesion, brain, healthy)]
    affine = reorient(image, GRID, codes=codes)[1]
    return Volume(turned[0].astype(np.float32), affine), *turned[1:]


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PSR"])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_lesion_takes_the_other_sides_intensities(codes, side):
    image, lesion, brain, healthy = scene(codes, side)
    filled, unfilled = fill_lesion(image, lesion, brain, ROUGH)
    assert not unfilled.any()
    np.testing.assert_array_equal(filled.affine, image.affine)
    # Ten millimetres inside the lesion nothing of its own intensity is left, only noise and interpolation.
    assert np.abs(filled.data - healthy)[lesion].mean() < 4.0
    assert np.median(np.abs(filled.data - healthy)[lesion]) < 1.5


def test_far_from_the_lesion_nothing_changes():
    image, lesion, brain, _ = scene("LAS", 1)
    filled, _ = fill_lesion(image, lesion, brain, ROUGH)
    far = np.linalg.norm(
        np.argwhere(np.ones(image.shape)) @ image.affine[:3, :3].T
        + image.affine[:3, 3]
        - (np.argwhere(lesion).mean(axis=0) @ image.affine[:3, :3].T + image.affine[:3, 3]),
        axis=1,
    ).reshape(image.shape)
    np.testing.assert_array_equal(filled.data[far > 30.0], image.data[far > 30.0])


def test_lesions_that_mirror_each_other_cannot_be_filled():
    image, lesion, brain, _ = scene("RAS", -1, 1)
    filled, unfilled = fill_lesion(image, lesion, brain, ROUGH)
    assert np.count_nonzero(unfilled) > 0.8 * np.count_nonzero(lesion)
    np.testing.assert_allclose(filled.data[unfilled].mean(), 10.0, atol=3.0)


def test_where_the_mirror_lies_outside_the_brain_nothing_is_filled():
    image, lesion, brain, _ = scene("RAS", 1)
    one_sided = brain & (in_template()[..., 0] > 0)
    _, unfilled = fill_lesion(image, lesion, one_sided, ROUGH)
    np.testing.assert_array_equal(unfilled, lesion)


def test_no_lesion_leaves_the_image_alone():
    image, lesion, brain, _ = scene("RAS")
    filled, unfilled = fill_lesion(image, lesion, brain, ROUGH)
    np.testing.assert_array_equal(filled.data, image.data)
    assert not unfilled.any()


def test_mirror_goes_through_the_deformation():
    # Template x of 0 lies at native x of 5: native 12 and -2 mirror each other.
    push = np.zeros((2, 2, 2, 3), np.float32)
    push[..., 0] = 5.0
    grid = np.eye(4)
    grid[:3, 3] = (-15.0, 0.0, 0.0)
    image = Volume(np.zeros((40, 3, 3), np.float32), grid)
    where = mirrored_indices(image, RoughMap(np.eye(4), push, np.eye(4))).reshape(3, 40, 3, 3)
    np.testing.assert_allclose(where[:, 27, 1, 2], (13, 1, 2), atol=1e-4)
