"""From a study to published files, with steps that take no time."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mripipe.errors import ProcessingError, RequestError
from mripipe.interfaces import locks
from mripipe.interfaces.engine import Execution
from mripipe.interfaces.locks import locked
from mripipe.model.settings import RegistrationSettings, Settings
from mripipe.workflows.run import plan_participants, report_again, run_participants

LINEAR = Execution(plugin="linear")


def run(trial, study=None, settings=None, execution=LINEAR):
    return run_participants(
        study or trial.study(),
        trial.out,
        work_dir=trial.work,
        settings=settings or Settings(),
        execution=execution,
    )


def volumes(trial):
    lines = [line.split("\t") for line in (trial.out / "lesion_volumes.tsv").read_text().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_everything_is_published(trial):
    outcome = run(trial)
    assert outcome.failures == ()
    assert [subject.participant_id for subject in outcome.subjects] == ["sub-1", "sub-2"]
    names = set(trial.files())
    anat = "sub-1/ses-a/anat/sub-1_ses-a_"
    assert {f"{anat}desc-preproc_T1w.nii.gz", f"{anat}label-L_desc-final_mask.nii.gz"} <= names
    assert f"{anat}label-L_desc-auto_mask.nii.gz" in names
    assert "sub-1/anat/sub-1_desc-unbiased_T1w.nii.gz" in names
    assert {"dataset_description.json", "README", "CITATION.md", ".bidsignore", "sub-1.html"} <= names
    assert [row["lesion_ml"] for row in volumes(trial)] == ["11.000"] * 4
    assert [row["days_from_onset"] for row in volumes(trial)] == ["45"] * 4
    image = trial.out / f"{anat}desc-preproc_T1w.nii.gz"
    assert gzip.decompress(image.read_bytes()) == b"sub-1 ses-a"
    sidecar = json.loads((trial.out / f"{anat}desc-preproc_T1w.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-1/ses-a/anat/sub-1_ses-a_T1w.nii"]
    assert sidecar["Parameters"]["registration"] == {"level": "standard"}


def test_a_second_run_touches_nothing(trial):
    run(trial)
    before = trial.files()
    trial.called()
    outcome = run(trial)
    assert trial.called() == []
    assert trial.files() == before
    assert all(subject.report is not None for subject in outcome.subjects)


def test_a_run_with_nothing_to_do_does_not_need_the_engine(trial, monkeypatch):
    run(trial)

    def build(*_):
        pytest.fail("a graph was built")

    monkeypatch.setattr("toytrial.build_subject.__code__", build.__code__)
    assert run(trial).failures == ()


def test_a_corrected_day_changes_the_tables_and_redoes_no_step(trial):
    run(trial)
    trial.called()
    run(trial, trial.study(days=46.0))
    assert trial.called() == []
    assert [row["days_from_onset"] for row in volumes(trial)] == ["46"] * 4


def test_a_lost_file_is_published_again(trial):
    run(trial)
    before = {name: content for name, (content, _) in trial.files().items()}
    trial.called()
    (trial.out / "sub-1/ses-a/anat/sub-1_ses-a_desc-preproc_T1w.nii.gz").unlink()
    (trial.out / "sub-2.html").unlink()
    run(trial)
    assert trial.called() == []
    assert {name: content for name, (content, _) in trial.files().items()} == before


def test_a_changed_setting_reaches_the_files_and_the_report(trial):
    run(trial)
    trial.called()
    run(trial, settings=Settings(registration=RegistrationSettings(level="fast")))
    assert trial.called() == []
    assert "fast" in (trial.out / "sub-1.html").read_text()
    sidecar = trial.out / "sub-1/ses-a/anat/sub-1_ses-a_label-L_desc-final_mask.json"
    assert json.loads(sidecar.read_text())["Parameters"]["registration"] == {"level": "fast"}


@pytest.mark.parametrize("execution", [LINEAR, Execution(nprocs=2)], ids=["linear", "two processes"])
def test_a_failed_visit_is_a_row_that_says_so(trial, execution):
    run(trial)
    trial.write("sub-1", "ses-a", "bad")
    outcome = run(trial, execution=execution)
    assert [(f.participant_id, f.session_id, f.step) for f in outcome.failures] == [
        ("sub-1", "ses-a", "prepare_visit")
    ]
    assert [row["status"] for row in volumes(trial)] == ["failed", "ok", "ok", "ok"]
    assert volumes(trial)[0]["lesion_ml"] == "n/a"
    assert outcome.subjects[0].visits[0].error == "sub-1_ses-a_T1w.nii: not an image; replace it"
    left = [name for name in trial.files() if name.startswith("sub-1/ses-a")]
    assert left == [], "files of the run before the image went bad would be taken for this one's"
    assert not [name for name in trial.files() if "unbiased" in name and "sub-1" in name]


def test_a_run_of_one_visit_keeps_the_others_of_earlier_runs(trial):
    run(trial)
    before = {name: content for name, (content, _) in trial.files().items()}
    whole = trial.study()
    part = replace(
        whole, subjects=tuple(replace(s, sessions=s.sessions[1:]) for s in whole.subjects if s.label == "1")
    )
    run(trial, part)
    after = {name: content for name, (content, _) in trial.files().items()}
    assert set(after) == set(before)
    assert [row["session_id"] for row in volumes(trial)] == ["ses-a", "ses-b", "ses-a", "ses-b"]
    shutil.rmtree(trial.bids / "sub-1" / "ses-a")
    run(trial, part, Settings(registration=RegistrationSettings(level="fast")))
    assert [row["session_id"] for row in volumes(trial)] == ["ses-b", "ses-a", "ses-b"]
    assert not [name for name in trial.files() if name.startswith("sub-1/ses-a")]


def test_a_visit_that_cannot_run_is_reported_and_the_others_run(trial):
    outcome = run(trial, trial.study(unfit="sub-2/ses-b"))
    assert [failure.message for failure in outcome.failures] == ["no image; add one"]
    assert [row["status"] for row in volumes(trial)] == ["ok", "ok", "ok", "missing_input"]


def test_ctrl_c_in_a_step_ends_the_run_at_once(trial):
    trial.write("sub-1", "ses-a", "stop")
    with pytest.raises(KeyboardInterrupt):
        run(trial)
    trial.write("sub-1", "ses-a", "go")
    assert run(trial).failures == ()


def test_stopping_at_the_first_failure_says_what_is_left(trial):
    trial.write("sub-1", "ses-a", "bad")
    outcome = run(trial, execution=Execution(plugin="linear", stop_on_first_crash=True))
    assert len(outcome.failures) >= 1
    assert any("takes it up again" in failure.message for failure in outcome.failures)


def test_the_plan_of_a_finished_run_is_all_done(trial):
    run(trial)
    steps = plan_participants(trial.study(), trial.out, work_dir=trial.work, settings=Settings())
    assert {step.state for step in steps} == {"done"}
    assert len(steps) == 10


def test_a_plan_writes_nothing(trial):
    plan_participants(trial.study(), trial.out, work_dir=trial.work, settings=Settings())
    assert not trial.out.exists()
    assert not trial.work.exists()


def test_reports_alone_need_no_work_folder(trial):
    run(trial)
    shutil.rmtree(trial.work)
    (trial.out / "sub-1.html").unlink()
    trial.called()
    outcome = report_again(trial.study(), trial.out, settings=Settings())
    assert trial.called() == []
    assert (trial.out / "sub-1.html").read_text() == "sub-1 standard 2"
    assert outcome.failures == ()


def test_reports_alone_without_results_are_refused(trial):
    with pytest.raises(RequestError, match="without --reports-only"):
        report_again(trial.study(), trial.out, settings=Settings())


def test_a_report_that_cannot_be_made_stops_no_table(trial, monkeypatch):
    from mripipe.workflows import run as module

    def broken(*_, **__):
        raise KeyError("plot")

    monkeypatch.setattr(module, "render_report", broken)
    outcome = run(trial)
    assert "report could not be made: KeyError" in outcome.failures[0].message
    assert len(volumes(trial)) == 4


def test_an_output_folder_that_cannot_be_made_is_refused(trial):
    trial.out.write_text("a file")
    with pytest.raises(RequestError, match="cannot make this folder"):
        run(trial)


def test_a_place_that_cannot_be_written_is_named(trial):
    trial.out.mkdir()
    (trial.out / "sub-1").write_text("a file where a folder should be")
    with pytest.raises(ProcessingError, match="cannot write"):
        run(trial)


def test_every_file_names_what_it_was_made_from(trial):
    run(trial)
    anat = trial.out / "sub-1/ses-a/anat/sub-1_ses-a_"
    image = json.loads(Path(f"{anat}desc-preproc_T1w.json").read_text())
    own = "bids:raw:sub-1/ses-a/anat/sub-1_ses-a_T1w.nii"
    digest = hashlib.sha256((trial.bids / own.removeprefix("bids:raw:")).read_bytes()).hexdigest()
    assert (image["Step"], image["SourcesSHA256"]) == ("prepare_visit", {own: digest})
    # The mask is made with the template, which all visits go into.
    mask = json.loads(Path(f"{anat}label-L_desc-final_mask.json").read_text())
    assert mask["Step"] == "measure_visit"
    assert mask["Sources"] == [own, own.replace("ses-a", "ses-b")]
    assert image["CodeSHA256"] != ""
    assert set(image["Software"]) >= {"numpy", "picsl-greedy"}
    whole = json.loads((trial.out / "provenance.json").read_text())
    generated = {item["prov:entity"] for item in whole["wasGeneratedBy"].values()}
    published = {n for n in trial.files() if n.endswith((".nii.gz", ".h5"))}
    assert generated == {f"out:{name}" for name in published}


def test_logs_tell_time_and_memory_of_each_step_and_no_place(trial):
    trial.write("sub-1", "ses-a", "bad")
    run(trial)
    text = (trial.out / "logs" / "sub-1_steps.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [
        (line["session_id"], line["step"], line["outcome"]) for line in lines if "ses-a" in str(line)
    ] == [
        ("ses-a", "prepare_visit", "failed"),
        ("ses-a", "measure_visit", "failed"),
    ]
    assert all(line["seconds"] >= 0 and line["peak_mb"] > 1 and line["cpu_seconds"] >= 0 for line in lines)
    assert str(trial.root) not in text
    run(trial)
    again = (trial.out / "logs" / "sub-1_steps.jsonl").read_text().splitlines()[len(lines) :]
    assert "unchanged" in {json.loads(line)["outcome"] for line in again}


def test_of_one_visit_no_more_is_run_than_it_needs(trial):
    study = trial.study()
    part = replace(study, subjects=study.subjects[:1])
    outcome = run_participants(
        part, trial.out, work_dir=trial.work, settings=Settings(), execution=LINEAR, only="ses-b"
    )
    assert [(f.session_id, f.message) for f in outcome.failures] == [("ses-a", "left out")]
    # The other visit is needed for the template and not measured.
    assert trial.called() == ["sub-1/ses-a", "sub-1/ses-b"]
    alone = {name for name in trial.files() if name.startswith("sub-1/ses-")}
    run(trial)
    assert alone == {name for name in trial.files() if name.startswith("sub-1/ses-b")}


def test_runs_of_two_participants_at_once_lose_no_row(trial, monkeypatch):
    study = trial.study()
    parts = [replace(study, subjects=(subject,)) for subject in study.subjects]
    with locked([trial.out / "logs" / "locks" / "sub-2.lock"]):
        run(trial, parts[0])
        monkeypatch.setattr(locks, "LOCK_WAIT_SECONDS", 0.0)
        with pytest.raises(RequestError, match=r"sub-2\.lock: another run is at work here"):
            run(trial, parts[1])
    run(trial, parts[1])
    assert [row["participant_id"] for row in volumes(trial)] == ["sub-1", "sub-1", "sub-2", "sub-2"]


def test_a_run_killed_before_the_tables_writes_them_the_next_time(trial, monkeypatch):
    from mripipe.workflows import run as module

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_tables", killed)
        with pytest.raises(KeyboardInterrupt):
            run(trial)
    run(trial)
    assert len(volumes(trial)) == 4
