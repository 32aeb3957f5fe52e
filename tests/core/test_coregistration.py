"""Another sequence of the same visit: the known motion is found, in the direction promised."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from mripipe.core.coregistration import register_sequence
from mripipe.core.grid import Volume, reorient

MOTION = np.eye(4)
MOTION[:3, :3] = Rotation.from_euler("xyz", (4, -3, 5), degrees=True).as_matrix()
MOTION[:3, 3] = (4.0, -3.0, 5.0)
"""Reference mm to moving mm."""


def tissue(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return grey values 0 to 1 and the brain at head mm (..., 3)."""
    waves = sum(
        np.sin(points @ np.array(k)) for k in ((0.12, 0.03, 0.06), (-0.05, 0.11, 0.06), (0.05, -0.06, 0.12))
    )
    brain = np.linalg.norm(points / (50.0, 58.0, 45.0), axis=-1) < 1
    return np.where(brain, 0.5 + waves / 6.0, 0.0), brain


def acquire(codes: str, zooms: tuple[float, float, float], motion: np.ndarray, contrast, seed: int):
    shape = tuple(int(size / zoom) for size, zoom in zip((132, 148, 120), zooms, strict=True))
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = motion[:3, 3] - np.array((132, 148, 120)) / 2
    to_head = np.linalg.inv(motion) @ affine
    grey, brain = tissue(np.moveaxis(np.indices(shape), 0, -1) @ to_head[:3, :3].T + to_head[:3, 3])
    data = np.where(brain, contrast(grey), 0.0) + np.random.default_rng(seed).normal(0.0, 3.0, shape)
    turned, turned_affine = reorient(data.astype(np.float32), affine, codes=codes)
    return Volume(turned, turned_affine), reorient(brain, affine, codes=codes)[0]


@pytest.mark.parametrize(("codes", "zooms"), [("LAS", (3.0, 3.0, 3.0)), ("PSR", (3.0, 3.0, 6.0))])
def test_motion_is_found_across_contrasts(codes, zooms):
    reference, brain = acquire("RAS", (3.0, 3.0, 3.0), np.eye(4), lambda g: 60 + 80 * g, 1)
    moving, _ = acquire(codes, zooms, MOTION, lambda g: 150 - 100 * g, 2)
    found = register_sequence(reference, brain, moving, np.eye(4))
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-6)
    points = np.array([(0, 0, 0), (50, 0, 0), (0, -58, 0), (0, 0, 45.0)])
    apart = points @ (found - MOTION)[:3, :3].T + (found - MOTION)[:3, 3]
    assert np.linalg.norm(apart, axis=1).max() < 1.0


def test_a_first_guess_far_off_is_taken_up():
    reference, brain = acquire("RAS", (3.0, 3.0, 3.0), np.eye(4), lambda g: 60 + 80 * g, 1)
    away = np.eye(4)
    away[:3, 3] = (80.0, -60.0, 40.0)
    moving, _ = acquire("LAS", (3.0, 3.0, 3.0), away @ MOTION, lambda g: 150 - 100 * g, 2)
    found = register_sequence(reference, brain, moving, away)
    np.testing.assert_allclose(found[:3, 3], (away @ MOTION)[:3, 3], atol=1.0)


def test_the_same_bytes_each_time_and_the_number_of_threads_as_it_was():
    reference, brain = acquire("RAS", (3.0, 3.0, 3.0), np.eye(4), lambda g: 60 + 80 * g, 1)
    moving, _ = acquire("RAS", (3.0, 3.0, 4.0), MOTION, lambda g: 150 - 100 * g, 2)
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    found = {register_sequence(reference, brain, moving, np.eye(4)).tobytes() for _ in range(4)}
    assert len(found) == 1
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == before
