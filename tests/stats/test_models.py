"""Models against published fits of published data; what cannot be fitted says why."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from mripipe.stats.logistic import is_separated, logistic_covariance
from mripipe.stats.mixed import fit_mixed
from mripipe.stats.models import run_model
from mripipe.stats.ordinal import brant_test, calibrated_brant, fit_ordinal
from mripipe.stats.plan import Model, Plan
from mripipe.stats.prediction import auc, compare_predictions, corrected_interval

BOYS = """26 25 29 31|21.5 22.5 23 26.5|23 22.5 24 27.5|25.5 27.5 26.5 27|20 23.5 22.5 26|24.5 25.5 27 28.5
22 22 24.5 26.5|24 21.5 24.5 25.5|23 20.5 31 26|27.5 28 31 31.5|23 23 23.5 25|21.5 23.5 24 28
17 24.5 26 29.5|22.5 25.5 25.5 26|23 24.5 26 30|22 21.5 23.5 25"""
GIRLS = """21 20 21.5 23|21 21.5 24 25.5|20.5 24 24.5 26|23.5 24.5 25 26.5|21.5 23 22.5 23.5|20 21 21 22.5
21.5 22.5 23 25|23 23 23.5 24|20 21 22 21.5|16.5 19 19 19.5|24.5 25 28 28"""
"""Distance of pituitary and pterygomaxillary fissure at 8, 10, 12, 14 years, mm: Potthoff & Roy 1964."""

HOUSING = """21 21 28 14 19 37 34 22 36 17 23 40 10 11 36 3 5 23
61 23 17 78 46 43 43 35 40 48 45 86 26 18 54 15 25 62
13 9 10 20 23 20 8 8 12 10 22 24 6 7 9 7 10 21
18 6 7 57 23 13 15 13 13 31 21 13 7 5 11 5 6 13"""
"""Copenhagen housing survey (Madsen 1976), households; a line a type."""


def housing():
    rows = []
    for kind, line in enumerate(HOUSING.splitlines()):
        counts = iter(int(number) for number in line.split())
        for influence in range(3):
            for contact in range(2):
                for satisfaction in range(3):
                    row = [
                        satisfaction,
                        influence == 1,
                        influence == 2,
                        *(kind == k for k in (1, 2, 3)),
                        contact,
                    ]
                    rows += [row] * next(counts)
    return np.array(rows, float)


def test_proportional_odds_of_the_housing_survey():
    # Venables & Ripley, Modern Applied Statistics with S, section 7.3: polr(Sat ~ Infl + Type + Cont).
    data = housing()
    assert len(data) == 1681
    fit, chances = fit_ordinal(data[:, 0], data[:, 1:])
    expected = [0.5663937, 1.2888191, -0.5723501, -0.3661866, -1.0910149, 0.3602841]
    errors = [0.1046528, 0.1271561, 0.1192380, 0.1551733, 0.1514860, 0.0955358]
    np.testing.assert_allclose(fit.coefficients, expected, atol=5e-5)
    np.testing.assert_allclose(fit.errors, errors, atol=5e-5)
    np.testing.assert_allclose(chances.sum(axis=1), 1)


def test_linear_mixed_model_of_the_growth_study():
    # Pinheiro & Bates, Mixed-Effects Models in S: lme(distance ~ age, random = ~ age | Subject), REML.
    table = np.array(
        [
            [float(number) for number in child.split()]
            for child in "|".join((BOYS + "\n" + GIRLS).splitlines()).split("|")
        ]
    )
    children = len(table)
    age = np.tile([8.0, 10, 12, 14], children)
    names = [f"child{k}" for k in range(children) for _ in range(4)]
    found = fit_mixed(table.ravel(), age[:, None], names, age)
    np.testing.assert_allclose(found.fit.coefficients, [16.76111, 0.660185], atol=5e-5)
    np.testing.assert_allclose(found.fit.errors, [0.7752461, 0.0712533], atol=5e-5)
    np.testing.assert_allclose(found.random_sd, [2.3270, 0.2264], atol=5e-4)
    assert found.random_correlation == pytest.approx(-0.609, abs=5e-4)
    assert found.residual_sd == pytest.approx(1.3100, abs=5e-4)
    assert found.has_slope
    assert not found.note


def test_a_mixed_model_does_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(2)
    names = np.repeat([f"p{k}" for k in range(20)], 4)
    time = np.tile([0.0, 3, 6, 12], 20)
    outcome = 100 - 2 * time + np.repeat(rng.normal(0, 20, 20), 4) + rng.normal(0, 3, 80)
    shuffled = rng.permutation(80)
    first = fit_mixed(outcome, time[:, None], list(names), time)
    other = fit_mixed(outcome[shuffled], time[shuffled, None], list(names[shuffled]), time[shuffled])
    np.testing.assert_allclose(first.fit.coefficients, other.fit.coefficients, rtol=1e-4)


def test_logistic_regression_of_the_teaching_experiment():
    # Greene, Econometric Analysis, table of the logit model of Spector & Mazzeo 1980.
    data = sm.datasets.spector.load_pandas().data
    outcome, matrix = data["GRADE"].to_numpy(float), data[["GPA", "TUCE", "PSI"]].to_numpy(float)
    coefficients, covariance, converged = logistic_covariance(outcome, matrix)
    assert converged
    np.testing.assert_allclose(coefficients, [-13.0213, 2.8261, 0.0952, 2.3787], atol=5e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), [4.9313, 1.2629, 0.1416, 1.0646], atol=5e-5)


@pytest.mark.parametrize(
    ("outcome", "term", "separated"),
    [
        ([0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6], True),
        ([0, 0, 0, 1, 1, 1], [1, 2, 3, 3, 5, 6], True),
        ([0, 0, 1, 0, 1, 1], [1, 2, 3, 4, 5, 6], False),
        ([1, 1, 1, 0, 0, 0], [1, 2, 3, 4, 5, 6], True),
    ],
)
def test_separation_is_found(outcome, term, separated):
    assert is_separated(np.array(outcome, float), np.array(term, float)[:, None]) is separated


def test_separation_by_two_terms_together_is_found():
    # Neither term alone tells the outcome, their sum does.
    first, second = np.array([0.0, 3, 1, 4, 2, 5]), np.array([5.0, 0, 4, 1, 4, 2])
    outcome = (first + second > 5).astype(float)
    assert not is_separated(outcome, first[:, None])
    assert is_separated(outcome, np.stack([first, second], axis=1))


def table_of(n=60, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, n)
    y = np.searchsorted([-2, -1, 0, 1, 2, 3], x + rng.logistic(0, 1, n)).astype(float)
    return pd.DataFrame({"x": x, "z": rng.normal(0, 1, n), "mrs": y, "good": (y <= 2).astype(float)})


def test_a_separated_model_gives_no_number():
    table = table_of()
    table["told"] = table["good"] + 0.01 * table["z"]
    model = Model(name="m", kind="logistic", formula="good ~ told")
    (effect,), (check,) = run_model(model, table, Plan())
    assert effect.status == "separation"
    assert effect.estimate is None
    assert effect.p is None
    assert check.verdict == "fail"


def test_too_few_participants_give_no_number():
    model = Model(name="m", kind="ordinal", formula="mrs ~ x + z")
    (effect,), _ = run_model(model, table_of(7), Plan())
    assert effect.status == "too_few"
    assert effect.n == 7


def test_missing_values_are_counted_not_dropped_silently():
    table = table_of()
    table.loc[:4, "x"] = np.nan
    table.loc[3:9, "z"] = np.nan
    model = Model(name="m", kind="logistic", formula="good ~ x + z")
    effects, _ = run_model(model, table, Plan())
    assert {effect.n for effect in effects} == {50}
    assert effects[0].n_missing == 10
    assert effects[0].missing == "x: 5; z: 7"


def test_a_variable_that_nobody_has_is_named():
    model = Model(name="m", kind="logistic", formula="good ~ rfa")
    (effect,), _ = run_model(model, table_of(), Plan())
    assert effect.status == "not_available"
    assert "rfa" in effect.note


def test_a_term_told_by_others_is_refused():
    table = table_of().assign(double=lambda t: 2 * t["x"])
    (effect,), _ = run_model(Model(name="m", kind="logistic", formula="good ~ x + double"), table, Plan())
    assert effect.status == "not_available"


def test_a_unit_of_the_term_scales_the_estimate_and_not_the_test():
    table = table_of()
    table["x1000"] = 1000 * table["x"]
    model = Model(name="m", kind="ordinal", formula="mrs ~ x")
    plain = run_model(model, table, Plan())[0][0]
    large = run_model(Model(name="m", kind="ordinal", formula="mrs ~ x1000"), table, Plan())[0][0]
    assert large.estimate == pytest.approx(plain.estimate / 1000, rel=1e-4)
    assert large.p == pytest.approx(plain.p, rel=1e-3)
    assert large.per_sd == pytest.approx(plain.per_sd, rel=1e-4)


def test_odds_that_are_not_proportional_are_found():
    rng = np.random.default_rng(5)
    n = 600
    x = rng.normal(0, 1, n)
    # The term moves people over the first cut, and not over the others.
    first = x * 2 + rng.logistic(0, 1, n) > 0
    later = rng.integers(1, 4, n)
    outcome = np.where(first, later, 0).astype(float)
    fit, chances = fit_ordinal(outcome, x[:, None])
    assert fit.converged
    assert calibrated_brant(outcome, x[:, None], chances, resamples=39, seed=1).p == pytest.approx(1 / 40)


def test_too_few_on_either_side_leave_the_assumption_unchecked():
    outcome = np.array([0.0] * 4 + [1.0] * 20 + [2.0] * 3)
    assert brant_test(outcome, np.arange(27.0)[:, None] % 7) is None


def test_prediction_is_never_in_sample():
    # 20 terms of pure noise fit 60 participants well and predict unseen ones no better than chance.
    rng = np.random.default_rng(7)
    outcome = np.tile([0.0, 1.0], 60)
    base, added = rng.normal(size=(120, 1)), rng.normal(size=(120, 20))
    found = compare_predictions(outcome, base, added, folds=5, repeats=4, seed=3)
    assert found.with_added.auc.mean() < 0.6
    assert found.with_added.log_loss.mean() > found.without.log_loss.mean()


def test_prediction_finds_what_helps():
    rng = np.random.default_rng(8)
    added = rng.normal(size=(120, 1))
    outcome = (2 * added[:, 0] + rng.logistic(0, 1, 120) > 0).astype(float)
    found = compare_predictions(outcome, rng.normal(size=(120, 1)), added, folds=5, repeats=4, seed=3)
    mean, lower, upper, p = corrected_interval(found.with_added.auc - found.without.auc, found.test_share)
    assert 0 < lower < mean < upper
    assert p < 0.05


def test_auc_is_the_share_of_pairs_in_order():
    outcome, chance = np.array([0.0, 1, 0, 1, 1]), np.array([0.2, 0.7, 0.5, 0.5, 0.1])
    expected = stats.mannwhitneyu(chance[outcome == 1], chance[outcome == 0]).statistic / 6
    assert auc(outcome, chance) == pytest.approx(expected)


def test_a_corrected_interval_is_wider_than_a_naive_one():
    differences = np.random.default_rng(1).normal(0.05, 0.05, 100)
    _, lower, upper, _ = corrected_interval(differences, 0.25)
    naive = 2 * 1.96 * differences.std(ddof=1) / 10
    assert upper - lower == pytest.approx(naive * np.sqrt(1 + 0.25 * 100), rel=0.02)


def test_what_does_not_change_in_anyone_has_no_course():
    rows = [(f"p{k}", m, float(k)) for k in range(20) for m in (0.0, 3.0, 6.0)]
    table = pd.DataFrame(rows, columns=["participant_id", "months", "value"])
    (effect,), _ = run_model(Model(name="m", kind="mixed", formula="value ~ months"), table, Plan())
    assert effect.status == "not_available"
