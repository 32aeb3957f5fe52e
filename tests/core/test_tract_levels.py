import numpy as np
import pytest

from mripipe.core.tract_levels import level_sizes, levels_of, shared_sizes, sized


def test_levels_are_of_one_length_in_mm():
    positions = (np.arange(200) + 0.5) / 200
    counts = np.bincount(levels_of(positions, 40.0))
    assert counts.tolist() == [25] * 8
    assert levels_of(np.array([0.0, 1.0]), 40.0).tolist() == [0, 7]
    assert levels_of(positions, 1.0).max() == 0


def test_a_level_that_lost_voxels_keeps_its_size():
    levels = np.repeat([0, 1], [50, 50])
    values = np.where(levels == 0, 0.8, 0.4)
    everything = np.linspace(0.5, 1.0, 100)
    left = np.where((levels == 1) & (np.arange(100) % 5 > 0), 0.0, everything)
    weights = sized(left, levels, level_sizes(left, everything, levels))
    assert np.bincount(levels, weights) == pytest.approx(np.bincount(levels, everything))
    assert (weights * values).sum() / weights.sum() == pytest.approx(
        (everything * values).sum() / everything.sum()
    )


def test_within_a_level_voxels_keep_their_weights():
    assert sized(np.array([1.0, 3.0, 9.0]), np.array([2, 2, 0]), {2: 1.0}).tolist() == [0.25, 0.75, 0.0]


def test_a_level_of_which_next_to_nothing_is_left_has_no_size():
    levels = np.repeat([0, 1, 2], 100)
    everything = np.ones(300)
    left = everything.copy()
    left[100:196] = 0.0
    left[200:294] = 0.0
    assert level_sizes(left, everything, levels) == {0: 100.0, 2: 100.0}
    assert level_sizes(everything, everything, levels) == {0: 100.0, 1: 100.0, 2: 100.0}


def test_both_sides_get_the_smaller_size():
    one, other = {0: 5.0, 1: 2.0, 3: 1.0}, {0: 4.0, 1: 3.0, 2: 9.0}
    assert shared_sizes(one, other) == shared_sizes(other, one) == {0: 4.0, 1: 2.0}


def test_nothing_has_no_level():
    none, levels = np.zeros(3), np.zeros(3, np.int64)
    assert level_sizes(none, none, levels) == {}
    assert level_sizes(none[:0], none[:0], levels[:0]) == {}
    assert sized(none, levels, {}).tolist() == [0.0, 0.0, 0.0]
