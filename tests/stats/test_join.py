"""Values meet by participant and window, whatever the order of rows; death is the end of the scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mripipe.model.group import Clinical, Measurement, Person, Score
from mripipe.stats.join import DAYS_A_MONTH, join, window_of
from mripipe.stats.missing import attendance, compare_missing, outliers
from mripipe.stats.plan import Plan, Window
from mripipe.stats.simulated import simulate_trial


def measured(who, session, day, value, name="lesion_ml", **more):
    return Measurement(who, session, name, value, "mL", "ok", "measurements.tsv", 2, None, day, **more)


def scored(who, name, value, day, session=None, **more):
    return Score(who, name, value, "ok", f"{name}.tsv", 2, session, None, day, **more)


PEOPLE = (Person("sub-1", 60.0, sex="F"), Person("sub-2", 70.0, sex="M"))


def test_values_meet_whatever_the_order_of_rows():
    rows, clinical = simulate_trial(1, patients=20, drop_out=0.3)
    shuffled = np.random.default_rng(1).permutation(len(rows))
    other = Clinical(clinical.people, clinical.scores[::-1])
    first, second = join(rows, clinical, Plan()), join([rows[k] for k in shuffled], other, Plan())
    assert first.wide.equals(second.wide)
    assert first.visits.equals(second.visits)
    assert first.presence == second.presence


def test_the_score_belongs_to_the_window_of_its_day_not_of_its_scan():
    clinical = Clinical(PEOPLE, (scored("sub-1", "mrs", 4.0, -3.0), scored("sub-1", "mrs", 2.0, 95.0)))
    wide = join([measured("sub-1", "ses-a", -5.0, 80.0)], clinical, Plan()).wide
    assert wide.loc["sub-1", "mrs_baseline"] == 4
    assert wide.loc["sub-1", "mrs_day90"] == 2
    assert wide.loc["sub-1", "mrs02_day90"] == 1
    assert wide.loc["sub-1", "mrs02_baseline"] == 0
    assert np.isnan(wide.loc["sub-2", "mrs_day90"])


def test_of_two_visits_in_a_window_the_nearer_to_its_target_counts():
    rows = [measured("sub-1", "ses-a", 70.0, 1.0), measured("sub-1", "ses-b", 92.0, 2.0)]
    for order in (rows, rows[::-1]):
        found = join(order, Clinical(PEOPLE), Plan())
        assert found.wide.loc["sub-1", "lesion_ml_day90"] == 2
        assert [v.used for v in found.values if v.session_id == "ses-a"] == [False]
        assert any("ses-a lies in window day90 too" in o.message for o in found.oddities)


def test_a_visit_without_a_value_does_not_hide_one_with():
    rows = [measured("sub-1", "ses-a", 90.0, None), measured("sub-1", "ses-b", 100.0, 2.0)]
    assert join(rows, Clinical(PEOPLE), Plan()).wide.loc["sub-1", "lesion_ml_day90"] == 2


def test_a_visit_in_no_window_is_named_and_stays_in_the_course():
    found = join([measured("sub-1", "ses-x", 900.0, 5.0)], Clinical(PEOPLE), Plan())
    assert any("ses-x falls into no window" in o.message for o in found.oddities)
    assert list(found.visits["lesion_ml"]) == [5.0]
    assert found.visits["months"].iloc[0] == pytest.approx(900 / DAYS_A_MONTH)


def test_windows_by_onset_and_by_label():
    windows = (
        Window(name="early", clock="days_from_onset", start=0, end=60, target=45),
        Window(name="late", start=61, end=100, target=90, sessions=("final",)),
    )
    assert window_of("ses-a", {"days_from_onset": 50.0}, windows).name == "early"
    assert window_of("ses-a", {"days_from_infusion": 90.0}, windows).name == "late"
    assert window_of("ses-final", {"days_from_onset": 50.0}, windows).name == "late"
    assert window_of("ses-early", {}, windows).name == "early"
    assert window_of("ses-early", {"days_from_onset": 70.0}, windows) is None


def test_the_dead_have_the_worst_score_from_then_on():
    scores = (
        scored("sub-1", "mrs", 6.0, 90.0),
        scored("sub-2", "mrs", 3.0, 90.0),
        scored("sub-2", "mrs", 2.0, 365.0),
    )
    rows = [measured(who, "ses-a", -5.0, 50.0) for who in ("sub-1", "sub-2")]
    found = join(rows, Clinical(PEOPLE, scores), Plan())
    assert found.wide.loc["sub-1", "mrs_day365"] == 6
    assert found.presence["sub-1"]["day365"]["mrs"] == "died"
    assert any("sub-1 died before window day365" in o.message for o in found.oddities)
    assert "mrs_day180" not in found.wide
    (carried,) = [v for v in found.values if v.status == "died"]
    assert carried.window == "day365"
    counts = {(a.window, a.item): (a.seen, a.missing, a.died) for a in attendance(found, Plan())}
    assert counts["day365", "mrs"] == (1, 0, 1)
    assert counts["day90", "mrs"] == (2, 0, 0)


def test_change_is_from_baseline_and_not_at_it():
    rows = [measured("sub-1", "ses-b", 90.0, 70.0), measured("sub-1", "ses-a", -5.0, 80.0)]
    visits = join(rows, Clinical(PEOPLE), Plan()).visits.set_index("session_id")
    assert visits.loc["ses-b", "lesion_ml_change"] == -10
    assert np.isnan(visits.loc["ses-a", "lesion_ml_change"])
    assert visits.loc["ses-b", "lesion_ml_baseline"] == 80


def test_low_quality_counts_unless_the_plan_says_no():
    rows = [replace(measured("sub-1", "ses-a", -5.0, 80.0, low_quality=True), status="low_quality")]
    assert join(rows, Clinical(PEOPLE), Plan()).wide.loc["sub-1", "lesion_ml_baseline"] == 80
    strict = join(rows, Clinical(PEOPLE), Plan(exclude_low_quality=True))
    assert "lesion_ml_baseline" not in strict.wide
    assert strict.low_quality == 1


def test_who_is_missing_is_compared_at_baseline():
    rows, clinical = simulate_trial(4, patients=60)
    # Everyone with a large infarct stays away on day 180.
    large = {
        r.participant_id
        for r in rows
        if r.session_id == "ses-baseline" and r.name == "lesion_ml" and r.value > 130
    }
    kept = [r for r in rows if not (r.session_id == "ses-day180" and r.participant_id in large)]
    found = {(c.window, c.item, c.variable): c for c in compare_missing(join(kept, clinical, Plan()), Plan())}
    volume = found["day180", "scan", "lesion_ml_baseline"]
    dead = {s.participant_id for s in clinical.scores if s.name == "mrs" and s.value == 6}
    assert volume.n_missing == len(large | dead)
    assert volume.lower_missing > 130 > volume.median_seen
    assert volume.p < 0.001
    assert ("day90", "scan", "age") not in found


def test_an_outlier_is_listed_and_stays():
    rows, clinical = simulate_trial(4, patients=30)
    rows = [
        replace(r, value=5000.0)
        if (r.name, r.participant_id, r.session_id) == ("lesion_ml", "sub-003", "ses-day90")
        else r
        for r in rows
    ]
    data = join(rows, clinical, Plan())
    first = outliers(data)[0]
    assert (first.participant_id, first.session_id) == ("sub-003", "ses-day90")
    assert data.wide.loc["sub-003", "lesion_ml_day90"] == 5000
