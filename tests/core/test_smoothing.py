"""Smoothing inside a region."""

import numpy as np
import pytest

from mripipe.core.smoothing import smoother_within


def region():
    inside = np.zeros((24, 20, 18), bool)
    inside[4:20, 5:16, 3:14] = True
    return inside


def test_what_lies_outside_has_no_say():
    inside = region()
    level = np.where(inside, 3.0, 1000.0)
    smooth = smoother_within(inside, 2.0)(level)
    assert smooth[inside] == pytest.approx(3.0, rel=1e-5)


def test_far_from_the_region_an_average_fades():
    inside = region()
    near = smoother_within(inside, 1.0, least=0.5)(np.ones(inside.shape))
    assert near[12, 10, 8] == pytest.approx(1.0, rel=1e-5)
    assert 0 < near[1, 10, 8] < 0.1


def test_a_gaussian_of_that_reach():
    inside = np.ones((41, 41, 41), bool)
    point = np.zeros(inside.shape)
    point[20, 20, 20] = 1.0
    spread = smoother_within(inside, 2.0)(point)
    index = np.arange(41) - 20
    along = spread.sum(axis=(1, 2))
    assert np.sqrt((along * index**2).sum() / along.sum()) == pytest.approx(2.0, rel=0.02)
