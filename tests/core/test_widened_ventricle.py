"""A ventricle drawn wide, on either side, and a cavity that opens into one."""

import numpy as np
import pytest

from mripipe.core.widened_ventricle import widened_ventricle

SHAPE = (60, 50, 40)
POINTS = np.stack(np.indices(SHAPE), axis=-1) - np.array([29.5, 24.5, 19.5])


def box(side, low, high):
    placed = POINTS * [side, 1, 1]
    return np.all((placed > low) & (placed < high), axis=-1)


def ventricles():
    return box(1, (2, -12, -5), (8, 12, 5)) | box(-1, (2, -12, -5), (8, 12, 5))


@pytest.mark.parametrize("side", [-1, 1])
def test_fluid_beside_the_ventricle_is_the_ventricles(side):
    wide = box(side, (8, -12, -5), (13, 12, 5))
    gliosis = box(side, (13, -12, -8), (24, 12, 8))
    found = widened_ventricle(wide | gliosis, wide, ventricles())
    np.testing.assert_array_equal(found, wide)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_cavity_that_opens_into_the_ventricle_stays_infarct_to_its_wall(side):
    cavity = box(side, (8, -6, -5), (20, 6, 5))
    assert not widened_ventricle(cavity, cavity, ventricles()).any()


def test_a_small_cavity_near_the_ventricle_that_does_not_touch_it_stays():
    cavity = box(1, (11, -3, -3), (14, 3, 3))
    assert not widened_ventricle(cavity, cavity, ventricles()).any()


def test_each_piece_of_fluid_is_judged_by_itself():
    wide = box(1, (8, -12, -5), (12, -2, 5))
    cavity = box(1, (8, 2, -5), (20, 12, 5))
    gliosis = box(1, (12, -12, -5), (24, 12, 5)) & ~cavity
    found = widened_ventricle(wide | cavity | gliosis, wide | cavity, ventricles())
    np.testing.assert_array_equal(found, wide)


def test_gliosis_beside_a_ventricle_and_fluid_that_is_no_infarct_are_left_alone():
    beside = box(1, (8, -12, -5), (12, 12, 5))
    none = np.zeros(SHAPE, bool)
    assert not widened_ventricle(beside, none, ventricles()).any()
    assert not widened_ventricle(none, beside, ventricles()).any()
    assert not widened_ventricle(beside, beside, none).any()
