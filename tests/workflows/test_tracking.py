"""What a run makes of tracking that went well, failed, or was left out."""

from types import SimpleNamespace

import pytest

from mripipe.model.diffusion import DiffusionResult, TrackedTract, TrackedVisit, TractMetrics
from mripipe.model.failure import Failure
from mripipe.model.results import LesionVolumes, VisitResult
from mripipe.model.settings import DiffusionSettings, RegistrationSettings, Settings
from mripipe.model.study import Scan, Session
from mripipe.workflows import run

FOUND = TrackedVisit(
    (TrackedTract("CST", "left", "ok", 99),),
    (TractMetrics("CST_tracked", "whole", "ok", fa=0.4),),
    (),
    "followed",
)


@pytest.fixture
def outcome(monkeypatch, tmp_path):
    """Run the end of a visit on given results of its steps."""

    def end(tracked, *, state="done", settings=None, dwi=True):
        scans = (Scan(tmp_path / "t1.nii", "T1w"), *([Scan(tmp_path / "d.nii", "dwi")] if dwi else []))
        session = Session("sub-1", "ses-a", scans)
        volumes = LesionVolumes("sub-1", "ses-a", "ok")
        results = {
            "measure_visit": VisitResult("sub-1", "ses-a", volumes),
            "measure_tracts": DiffusionResult("ok", (TractMetrics("CST", "whole", "ok", fa=0.5),)),
            "track_visit": tracked,
        }
        steps = {
            ("ses-a", name): SimpleNamespace(
                function=name, result=name, step=name, state=state if name == "track_visit" else "done"
            )
            for name, value in results.items()
            if value is not None
        }
        monkeypatch.setattr(run, "result_of", lambda function, _: results[function])
        return run._visit_result(session, steps, settings or Settings())

    return end


def test_what_was_followed_stands_beside_the_atlas(outcome):
    found = outcome(FOUND).diffusion
    assert [(row.tract, row.fa) for row in found.metrics] == [("CST", 0.5), ("CST_tracked", 0.4)]
    assert found.tracked == FOUND.tracts
    assert found.steps == ("followed",)


@pytest.mark.parametrize("state", ["failed", "to do"])
def test_tracking_that_failed_leaves_the_atlas_and_says_why(outcome, state):
    visit = outcome(Failure("sub-1", "ses-a", "track_visit", "memory ran out"), state=state)
    rows = {row.tract: row for row in visit.diffusion.metrics}
    assert (rows["CST"].fa, rows["CST_tracked"].status) == (0.5, "failed")
    why = "memory ran out" if state == "failed" else "not finished"
    assert visit.warnings == (f"tracking was left out: {why}",)


def test_rows_are_there_where_a_visit_has_no_series_and_tracking_is_on(outcome):
    found = outcome(None, dwi=False)
    assert {r.status for r in found.diffusion.metrics if r.tract == "CST_tracked"} == {"missing_input"}
    assert found.warnings == ()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(diffusion=DiffusionSettings(tracking=False)),
        Settings(registration=RegistrationSettings(level="fast")),
    ],
)
def test_no_rows_where_tracking_is_left_out(outcome, settings):
    assert [row.tract for row in outcome(None, settings=settings).diffusion.metrics] == ["CST"]
