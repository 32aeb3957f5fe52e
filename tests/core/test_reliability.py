"""Reliability against the tables printed in the papers that define it."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.reliability import (
    bland_altman,
    icc_2_1,
    icc_interval,
    minimal_detectable_change,
    within_subject_sd,
)
from mripipe.errors import InputError

SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
"""Shrout & Fleiss 1979, table 2."""

WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
"""Peak expiratory flow with two meters, Bland & Altman 1986, L/min."""


def test_icc_of_shrout_and_fleiss():
    # Printed as .29; BMS 11.24, JMS 32.49, EMS 1.02 are printed too.
    assert icc_2_1(SHROUT_FLEISS) == pytest.approx(0.29, abs=0.005)
    printed = (11.24 - 1.02) / (11.24 + 3 * 1.02 + 4 * (32.49 - 1.02) / 6)
    assert icc_2_1(SHROUT_FLEISS) == pytest.approx(printed, abs=5e-4)


def test_interval_of_shrout_and_fleiss():
    # As the R package psych prints it for these ratings: ICC2 0.29, 0.019 to 0.76.
    assert icc_interval(SHROUT_FLEISS) == (pytest.approx(0.019, abs=0.001), pytest.approx(0.761, abs=0.001))


def test_without_error_there_is_no_interval():
    assert np.isnan(icc_interval([[1, 1], [2, 2], [3, 3]])).all()


def test_icc_counts_a_steady_difference_between_raters():
    truth = np.arange(10.0)
    assert icc_2_1(np.stack([truth, truth], axis=1)) == pytest.approx(1)
    assert icc_2_1(np.stack([truth, truth + 3], axis=1)) < 0.75


def test_icc_does_not_depend_on_the_order_of_raters():
    assert icc_2_1(np.fliplr(SHROUT_FLEISS)) == pytest.approx(icc_2_1(SHROUT_FLEISS))


def test_icc_of_equal_numbers_is_not_known():
    assert np.isnan(icc_2_1(np.full((4, 2), 7.0)))


def test_limits_of_agreement_of_bland_and_altman():
    found = bland_altman(WRIGHT, MINI)
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    # The paper takes two standard deviations, -79.7 to 75.5.
    assert found.lower == pytest.approx(-2.1 - 1.96 * 38.8, abs=0.15)
    assert found.upper == pytest.approx(-2.1 + 1.96 * 38.8, abs=0.15)


def test_within_subject_sd_of_pairs_is_half_the_mean_squared_difference():
    rng = np.random.default_rng(3)
    pairs = rng.normal(size=(40, 2))
    expected = np.sqrt(np.sum((pairs[:, 0] - pairs[:, 1]) ** 2) / (2 * len(pairs)))
    assert within_subject_sd(pairs) == pytest.approx(expected)


def test_minimal_detectable_change_covers_95_percent_of_pairs():
    rng = np.random.default_rng(4)
    pairs = rng.normal(100, 30, size=(20000, 1)) + rng.normal(0, 5, size=(20000, 2))
    change = minimal_detectable_change(within_subject_sd(pairs))
    inside = np.mean(np.abs(pairs[:, 0] - pairs[:, 1]) <= change)
    assert inside == pytest.approx(0.95, abs=0.006)


@pytest.mark.parametrize("wrong", [[1.0, 2.0], [[1.0, 2.0]], [[1.0], [2.0]], [[1.0, np.nan], [2.0, 3.0]]])
def test_ratings_that_cannot_be_compared_are_refused(wrong):
    with pytest.raises(InputError):
        icc_2_1(wrong)


def test_measurements_that_cannot_be_paired_are_refused():
    with pytest.raises(InputError, match="3 first and 2 second"):
        bland_altman([1, 2, 3], [1, 2])


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_spread_that_is_none_is_refused(wrong):
    with pytest.raises(InputError):
        minimal_detectable_change(wrong)
