"""The engine: directions, units, silence, and the same bytes from one process to the next."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from mripipe.core.grid import Volume, reorient
from mripipe.core.registration import register_affine, register_deformable

SHAPE = (40, 44, 36)
GRID = np.diag([3.0, 3.0, 3.0, 1.0])
GRID[:3, 3] = (-58.5, -64.5, -52.5)
STRETCH = np.array([[1.06, 0.02, 0.0, 4.0], [-0.03, 0.96, 0.0, -3.0], [0.0, 0.05, 1.03, 5.0], [0, 0, 0, 1]])


def head(points: np.ndarray, *, seed: int | None = None) -> np.ndarray:
    """Return a head's intensity at mm (..., 3), with noise."""
    radius = np.linalg.norm(points / (42.0, 48.0, 38.0), axis=-1)
    waves = sum(np.sin(points @ np.array(k)) for k in ((0.2, 0.05, 0.1), (-0.1, 0.2, 0.1), (0.1, -0.1, 0.2)))
    image = (100.0 + 15.0 * waves) / (1.0 + np.exp((radius - 1.0) * 30.0))
    if seed is not None:
        image += np.random.default_rng(seed).normal(0.0, 2.0, image.shape)
    return image.astype(np.float32)


def world(affine: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.indices(SHAPE), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def seen(matrix: np.ndarray, codes: str, seed: int) -> Volume:
    """Return an image of the head after a matrix has moved it (head mm to image mm)."""
    data = head(world(np.linalg.inv(matrix) @ GRID), seed=seed)
    return Volume(*reorient(data, GRID, codes=codes))


def region() -> np.ndarray:
    return np.linalg.norm(world(GRID) / (46.0, 52.0, 42.0), axis=-1) < 1


def apart_mm(found: np.ndarray, truth: np.ndarray) -> float:
    points = world(GRID)[region()]
    return float(np.linalg.norm(points @ (found - truth)[:3, :3].T + (found - truth)[:3, 3], axis=1).max())


@pytest.mark.parametrize("codes", ["LAS", "PSR"])
def test_affine_maps_fixed_to_moving(codes, capfd):
    fixed, moving = seen(np.eye(4), "RAS", 1), seen(STRETCH, codes, 2)
    found = register_affine(fixed, moving, np.eye(4), fixed_mask=region(), model="affine", iterations="60x40")
    assert apart_mm(found, STRETCH) < 0.6
    assert capfd.readouterr().out == ""


def test_rigid_stays_rigid():
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", (5, -4, 6), degrees=True).as_matrix()
    motion[:3, 3] = (4.0, -5.0, 3.0)
    fixed, moving = seen(np.eye(4), "LAS", 1), seen(motion, "RAS", 2)
    mask = reorient(region(), GRID, codes="LAS")[0]
    found = register_affine(fixed, moving, np.eye(4), fixed_mask=mask, model="rigid", iterations="60x40")
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-4)
    assert apart_mm(found, motion) < 0.4


def test_model_must_be_known():
    image = seen(np.eye(4), "RAS", 1)
    with pytest.raises(KeyError):
        register_affine(image, image, np.eye(4), fixed_mask=region(), model="similar", iterations="1")


def wave(points: np.ndarray) -> np.ndarray:
    """Return a displacement of some millimetres, another along each axis."""
    return np.stack(
        [
            4.0 * np.sin(points[..., 1] / 14.0),
            -3.0 * np.sin(points[..., 2] / 13.0),
            2.5 * np.cos(points[..., 0] / 15.0),
        ],
        axis=-1,
    )


@pytest.mark.parametrize("codes", ["RAS", "LAS"])
def test_field_comes_before_the_matrix_in_ras_millimetres(codes):
    # The fixed image shows at x what the moving head shows at matrix(x + wave(x)).
    points = world(GRID)
    fixed = Volume(*reorient(head(points + wave(points), seed=1), GRID, codes=codes))
    moving = seen(STRETCH, "PSR", 2)
    mask = reorient(region(), GRID, codes=codes)[0]
    found = register_deformable(fixed, moving, STRETCH, fixed_mask=mask, iterations="60x60x40")
    np.testing.assert_array_equal(found.matrix, STRETCH)
    assert found.displacement.shape == (*SHAPE, 3)
    truth = reorient(wave(points), GRID, codes=codes)[0]
    core = reorient(np.linalg.norm(points / (36.0, 42.0, 32.0), axis=-1) < 1, GRID, codes=codes)[0]
    left = np.linalg.norm(found.displacement - truth, axis=-1)[core].mean()
    assert np.linalg.norm(truth, axis=-1)[core].mean() > 3.0
    assert left < 1.0


def digest_of_both() -> str:
    """Return a digest of an affine and a deformation of noisy images."""
    rng = np.random.default_rng(5)
    fixed, moving = (
        Volume((gaussian_filter(rng.random((30, 28, 26)), 2.0) * 1e4).astype(np.float32), np.eye(4))
        for _ in range(2)
    )
    mask = np.ones(fixed.shape, bool)
    matrix = register_affine(fixed, moving, np.eye(4), fixed_mask=mask, model="affine", iterations="30x20")
    field = register_deformable(fixed, moving, matrix, fixed_mask=mask, iterations="20x10")
    return hashlib.sha256(matrix.tobytes() + field.displacement.tobytes()).hexdigest()


def test_two_processes_give_the_same_bytes():
    run = f"import runpy; print(runpy.run_path({__file__!r})['digest_of_both']())"
    found = {
        subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    assert len(found) == 1
    assert len(found.pop()) == 64
