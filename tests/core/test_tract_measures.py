import numpy as np
import pytest
from scipy.spatial import KDTree

from mripipe.core.tract_coherence import FLOOR, along_tract, both_sides, rotation_between
from mripipe.core.tract_measures import (
    asymmetry,
    profile,
    slice_weights,
    weighted_mean,
)


def test_a_mean_of_nothing_is_none():
    assert weighted_mean(np.array([1.0]), np.array([0.0])).value is None
    assert weighted_mean(np.array([np.nan]), np.array([1.0])).value is None


def test_both_ratios():
    assert asymmetry(0.4, 0.5) == (pytest.approx(0.8), pytest.approx(1 / 9))


def test_a_profile_follows_the_values_and_leaves_gaps():
    position = np.repeat(np.linspace(0, 0.6, 500), 3)
    found = profile(position * 2, np.ones(1500), position)
    middle = (np.arange(100) + 0.5) / 100
    np.testing.assert_allclose(found[5:55], 2 * middle[5:55], atol=0.01)
    assert np.isnan(found[70:]).all()


def test_a_narrow_section_weighs_more():
    z = np.array([4, 4, 4, 4, 5, 5])
    assert slice_weights(np.ones(6), z).tolist() == [1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("lost", [7, 8, 9])
def test_a_lost_section_counts_the_same_on_every_slice(lost):
    # Sections of 4, 2 and 1 voxels on slices 7, 8 and 9; the lesion fills one of them.
    section = {7: 4, 8: 2, 9: 1}
    z = np.repeat(list(section), list(section.values()))
    probability = np.full(7, 0.5)
    hit = np.where(z == lost, probability, 0.0)
    assert (hit * slice_weights(probability, z)).sum() == pytest.approx(4 * 0.5)
    assert hit.sum() == 0.5 * section[lost]


def test_the_rotation_between_spaces_is_found_under_scaling():
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    points = np.random.default_rng(0).normal(size=(50, 3)) * 40
    np.testing.assert_allclose(rotation_between(points, points @ (1.1 * turn).T + 5), turn, atol=1e-9)


def test_low_anisotropy_has_no_direction():
    way = np.array([[0, 0, 1.0], [0, 0, -1.0]])
    assert along_tract(way, np.abs(way), np.array([0.1, 0.5])).tolist() == [0.0, 1.0]


def test_both_sides_are_weighted_alike():
    points = np.array([[x, y, z] for x in (-10, -8, 8, 10) for y in range(4) for z in range(6)], float)
    left, right = points[:, 0] < 0, points[:, 0] > 0
    tree = KDTree(points)
    # Diffusion follows the tract on the right alone: on the left it has degenerated.
    own_left, own_right = np.zeros(len(points)), right.astype(float)
    here = both_sides(tree, points[left], own_left, own_right)
    there = both_sides(tree, points[right], own_right, own_left)
    np.testing.assert_allclose(np.sort(here), np.sort(there))
    assert here.min() > 0.5
    assert both_sides(tree, points[left], own_left, None).max() == pytest.approx(FLOOR)
