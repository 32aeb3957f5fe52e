"""A visit run again elsewhere, and its bytes compared; and what status says of the study meanwhile."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace

import pytest

from mripipe.cli.rerun import check_again
from mripipe.cli.state import show_state, study_state
from mripipe.errors import RequestError
from mripipe.interfaces.execution import Execution
from mripipe.model.settings import RegistrationSettings, Settings
from mripipe.workflows.run import run_participants

LINEAR = Execution(plugin="linear")
FAST = Settings(registration=RegistrationSettings(level="fast"))


@pytest.fixture
def finished(trial):
    """Participants done with settings that are not the default."""
    run_participants(trial.study(), trial.out, work_dir=trial.work, settings=FAST, execution=LINEAR)
    trial.called()
    return trial


def check(trial, session=None, participant=0):
    study = trial.study()
    given = Namespace(out_dir=trial.out, session_label=session, work_dir=None, nprocs=1)
    return check_again(given, replace(study, subjects=(study.subjects[participant],)))


def test_the_same_bytes_come_out_and_nothing_is_left_behind(finished, capsys):
    before = finished.files()
    assert check(finished)
    assert "sub-1 all visits: " in capsys.readouterr().out
    assert finished.files() == before
    assert finished.called() == ["sub-1/ses-a", "sub-1/ses-b"]


def test_of_one_visit_its_own_files_are_compared(finished, capsys):
    assert check(finished, "b")
    told = capsys.readouterr()
    assert "sub-1 ses-b: 6 files compared byte by byte, all the same" in told.out
    assert "failed" not in told.err


def test_what_differs_is_named_with_its_place(finished, capsys):
    folder = finished.out / "sub-1" / "ses-b" / "anat"
    mask = folder / "sub-1_ses-b_label-L_desc-final_mask.nii.gz"
    content = mask.read_bytes()
    mask.write_bytes(content[:30] + b"\0" + content[31:])
    (folder / "more.txt").write_text("own")
    (folder / "sub-1_ses-b_desc-preproc_T1w.json").unlink()
    assert not check(finished, "b")
    lines = capsys.readouterr().out.splitlines()
    assert f"first difference at byte {30}" in next(line for line in lines if "final_mask.nii" in line)
    assert any(line.endswith("more.txt: not made again") for line in lines)
    assert any(line.endswith("preproc_T1w.json: not there before") for line in lines)
    assert lines[-1] == "sub-1 ses-b: 7 files compared byte by byte, 3 differ"


def test_a_change_since_the_last_run_is_said_beforehand(finished, capsys):
    finished.write("sub-1", "ses-a", "another image")
    assert not check(finished, "a")
    assert "note: prepare_visit of the last run is stale now (input sub-1_ses-a_T1w.nii has" in (
        capsys.readouterr().err
    )


def test_a_visit_that_was_not_run_is_refused(finished):
    with pytest.raises(RequestError, match="ses-c was not in the last run; it had ses-a, ses-b"):
        check(finished, "c")


def test_a_participant_that_was_never_run_is_refused(trial):
    with pytest.raises(RequestError, match="sub-1 was never run here"):
        check(trial)


def test_without_files_there_is_nothing_to_compare(finished):
    for path in (finished.out / "sub-1").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(RequestError, match="no files of sub-1 ses-a to compare with"):
        check(finished, "a")


def test_status_says_why_and_counts_visits(finished, capsys):
    finished.write("sub-2", "ses-b", "another image")
    show_state(finished.out, finished.study(unfit="sub-1/ses-b"), finished.work, Settings())
    lines = capsys.readouterr().out.splitlines()
    assert "stale  sub-2  ses-b  prepare_visit  (input sub-2_ses-b_T1w.nii has changed)" in lines
    assert "done   sub-2  ses-a  prepare_visit" in lines
    # Without one of its visits, sub-1's template is to be made anew.
    assert "stale  sub-1  align_visits  (it takes 1 results now, not 2)" in lines
    assert lines[-1] == "4 visits: 3 stale, 1 cannot run"


def test_status_compares_with_each_participants_last_settings_or_with_those_wanted(finished):
    study = finished.study()
    own = study_state(study, finished.out, work_dir=finished.work)
    assert {step.state for steps in own.values() for step in steps} == {"done"}
    wanted = study_state(study, finished.out, work_dir=finished.work, settings=Settings())
    why = {step.step: step.why for step in wanted["sub-1"] if step.state != "done"}
    assert why["align_visits"] == "setting level has changed: fast -> standard"
    assert "prepare_visit" not in why


def test_a_plan_names_no_day_and_no_column_of_the_tables(finished):
    text = (finished.out / "logs" / "plans" / "sub-1.json").read_text()
    assert set(json.loads(text)["settings"]) == {"lesion", "registration", "diffusion"}
    assert "45.0" not in text
