"""Agreement against hand-worked cases, on grids where array steps are not millimetres."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mripipe.core.agreement import agreement
from mripipe.errors import InputError

SHAPE = (20, 20, 20)
ANISOTROPIC = np.diag([-1.0, 2.0, 4.0, 1.0])


def box(*slices):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*s) for s in slices)] = True
    return mask


CUBE = box((4, 10), (4, 10), (4, 10))


def test_a_mask_agrees_with_itself():
    found = agreement(CUBE, CUBE, ANISOTROPIC)
    assert (found.dice, found.lesion_f1, found.hd95_mm, found.count_difference) == (1, 1, 0, 0)
    assert found.volume_difference_ml == 0
    assert found.reference_ml == pytest.approx(216 * 8 / 1000)


@pytest.mark.parametrize(("axis", "mm"), [(0, 1.0), (1, 2.0), (2, 4.0)])
def test_a_shift_by_one_voxel(axis, mm):
    found = agreement(CUBE, np.roll(CUBE, 1, axis=axis), ANISOTROPIC)
    # Five of six layers are shared; the leading face, a quarter of the surface, lies one step away.
    assert found.dice == pytest.approx(5 / 6)
    assert found.hd95_mm == pytest.approx(mm)


def test_distance_does_not_depend_on_how_the_grid_is_turned():
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler("xyz", (20, 30, -40), degrees=True).as_matrix()
    shifted = np.roll(CUBE, 3, axis=2)
    assert agreement(CUBE, shifted, turned @ ANISOTROPIC).hd95_mm == pytest.approx(12)


def test_distance_on_a_sheared_grid_is_the_worlds():
    sheared = np.eye(4)
    sheared[0, 2] = 1.0
    one, other = box((5, 6), (5, 6), (5, 6)), box((8, 9), (5, 6), (8, 9))
    # Three steps of (1, 0, 0) and three of (1, 0, 1).
    assert agreement(one, other, sheared).hd95_mm == pytest.approx(np.hypot(6, 3))


def test_hd95_is_the_larger_direction():
    far = CUBE | box((16, 19), (16, 19), (16, 19))
    ahead, back = agreement(CUBE, far, ANISOTROPIC), agreement(far, CUBE, ANISOTROPIC)
    assert ahead.hd95_mm == back.hd95_mm
    assert ahead.hd95_mm > 20


def test_hd95_leaves_a_stray_voxel_out():
    stray = CUBE | box((19, 20), (19, 20), (19, 20))
    assert agreement(CUBE, stray, ANISOTROPIC).hd95_mm == 0


def test_volume_difference_is_test_minus_reference():
    found = agreement(CUBE, box((4, 10), (4, 10), (4, 7)), ANISOTROPIC)
    assert found.volume_difference_ml == pytest.approx(-108 * 8 / 1000)
    assert found.absolute_volume_difference_ml == pytest.approx(108 * 8 / 1000)


def test_one_voxel_of_overlap_is_a_hit_and_corners_connect():
    reference = CUBE | box((14, 16), (14, 16), (14, 16)) | box((16, 17), (16, 17), (16, 17))
    test = box((9, 12), (9, 12), (9, 12)) | box((0, 2), (0, 2), (0, 2)) | box((0, 2), (0, 2), (17, 19))
    found = agreement(reference, test, ANISOTROPIC)
    assert (found.n_reference, found.n_test) == (2, 3)
    # One hit, one missed, two false: 1 / (1 + (2 + 1) / 2).
    assert found.lesion_f1 == pytest.approx(0.4)
    assert (found.count_difference, found.absolute_count_difference) == (1, 1)
    assert agreement(test, reference, ANISOTROPIC).count_difference == -1


def test_both_empty_agree_and_have_no_distance():
    empty = np.zeros(SHAPE)
    found = agreement(empty, empty, ANISOTROPIC)
    assert (found.dice, found.lesion_f1, found.hd95_mm) == (1, 1, None)


def test_one_empty_does_not_agree():
    for pair in ((CUBE, np.zeros(SHAPE)), (np.zeros(SHAPE), CUBE)):
        found = agreement(*pair, ANISOTROPIC)
        assert (found.dice, found.lesion_f1, found.hd95_mm) == (0, 0, None)


def test_a_mask_at_the_grids_edge_has_a_surface_there():
    whole, part = np.ones((6, 6, 6)), np.ones((6, 6, 6))
    part[:3] = 0
    assert agreement(whole, part, np.eye(4)).hd95_mm == pytest.approx(3)


@pytest.mark.parametrize("other", [np.ones((20, 20, 19)), np.ones((20, 20))])
def test_masks_on_different_grids_are_refused(other):
    with pytest.raises(InputError, match="cannot be compared"):
        agreement(CUBE, other, ANISOTROPIC)
