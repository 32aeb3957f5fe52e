import numpy as np
import pytest

from mripipe.core.perilesional import mirror_pairs


def grid(voxel=(2.0, 2.0, 4.0), turn=0.3):
    """MNI places of a block on both sides, and its places in an image that is turned and shifted."""
    x, y, z = (np.arange(-30 + v / 2, 30, v) for v in voxel)
    mni = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1).reshape(-1, 3)
    c, s = np.cos(turn), np.sin(turn)
    return mni @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + [5, -9, 3], mni


@pytest.mark.parametrize("sign", [-1, 1])
def test_distance_is_in_mm_whatever_the_slices_and_the_mirror_is_the_other_side(sign):
    world, mni = grid()
    lesion = sign * mni[:, 0] > 20
    found = mirror_pairs(world, mni, lesion, np.ones(len(mni), bool), voxel_mm=2.0, reach_mm=15.0)
    np.testing.assert_allclose(found.distance_mm, 20 - sign * mni[found.near, 0], atol=1e-9)
    assert (found.distance_mm < 15).all()
    assert found.near.size == np.count_nonzero((sign * mni[:, 0] > 5) & (sign * mni[:, 0] < 20))
    np.testing.assert_allclose(mni[found.mirror], mni[found.near] * [-1, 1, 1])


def test_distance_along_thick_slices():
    world, mni = grid()
    lesion = (mni[:, 0] < 0) & (mni[:, 2] < 0)
    found = mirror_pairs(world, mni, lesion, np.ones(len(mni), bool), voxel_mm=4.0, reach_mm=9.0)
    # The last slice of the lesion has its centre at -4 mm, so that it ends at -2.
    np.testing.assert_allclose(found.distance_mm, mni[found.near, 2] + 2.0, atol=1e-9)
    assert set(found.distance_mm) == {2.0, 6.0}


def test_both_of_a_pair_are_tissue():
    world, mni = grid()
    lesion = mni[:, 0] > 20
    csf = (mni[:, 1] > 10) & (mni[:, 0] < 0)
    found = mirror_pairs(world, mni, lesion, ~csf, voxel_mm=2.0, reach_mm=10.0)
    assert mni[found.near, 1].max() < 10
    assert (mni[found.near, 0] > 0).all()


def test_a_mirrored_place_out_of_view_has_no_pair():
    world, mni = grid()
    seen = (mni[:, 0] > 0) | (mni[:, 2] < 0)
    world, mni = world[seen], mni[seen]
    found = mirror_pairs(world, mni, mni[:, 0] > 20, np.ones(len(mni), bool), voxel_mm=2.0, reach_mm=10.0)
    assert mni[found.near, 2].max() < 0


def test_no_lesion_no_pairs():
    world, mni = grid()
    none = np.zeros(len(mni), bool)
    assert mirror_pairs(world, mni, none, ~none, voxel_mm=2.0, reach_mm=15.0).near.size == 0
