"""Rough brain of an analytic head: brain, dark skull, bright scalp, neck and noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mripipe.core.grid import Volume, reorient
from mripipe.core.rough_brain import GRID_MM, head_centre, isolate_brain, to_isotropic

CENTRE = np.array([5.0, -10.0, 8.0])
RADII = np.array([62.0, 78.0, 60.0])


def head(zooms=(3.0, 3.0, 3.0), codes: str = "RAS", *, scalp: float = 130.0) -> tuple[Volume, np.ndarray]:
    """Return a head with its brain mask; scalp 12 to 22 mm outside the brain."""
    size = np.array([190.0, 220.0, 210.0])
    shape = tuple((size / zooms).astype(int))
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = CENTRE - size / 2 - (0.0, 0.0, 12.0)
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3] - CENTRE
    brain = np.linalg.norm(points / RADII, axis=-1) < 1
    inside = np.linalg.norm(points / (RADII + 12.0), axis=-1) < 1
    outside = np.linalg.norm(points / (RADII + 20.0), axis=-1) < 1
    neck = (np.linalg.norm(points[..., :2], axis=-1) < 45.0) & (points[..., 2] < -75.0)
    image = np.where(brain, 100.0, np.where(inside, 15.0, np.where(outside | neck, scalp, 0.0)))
    image += np.abs(np.random.default_rng(0).normal(0.0, 4.0, shape))
    data, turned = reorient(image.astype(np.float32), affine, codes=codes)
    return Volume(data, turned), reorient(brain, affine, codes=codes)[0]


@pytest.mark.parametrize(
    ("zooms", "codes", "sequence", "scalp"),
    [
        ((3.0, 3.0, 3.0), "LAS", "T1w", 220.0),
        ((2.0, 4.0, 3.0), "PSR", "FLAIR", 90.0),
        ((3.0, 3.0, 6.0), "RAS", "T1w", 220.0),
    ],
)
def test_brain_is_cut_out_of_its_head(zooms, codes, sequence, scalp):
    image, _ = head(zooms, codes, scalp=scalp)
    found = isolate_brain(image, sequence=sequence)
    assert found.voxel_sizes_mm == pytest.approx([GRID_MM] * 3)
    assert np.all(found.affine[:3, :3] == np.diag([GRID_MM] * 3))
    points = np.moveaxis(np.indices(found.shape), 0, -1) @ found.affine[:3, :3].T + found.affine[:3, 3]
    depth = np.linalg.norm((points - CENTRE) / RADII, axis=-1)
    assert np.mean(found.data[depth < 0.95] > 50.0) > 0.99
    assert not found.data[depth > 1.18].any()
    assert found.data.max() < 125.0


def test_stripped_brain_stays_whole():
    image, brain = head()
    stripped = Volume(np.where(brain, image.data, 0.0).astype(np.float32), image.affine)
    found = isolate_brain(stripped, sequence="T2w")
    volume_ml = np.count_nonzero(found.data > 50.0) * GRID_MM**3 / 1000
    assert volume_ml == pytest.approx(4 / 3 * np.pi * RADII.prod() / 1000, rel=0.05)


@pytest.mark.parametrize("codes", ["RAS", "PSR"])
def test_centre_is_measured_from_the_top_down(codes):
    found = head_centre(head(codes=codes)[0])
    # The scalp's top is 80 mm above this brain's centre; 85 in an average head.
    np.testing.assert_allclose(found, CENTRE, atol=7.0)


@pytest.mark.parametrize("level", [-5.0, 0.0])
def test_an_image_of_nothing_is_refused(level):
    speckle = np.random.default_rng(1).random((40, 40, 40)) < 0.3
    image = Volume((level + speckle * (1.0 if level else 100.0)).astype(np.float32), np.diag([4, 4, 4, 1.0]))
    with pytest.raises(ValueError, match="expected a head"):
        isolate_brain(image, sequence="T1w")


def test_isotropic_grid_keeps_the_world_and_covers_the_view():
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (10, -15, 25), degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.eye(3)[:, [1, 2, 0]] * (-2.0, 3.0, 5.0)
    affine[:3, 3] = (30.0, -20.0, 10.0)
    shape, slope = (30, 24, 20), np.array([1.0, -0.5, 2.0])
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    found = to_isotropic(Volume((points @ slope).astype(np.float32), affine), 4.0)
    assert found.voxel_sizes_mm == pytest.approx([4.0] * 3)
    inner = points[4:-4, 4:-4, 4:-4].reshape(-1, 3)
    index = np.rint((inner - found.affine[:3, 3]) / 4.0).astype(int)
    seen = index @ np.diag([4.0] * 3) + found.affine[:3, 3]
    # Smoothing does not change a ramp, but for the image's outermost voxels.
    np.testing.assert_allclose(found.data[tuple(index.T)], seen @ slope, atol=0.5)
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in shape], indexing="ij")).reshape(3, -1)
    world = affine[:3, :3] @ corners + affine[:3, 3:]
    assert np.all(world.min(axis=1) >= found.affine[:3, 3] - 2.0 - 1e-6)
    assert np.all(world.max(axis=1) <= found.affine[:3, 3] + 4.0 * np.array(found.shape) - 2.0 + 1e-6)
