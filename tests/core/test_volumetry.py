"""Volumes against closed forms; sides against the world, not the array."""

import numpy as np
import pytest

from mripipe.core.grid import reorient, voxel_to_world, world_coordinate_mm
from mripipe.core.volumetry import count_components, expected_volume_ml, lesion_side, lesion_volume_ml
from mripipe.errors import InputError


def sphere(affine, shape, centre_mm, radius_mm):
    """Return a ball's mask on a grid."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return np.linalg.norm(voxel_to_world(index, affine) - centre_mm, axis=-1) <= radius_mm


# Left-handed, anisotropic; x runs from +30 to -30 mm.
AFFINE = np.array([[-1.0, 0, 0, 30], [0, 1.5, 0, -30], [0, 0, 2.5, -30], [0, 0, 0, 1]])
SHAPE = (61, 41, 25)


def test_a_spheres_volume():
    mask = sphere(AFFINE, SHAPE, (4, 0, 0), 20)
    assert lesion_volume_ml(mask, AFFINE) == pytest.approx(4 / 3 * np.pi * 20**3 / 1000, rel=0.01)


def test_any_value_but_zero_counts_once():
    assert lesion_volume_ml(np.array([[[0, 1, 7]]]), np.diag([2, 5, 10, 1])) == pytest.approx(0.2)


def test_an_empty_mask_has_no_volume_and_no_piece():
    assert lesion_volume_ml(np.zeros(SHAPE), AFFINE) == 0
    assert count_components(np.zeros(SHAPE)) == 0


def test_expected_volume_sums_probabilities():
    probability = np.full((10, 10, 10), 0.25, np.float32)
    assert expected_volume_ml(probability, np.diag([-2, 2, 2, 1])) == pytest.approx(2.0)


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_a_value_that_is_no_probability_is_refused(bad):
    with pytest.raises(InputError, match="0 to 1"):
        expected_volume_ml(np.array([[[0.5, bad]]]), np.eye(4))


def test_pieces_that_touch_at_a_corner_are_one():
    mask = np.zeros((5, 5, 5))
    mask[0, 0, 0] = mask[1, 1, 1] = 1
    mask[4, 4, 4] = 1
    assert count_components(mask) == 2


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "SLA"])
@pytest.mark.parametrize(("x", "side"), [(-15, "left"), (15, "right"), (0, "bilateral")])
def test_the_side_is_the_persons_in_any_orientation(codes, x, side):
    mask, affine = reorient(sphere(AFFINE, SHAPE, (x, 0, 0), 10), AFFINE, codes=codes)
    assert lesion_side(mask, world_coordinate_mm(mask.shape, affine, axis=0)) == side


@pytest.mark.parametrize(
    ("n_left", "side"), [(95, "left"), (89, "bilateral"), (11, "bilateral"), (5, "right")]
)
def test_a_few_percent_across_the_middle_do_not_make_it_bilateral(n_left, side):
    x_mm = np.concatenate([np.full(n_left, -8.0), np.full(100 - n_left, 8.0)]).reshape(1, 10, 10)
    assert lesion_side(np.ones((1, 10, 10)), x_mm) == side


def test_a_lesion_on_the_midline_is_bilateral_and_none_has_no_side():
    x_mm = np.zeros((2, 2, 2))
    assert lesion_side(np.ones((2, 2, 2)), x_mm) == "bilateral"
    assert lesion_side(np.zeros((2, 2, 2)), x_mm) == "none"


def test_midline_voxels_do_not_count():
    x_mm = np.array([[[-20.0, 0.25, 0.0, -0.5]]])
    assert lesion_side(np.ones((1, 1, 4)), x_mm) == "left"


def test_coordinates_must_fit_the_mask():
    with pytest.raises(InputError, match="one grid"):
        lesion_side(np.ones((2, 2, 2)), np.ones((2, 2, 3)))
    with pytest.raises(InputError, match="no finite coordinate"):
        lesion_side(np.ones((1, 1, 2)), np.array([[[1.0, np.nan]]]))
