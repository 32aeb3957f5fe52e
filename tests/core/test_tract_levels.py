import numpy as np
import pytest

from mripipe.core.tract_levels import evened, held, levels_of


def test_levels_are_of_one_length_in_mm():
    positions = (np.arange(200) + 0.5) / 200
    counts = np.bincount(levels_of(positions, 40.0))
    assert counts.tolist() == [25] * 8
    assert levels_of(np.array([0.0, 1.0]), 40.0).tolist() == [0, 7]
    assert levels_of(positions, 1.0).max() == 0


def test_a_wide_level_counts_no_more_than_a_narrow_one():
    # A narrow piece of 5 voxels with 0.8, a fan of 95 with 0.4.
    levels = np.repeat([0, 1], [5, 95])
    values = np.where(levels == 0, 0.8, 0.4)
    weights = evened(np.linspace(0.5, 1.0, 100), levels, frozenset({0, 1}))
    assert (weights * values).sum() / weights.sum() == pytest.approx(0.6)
    assert np.bincount(levels, weights) == pytest.approx([1.0, 1.0])


def test_within_a_level_voxels_keep_their_weights():
    assert evened(np.array([1.0, 3.0, 9.0]), np.array([2, 2, 0]), frozenset({2})).tolist() == [
        0.25,
        0.75,
        0.0,
    ]


def test_a_level_of_which_next_to_nothing_is_left_is_not_held():
    levels = np.repeat([0, 1, 2], 100)
    everything = np.ones(300)
    left = everything.copy()
    left[100:196] = 0.0
    left[200:294] = 0.0
    assert held(left, levels, everything) == {0, 2}
    assert held(everything, levels, everything) == {0, 1, 2}


def test_nothing_holds_no_level():
    none = np.zeros(3)
    assert held(none, np.zeros(3, np.int64), none) == frozenset()
    assert held(np.zeros(0), np.zeros(0, np.int64), np.zeros(0)) == frozenset()
    assert evened(none, np.zeros(3, np.int64), frozenset({0})).tolist() == [0.0, 0.0, 0.0]
