"""Voxels that listen to their neighbours and to other visits."""

from __future__ import annotations

import numpy as np

from mripipe.core.lesion_field import lesion_probability, mean_field

SHAPE = (50, 55, 48)
BRAIN = np.zeros(SHAPE, bool)
BRAIN[4:-4, 4:-4, 4:-4] = True
REGION = np.zeros(SHAPE, bool)
REGION[10:25, 20:40, 14:32] = True


def odds(inside: float, outside: float = -2.0) -> np.ndarray:
    return np.where(REGION, inside, outside).astype(np.float32)


def test_neighbours_outvote_a_single_voxel_and_keep_a_region():
    field = odds(1.5, -1.0)
    field[40, 45, 40] = 3.0
    field[17, 30, 22] = -3.0
    found = mean_field(field, BRAIN)
    assert found[40, 45, 40] < 0.5
    assert (found[12:23, 22:38, 16:30] > 0.5).all()
    assert not found[~BRAIN].any()


def test_what_has_no_strong_core_is_left_out():
    assert (lesion_probability(odds(2.0), BRAIN) > 0.5)[12:23, 22:38, 16:30].all()
    assert not lesion_probability(odds(0.6), BRAIN).any()


def test_what_hangs_on_a_core_by_a_long_weak_bridge_is_left_out():
    field = odds(3.0)
    field[25:46, 23:37, 16:30] = 0.7
    found = lesion_probability(field, BRAIN)
    assert found[30, 30, 23] > 0.5
    assert found[44, 30, 23] == 0.0


def test_other_visits_decide_what_is_doubtful_and_cannot_outvote_what_is_plain():
    field = odds(0.6)
    witness = odds(4.0, -4.0)
    found = lesion_probability(field, BRAIN, witness) > 0.5
    assert found[12:23, 22:38, 16:30].all()
    assert not found[40, 45, 40]
    assert not (lesion_probability(odds(-4.0), BRAIN, witness) > 0.5).any()
    assert (lesion_probability(odds(4.0), BRAIN, odds(-4.0)) > 0.5)[12:23, 22:38, 16:30].all()


def test_a_place_that_no_other_visit_saw_is_decided_alone():
    unseen = np.zeros(SHAPE, np.float32)
    np.testing.assert_array_equal(
        lesion_probability(odds(2.0), BRAIN, unseen), lesion_probability(odds(2.0), BRAIN)
    )
