"""Rank correlations against textbook tables; intervals that cover; correction by family."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mripipe.stats.associations import as_numbers, associate, rank_correlation
from mripipe.stats.effects import Effect, with_q
from mripipe.stats.plan import Association, Plan

HOLLANDER = (
    [44.4, 45.9, 41.9, 53.3, 44.7, 44.1, 50.7, 45.2, 60.1],
    [2.6, 3.1, 2.5, 5.0, 3.6, 4.0, 5.2, 2.8, 3.8],
)
"""Hunter's L and panel score of canned tuna, Hollander & Wolfe 1973, p. 187: Spearman's coefficient 0.6."""


def test_spearman_of_the_tuna():
    found = rank_correlation(np.array(HOLLANDER).T, resamples=50, seed=1)
    assert found.r == pytest.approx(0.6)


def test_spearman_with_ties_is_that_of_scipy():
    rng = np.random.default_rng(1)
    columns = rng.integers(0, 5, (40, 2)).astype(float)
    expected = stats.spearmanr(columns)
    found = rank_correlation(columns, resamples=10, seed=1)
    assert found.r == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)


def test_a_partial_correlation_is_that_of_residuals():
    rng = np.random.default_rng(2)
    base = rng.normal(size=(50, 2))
    columns = np.column_stack(
        [base.sum(axis=1) + rng.normal(size=50), base[:, 0] + rng.normal(size=50), base]
    )
    ranks = stats.rankdata(columns, axis=0)
    adjust = np.column_stack([np.ones(50), ranks[:, 2:]])
    rest = ranks[:, :2] - adjust @ np.linalg.lstsq(adjust, ranks[:, :2], rcond=None)[0]
    found = rank_correlation(columns, resamples=10, seed=1)
    assert found.r == pytest.approx(np.corrcoef(rest.T)[0, 1])


def test_a_common_cause_is_taken_out():
    rng = np.random.default_rng(3)
    cause = rng.normal(size=300)
    x, y = cause + 0.3 * rng.normal(size=300), cause + 0.3 * rng.normal(size=300)
    assert rank_correlation(np.column_stack([x, y]), resamples=10, seed=1).r > 0.8
    assert abs(rank_correlation(np.column_stack([x, y, cause]), resamples=10, seed=1).r) < 0.15


def test_monotone_transforms_change_nothing():
    columns = np.random.default_rng(4).normal(size=(30, 2))
    first = rank_correlation(columns, resamples=100, seed=1)
    assert rank_correlation(np.exp(columns), resamples=100, seed=1) == first


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(5)
    pearson = 0.5
    truth = 6 / np.pi * np.arcsin(pearson / 2)
    covered = 0
    for seed in range(200):
        x = rng.normal(size=40)
        y = pearson * x + np.sqrt(1 - pearson**2) * rng.normal(size=40)
        found = rank_correlation(np.column_stack([x, y]), resamples=100, seed=seed)
        covered += found.lower <= truth <= found.upper
    low, high = stats.binom.ppf((0.001, 0.999), 200, 0.95)
    assert low <= covered <= high


def test_a_constant_has_no_correlation():
    columns = np.column_stack([np.ones(20), np.arange(20.0)])
    assert np.isnan(rank_correlation(columns, resamples=5, seed=1).r)


def test_an_association_counts_who_is_missing():
    table = pd.DataFrame({"x": np.arange(30.0), "y": np.arange(30.0) % 7, "sex": ["F", "M", None] * 10})
    table.loc[0, "x"] = np.nan
    found = associate(Association(x="x", y="y", adjust=("sex",)), table, Plan(bootstrap=10))
    assert (found.n, found.n_missing) == (19, 11)
    assert found.missing == "x: 1; sex: 10"
    assert found.kind == "partial_spearman"


@pytest.mark.parametrize(
    ("x", "status"), [("absent", "not_available"), ("rare", "too_few"), ("same", "not_available")]
)
def test_what_cannot_be_computed_says_why(x, status):
    table = pd.DataFrame({"y": np.arange(30.0), "rare": [1.0, 2.0] + [np.nan] * 28, "same": 1.0})
    found = associate(Association(x=x, y="y"), table, Plan(bootstrap=10))
    assert found.status == status
    assert found.estimate is None
    assert found.note


def test_the_interval_does_not_depend_on_what_else_is_run():
    table = pd.DataFrame(np.random.default_rng(6).normal(size=(40, 2)), columns=["x", "y"])
    one = associate(Association(x="x", y="y"), table, Plan(bootstrap=50))
    assert associate(Association(x="x", y="y"), table.assign(z=1.0), Plan(bootstrap=50)) == one


def effect(p, family="f", planned=True, tested=True):
    return Effect(
        analysis="a",
        kind="spearman",
        term="x",
        family=family,
        planned=planned,
        formula="y ~ x",
        p=p,
        tested=tested,
    )


def test_benjamini_and_hochberg_on_their_own_example():
    # Table of 15 p values in section 3.2 of the paper of 1995: at 5 % four hypotheses are rejected.
    values = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719,
        0.6528, 0.7590, 1.0,
    ]  # fmt: skip
    found = with_q([effect(p) for p in values])
    assert sum(item.q <= 0.05 for item in found) == 4
    assert found[3].q == pytest.approx(15 * 0.0095 / 4)


def test_families_plans_and_adjustment_do_not_mix():
    found = with_q(
        [
            effect(0.01),
            effect(0.04),
            effect(0.01, family="g"),
            effect(0.01, planned=False),
            effect(0.01, tested=False),
        ]
    )
    assert [item.q for item in found] == [0.02, 0.04, 0.01, 0.01, None]


def test_text_becomes_numbers_in_order():
    assert list(as_numbers(pd.Series(["M", "F", None, "M"])).fillna(-1)) == [1, 0, -1, 1]
