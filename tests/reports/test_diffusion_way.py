"""Diffusion laid over the reference image for display, with the bend of its way."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from mripipe.core.grid import Volume, voxel_to_world
from mripipe.core.itk import affine_transform, displacement_transform
from mripipe.core.rigid import motion_matrix
from mripipe.errors import InputError
from mripipe.reports.diffusion_way import read_way
from mripipe.steps.diffusion_bend import bent
from mripipe.steps.diffusion_place import map_points

SHAPE = (20, 24, 18)
AFFINE = np.array([[3.0, 0, 0, -30.0], [0, 3.0, 0, -36.0], [0, 0, 3.0, -27.0], [0, 0, 0, 1.0]])
RIGID = motion_matrix(np.array([0.1, -0.05, 0.2, 4.0, -7.0, 2.0]))


@pytest.fixture
def way(tmp_path):
    """Write a way: everything is shown 6 mm, two voxels, in front of where it belongs."""
    bend = displacement_transform(np.full((*SHAPE, 3), [0.0, 6.0, 0.0]), AFFINE)
    path = tmp_path / "way.h5"
    sitk.WriteTransform(bent(bend, affine_transform(RIGID)), str(path))
    return path


def spot(index):
    data = np.zeros(SHAPE, np.float32)
    data[index] = 1.0
    return Volume(data, AFFINE)


def brightest(volume):
    return voxel_to_world(np.array(np.unravel_index(volume.data.argmax(), SHAPE)), volume.affine)


def test_a_spot_lies_where_it_belongs(way):
    read = read_way(way)
    shown = (9, 14, 8)
    belongs = np.linalg.inv(RIGID) @ [*voxel_to_world(np.array([9, 12, 8]), AFFINE), 1]
    distorted = np.linalg.inv(RIGID) @ [*voxel_to_world(np.array(shown), AFFINE), 1]
    np.testing.assert_allclose(brightest(read.moved(spot(shown))), belongs[:3], atol=1e-6)
    np.testing.assert_allclose(brightest(read.moved(spot(shown), distorted=True)), distorted[:3], atol=1e-6)


def test_points_go_the_same_way_as_images(way):
    at = voxel_to_world(np.array([[9, 14, 8], [5, 9, 6]]), AFFINE)
    wanted = map_points(affine_transform(np.linalg.inv(RIGID)), at - [0, 6, 0])
    np.testing.assert_allclose(read_way(way).points(at), wanted, atol=0.02)


def test_directions_are_moved_whole_and_turned(way):
    vectors = np.zeros((*SHAPE, 3), np.float32)
    vectors[9, 14, 8] = [0.6, -0.8, 0.0]
    moved = read_way(way).moved_vectors(vectors, AFFINE)
    np.testing.assert_allclose(moved[9, 12, 8], RIGID[:3, :3].T @ [0.6, -0.8, 0.0], atol=1e-6)
    assert np.count_nonzero(np.abs(moved).sum(axis=-1)) == 1


def test_a_rigid_way_leaves_voxels_as_they_are(tmp_path):
    sitk.WriteTransform(affine_transform(RIGID), str(tmp_path / "way.h5"))
    read = read_way(tmp_path / "way.h5")
    image = spot((4, 5, 6))
    assert read.bend is None
    np.testing.assert_array_equal(read.moved(image).data, image.data)


@pytest.mark.parametrize("broken", ["text", "bend alone"])
def test_what_is_no_way_is_refused(tmp_path, broken):
    path = tmp_path / "way.h5"
    if broken == "text":
        path.write_text("nothing")
    else:
        sitk.WriteTransform(displacement_transform(np.zeros((*SHAPE, 3)), AFFINE), str(path))
    with pytest.raises(InputError, match=r"^way\.h5: cannot be read as the way of diffusion"):
        read_way(path)
