"""Bias field: a known one goes away, and the image's level stays."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from mripipe.core.bias import correct_bias
from mripipe.core.grid import Volume

VIEW_MM = np.array([96.0, 128.0, 102.0])


def grid(columns: tuple[int, ...], signs: tuple[int, ...], degrees: tuple[float, ...]):
    """Return shape and affine of a grid around the origin, its array axes pointing anywhere."""
    sizes = np.array([4.0, 4.0, 6.0])
    shape = tuple(int(VIEW_MM[c] / sizes[c]) for c in columns)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine[:3, :3] = (turn @ np.diag(sizes))[:, list(columns)] * signs
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return shape, affine


GRIDS = {
    "RAS": grid((0, 1, 2), (1, 1, 1), (0, 0, 0)),
    "PSR, oblique": grid((1, 2, 0), (-1, 1, 1), (15, -10, 8)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_known_field_is_divided_out(name):
    shape, affine = GRIDS[name]
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    brain = np.linalg.norm(points / (36.0, 52.0, 40.0), axis=-1) < 1
    white = np.sin(points / 9.0).sum(axis=-1) > 0
    tissue = np.where(brain, np.where(white, 100.0, 70.0), 5.0)
    tissue += np.random.default_rng(3).normal(0.0, 2.0, shape)
    data = (tissue * (1.0 + 0.006 * points[..., 1] + 0.003 * points[..., 0])).astype(np.float32)
    corrected = correct_bias(Volume(data, affine), brain)
    np.testing.assert_array_equal(corrected.affine, affine)
    spread = [np.std(np.log(image[brain] / tissue[brain])) for image in (data, corrected.data)]
    assert spread[0] > 0.12
    assert spread[1] < 0.35 * spread[0]
    # The field's geometric mean is 1, so that of the image stays.
    np.testing.assert_allclose(np.log(corrected.data[brain]).mean(), np.log(data[brain]).mean(), atol=1e-4)


@pytest.fixture
def threads():
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    yield sitk.ProcessObject.SetGlobalDefaultNumberOfThreads
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def test_the_number_of_threads_changes_no_bit(threads):
    shape, affine = GRIDS["RAS"]
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    brain = np.linalg.norm(points / (36.0, 52.0, 40.0), axis=-1) < 1
    data = np.random.default_rng(3).normal(100.0, 5.0, shape) * (1.0 + 0.006 * points[..., 1])
    found = set()
    for number in (1, 2, 3):
        threads(number)
        found.add(correct_bias(Volume(data.astype(np.float32), affine), brain).data.tobytes())
    assert len(found) == 1
