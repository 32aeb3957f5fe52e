"""Geometry: every relation must hold for flipped, anisotropic, oblique and sheared grids."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mripipe.core.grid import (
    GRID_TOLERANCE_MM,
    Volume,
    axis_codes,
    box_about,
    check_affine,
    corner_distance_mm,
    left_right_axis,
    mirror_left_right,
    reorient,
    same_grid,
    voxel_sizes_mm,
    voxel_to_world,
    voxel_volume_ml,
    world_coordinate_mm,
    world_to_voxel,
)
from mripipe.errors import InputError

SHAPE = (5, 6, 7)


def oblique(*, zooms=(1.0, 2.0, 3.0), degrees=(10, -15, 25), columns=(0, 1, 2), signs=(1, 1, 1)):
    """Return an affine turned by three angles, its array axes permuted and flipped first."""
    axes = np.eye(3)[:, list(columns)] * np.asarray(signs)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ axes * np.asarray(zooms)
    affine[:3, 3] = (-40.0, 12.5, 7.0)
    return affine


LAS = oblique(degrees=(0, 0, 0), signs=(-1, 1, 1))
PSR = oblique(degrees=(0, 0, 0), columns=(1, 2, 0), signs=(-1, 1, 1))
OBLIQUE_LPI = oblique(signs=(-1, -1, -1))
AFFINES = pytest.mark.parametrize("affine", [LAS, PSR, OBLIQUE_LPI, oblique()])


@AFFINES
def test_voxel_volume_does_not_depend_on_orientation(affine):
    assert voxel_volume_ml(affine) == pytest.approx(0.006)


def test_voxel_volume_of_a_sheared_grid_is_smaller_than_the_product_of_its_sizes():
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = (2, 0, 0), (1, 1, 0)
    assert voxel_volume_ml(affine) == pytest.approx(0.002)
    assert np.prod(voxel_sizes_mm(affine)) == pytest.approx(2 * np.sqrt(2))


def test_axis_codes_name_the_nearest_world_axis():
    assert [axis_codes(a) for a in (LAS, PSR, OBLIQUE_LPI)] == ["LAS", "PSR", "LPI"]


@AFFINES
@pytest.mark.parametrize("codes", ["RAS", "PSR", "LIA"])
def test_reorient_keeps_every_voxel_at_its_world_position(affine, codes):
    data = np.random.default_rng(0).random((*SHAPE, 2))
    moved, moved_affine = reorient(data, affine, codes=codes)
    assert axis_codes(moved_affine) == codes
    index = np.argwhere(data[..., 0] >= 0)
    new = np.rint(world_to_voxel(voxel_to_world(index, affine), moved_affine)).astype(int)
    assert np.allclose(voxel_to_world(new, moved_affine), voxel_to_world(index, affine))
    assert np.array_equal(moved[tuple(new.T)], data[tuple(index.T)])


def test_reorient_returns_a_copy():
    data = np.zeros(SHAPE)
    moved, _ = reorient(data, np.eye(4))
    moved[:] = 1
    assert not data.any()


@AFFINES
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_world_coordinate_agrees_with_mapping_each_index(affine, axis):
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    expected = voxel_to_world(index, affine)[..., axis]
    assert np.allclose(world_coordinate_mm(SHAPE, affine, axis=axis), expected)


@AFFINES
def test_world_and_voxel_are_inverse(affine):
    points = np.random.default_rng(1).normal(size=(4, 2, 3)) * 50
    assert np.allclose(voxel_to_world(world_to_voxel(points, affine), affine), points)


def test_same_grid_tolerates_rounding_but_no_shift_flip_or_shape():
    affine = oblique()
    shifted = affine.copy()
    shifted[0, 3] += 2 * GRID_TOLERANCE_MM
    flipped = affine @ np.diag([-1, 1, 1, 1])
    assert same_grid(SHAPE, affine, SHAPE, affine.astype(np.float32))
    assert not same_grid(SHAPE, affine, SHAPE, shifted)
    assert not same_grid(SHAPE, affine, SHAPE, flipped)
    assert not same_grid(SHAPE, affine, (5, 6, 8), affine)


def test_corner_distance_of_a_turned_grid_grows_with_its_size():
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("z", 1, degrees=True).as_matrix()
    # The far corner moves along a chord: 2 r sin(half the angle), r = the distance from the axis.
    chord = 2 * np.hypot(100, 100) * np.sin(np.radians(0.5))
    assert corner_distance_mm((101, 101, 1), np.eye(4), turned) == pytest.approx(chord)


@AFFINES
def test_mirror_turns_world_left_to_right_and_nothing_else(affine):
    data = np.zeros(SHAPE)
    data[1, 2, 3] = 1
    mirrored = mirror_left_right(data, affine)
    axis = left_right_axis(affine)
    expected = [1, 2, 3]
    expected[axis] = SHAPE[axis] - 1 - expected[axis]
    assert np.argwhere(mirrored).tolist() == [expected]
    assert np.array_equal(mirror_left_right(mirrored, affine), data)


def test_left_right_axis_follows_the_affine_not_the_array_order():
    assert left_right_axis(PSR) == 2
    assert left_right_axis(LAS) == 0


@pytest.mark.parametrize(
    ("affine", "what"),
    [
        (np.eye(3), "4 x 4"),
        (np.diag([1, 1, np.nan, 1]), "not finite"),
        (np.diag([1, 1, 1, 2]), "last row"),
        (np.diag([1, 0, 1, 1]), "singular"),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "singular"),
    ],
)
def test_an_unfit_affine_is_refused(affine, what):
    with pytest.raises(InputError, match=what):
        check_affine(affine)


def test_small_voxels_are_not_singular():
    check_affine(np.diag([1e-3, 1e-3, 1e-3, 1]))


def test_a_volume_is_read_only_and_leaves_its_source_writable():
    data = np.ones(SHAPE, np.float32)
    volume = Volume(data, LAS)
    for array in (volume.data, volume.affine):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5
    data[0] = 2
    assert LAS.flags.writeable
    assert volume.shape == SHAPE
    assert volume.voxel_sizes_mm == pytest.approx([1, 2, 3])
    assert volume.voxel_volume_ml == pytest.approx(0.006)


def test_a_volume_has_three_axes():
    with pytest.raises(InputError, match="three axes"):
        Volume(np.zeros((2, 2, 2, 2), np.float32), np.eye(4))


def test_a_box_needs_a_mask():
    with pytest.raises(ValueError, match="no voxel"):
        box_about(np.zeros((4, 4, 4), bool), 1)
