"""Change of the infarct between visits."""

from dataclasses import replace

import pytest

from mripipe.core.change import minimal_detectable_change_ml
from mripipe.model.results import LesionVolumes, VisitResult
from mripipe.steps.change import with_changes


def visit(name, ml, **changes):
    row = LesionVolumes(
        "sub-1", name, "ok", source="auto", lesion_ml=ml, sequences="T1w+FLAIR", repeat_sd_ml=1.0
    )
    return VisitResult("sub-1", name, replace(row, **changes))


def rows(*visits):
    return [one.volumes for one in with_changes(visits)]


def test_a_change_is_told_from_none_where_it_is_larger_than_repeats_differ():
    least = minimal_detectable_change_ml(1.0, 1.0)
    first, second, third = rows(
        visit("a", 80.0), visit("b", 80.0 - 0.9 * least), visit("c", 80.0 + 1.1 * least)
    )
    assert (first.change_ml, first.change_mdc_ml, first.change) == (None, None, None)
    assert second.change_ml == pytest.approx(-0.9 * least)
    assert second.change_mdc_ml == pytest.approx(least)
    assert (second.change, third.change) == ("not_detected", "detected")


@pytest.mark.parametrize(
    "other", [{"source": "manual"}, {"sequences": "T1w"}, {"lesion_ml": None, "status": "no_lesion_found"}]
)
def test_visits_measured_in_another_way_are_passed_over(other):
    found = rows(visit("a", 90.0, **other), visit("b", 80.0), visit("c", 70.0))
    assert [row.change_ml for row in found] == [None, None, -10.0]


def test_a_change_of_an_earlier_run_does_not_stay():
    (only,) = rows(visit("b", 80.0, change_ml=5.0, change_mdc_ml=1.0, change="detected"))
    assert (only.change_ml, only.change_mdc_ml, only.change) == (None, None, None)
