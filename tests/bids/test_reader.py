"""Reading a study: what is there, what is wrong, and that one visit's trouble stops no other."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mripipe.bids.reader import read_study
from mripipe.errors import RequestError


def visit(study, sub="001", ses="ses-a"):
    return next(v for v in study.subject(sub).sessions if v.session_id == ses)


def messages(owner, *levels):
    return [p.message for p in owner.problems if p.level in (levels or ("error", "warning", "note"))]


def test_a_complete_study_has_no_problem(trial):
    study = read_study(trial.root)
    assert study.problems == ()
    assert [s.participant_id for s in study.subjects] == ["sub-001", "sub-002"]
    assert [v.session_id for v in study.subject("001").sessions] == ["ses-b", "ses-a"]
    found = visit(study)
    assert found.problems == ()
    assert found.can_run
    assert [s.suffix for s in found.scans] == ["FLAIR", "T1w", "dwi"]
    assert found.reference.suffix == "T1w"
    assert (found.days_from_onset, found.days_from_infusion) == (225, 178)
    dwi = found.scan("dwi")
    assert [p.name for p in (dwi.sidecar, dwi.bval, dwi.bvec)] == [
        f"sub-001_ses-a_dwi.{end}" for end in ("json", "bval", "bvec")
    ]


def test_paths_are_absolute_and_keep_links(trial, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(trial.root)
    monkeypatch.chdir(tmp_path)
    path = visit(read_study("link")).reference.path
    assert path == tmp_path / "link/sub-001/ses-a/anat/sub-001_ses-a_T1w.nii.gz"


def test_participants_and_sessions_can_be_chosen(trial):
    study = read_study(trial.root, participants=["sub-002"], sessions=["b"])
    assert [(v.participant_id, v.session_id) for s in study.subjects for v in s.sessions] == [
        ("sub-002", "ses-b")
    ]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"participants": ["003"]}, "no participant sub-003 in the dataset; found: sub-001, sub-002"),
        ({"sessions": ["z"]}, "no session ses-z in the dataset; found: ses-a, ses-b"),
        ({"participants": ["../001"]}, "not a BIDS label"),
        ({"derivatives": ["/nowhere/at/all"]}, "no such folder of derivatives"),
    ],
)
def test_a_wrong_request_is_refused(trial, options, what):
    with pytest.raises(RequestError, match=what):
        read_study(trial.root, **options)


def test_what_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(RequestError, match="no such folder"):
        read_study(tmp_path / "gone")
    with pytest.raises(RequestError, match=r"no sub-\* folder"):
        read_study(tmp_path)
    (tmp_path / "sub-<b>").mkdir()
    with pytest.raises(RequestError, match="sub-<b> is not a BIDS label"):
        read_study(tmp_path)


def test_unsafe_folder_names_are_left_out_with_an_error(trial):
    (trial.root / "sub-<script>").mkdir()
    (trial.root / "sub-001" / "ses-a b").mkdir()
    study = read_study(trial.root)
    assert len(study.subjects) == 2
    assert len(study.subject("001").sessions) == 2
    assert [m.split(" is not")[0] for m in messages(study, "error")] == ["sub-<script>", "ses-a b"]


def test_without_a_reference_a_visit_cannot_run_and_others_can(trial):
    shutil.rmtree(trial.root / "sub-001/ses-a/anat")
    study = read_study(trial.root)
    assert not visit(study).can_run
    assert "sub-001 ses-a: no T1w, T2w or FLAIR image" in messages(visit(study), "error")[0]
    assert visit(study, ses="ses-b").can_run


@pytest.mark.parametrize(("kept", "reference"), [(("T2w", "FLAIR"), "T2w"), (("FLAIR",), "FLAIR")])
def test_the_reference_falls_back(dataset, kept, reference):
    dataset.visit("sub-1", "ses-1", *kept)
    found = visit(read_study(dataset.root), "1", "ses-1")
    assert found.can_run
    assert found.reference.suffix == reference


def test_participants_without_sessions_are_an_error(trial):
    trial.image("sub-003/anat/sub-003_T1w.nii.gz")
    study = read_study(trial.root)
    (error,) = [p for p in study.problems if p.level == "error"]
    assert error.participant_id == "sub-003"
    assert "expected sub-003/ses-LABEL/anat" in error.message
    assert study.subject("003").sessions == ()


def test_anat_beside_sessions_is_warned_of(trial):
    trial.image("sub-001/anat/sub-001_T1w.nii.gz")
    assert any("outside any ses-" in m for m in messages(read_study(trial.root), "warning"))


def test_a_session_listed_twice_stops_that_visit_alone(trial):
    trial.text(
        "sub-001/sub-001_sessions.tsv", "session_id\tdays_from_onset", "ses-a\t45", "ses-b\t9", "ses-a\t46"
    )
    study = read_study(trial.root)
    assert not visit(study).can_run
    assert "sub-001_sessions.tsv line 4: ses-a is listed twice" in messages(visit(study), "error")[0]
    assert visit(study, ses="ses-b").can_run


def test_table_and_folders_that_differ(trial):
    trial.text("sub-001/sub-001_sessions.tsv", "session_id\tdays_from_onset", "ses-a\t45", "ses-z\t90")
    study = read_study(trial.root)
    assert "sub-001_sessions.tsv: ses-z is listed but has no folder" in messages(study, "note")
    assert "sub-001_sessions.tsv: ses-b has a folder but is not listed" in messages(
        visit(study, ses="ses-b"), "warning"
    )


def test_of_two_t1w_the_first_by_name_is_used(trial):
    trial.image("sub-001/ses-a/anat/sub-001_ses-a_run-2_T1w.nii.gz")
    trial.image("sub-001/ses-a/anat/sub-001_ses-a_run-1_T1w.nii.gz")
    os.remove(trial.root / "sub-001/ses-a/anat/sub-001_ses-a_T1w.nii.gz")
    found = visit(read_study(trial.root))
    assert found.reference.path.name == "sub-001_ses-a_run-1_T1w.nii.gz"
    assert (
        "sub-001 ses-a: 2 T1w images; sub-001_ses-a_run-1_T1w.nii.gz is used, the first by name"
        in messages(found, "note")
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("sub-002_ses-a_T1w.nii.gz", "names another visit"),
        ("sub-001_ses-b_T1w.nii.gz", "names another visit"),
        ("sub-001_ses-a_copy_T1w.nii.gz", "not an entity"),
    ],
)
def test_an_image_that_may_be_someone_elses_is_left_out(trial, name, what):
    trial.image(f"sub-001/ses-a/anat/{name}")
    found = visit(read_study(trial.root))
    assert len(found.scans) == 3
    assert what in messages(found, "warning")[0]


def test_phase_images_and_hidden_files_are_not_scans(trial):
    trial.image("sub-001/ses-a/anat/sub-001_ses-a_part-phase_T1w.nii.gz")
    trial.image("sub-001/ses-a/anat/._sub-001_ses-a_T1w.nii.gz")
    found = visit(read_study(trial.root))
    assert len(found.scans) == 3
    assert not found.problems


def test_missing_sidecars(trial):
    os.remove(trial.root / "sub-001/ses-a/anat/sub-001_ses-a_T1w.json")
    os.remove(trial.root / "sub-001/ses-a/dwi/sub-001_ses-a_dwi.json")
    found = visit(read_study(trial.root))
    assert messages(found, "note") == ["sub-001_ses-a_T1w.nii.gz: no JSON sidecar"]
    assert messages(found, "warning") == ["sub-001_ses-a_dwi.nii.gz: no JSON sidecar"]


def test_companions_are_inherited_from_the_nearest_folder_that_fits(trial):
    folder = trial.root / "sub-001/ses-a/dwi"
    for end in ("json", "bval", "bvec"):
        os.remove(folder / f"sub-001_ses-a_dwi.{end}")
    trial.text("dwi.json", "{}")
    trial.text("sub-001/sub-001_dwi.json", "{}")
    trial.text("sub-001/ses-a/sub-001_ses-a_acq-other_dwi.json", "{}")
    trial.text("dwi.bval", "0 1000 1000 1000")
    dwi = visit(read_study(trial.root)).scan("dwi")
    assert dwi.sidecar == trial.root / "sub-001/sub-001_dwi.json"
    assert dwi.bval == trial.root / "dwi.bval"
    assert dwi.bvec is None


def test_in_one_folder_the_companion_that_shares_most_is_taken(trial):
    trial.image("sub-001/ses-a/anat/sub-001_ses-a_acq-x_T2w.nii.gz")
    trial.text("T2w.json", "{}")
    trial.text("acq-x_T2w.json", "{}")
    assert visit(read_study(trial.root)).scan("T2w").sidecar == trial.root / "acq-x_T2w.json"


@pytest.mark.parametrize(
    ("bval", "bvec", "what"),
    [
        (["0 1000 1000"], None, "4 volumes, so sub-001_ses-a_dwi.bval must have 1 x 4 numbers, found 1 x 3"),
        (None, ["0 1 0", "0 0 1", "0 0 0"], "bvec must have 3 x 4 numbers, found 3 x 3"),
        (None, ["0 0 0", "1 0 0", "0 1 0", "0 0 1"], "bvec has a direction a line"),
        (None, ["0 1 0 0", "0 0 1 0", "0 0 1"], "bvec cannot be read as numbers"),
        (["0 1000 nan 1000"], None, "bval cannot be read as numbers"),
        (["0 1000 x 1000"], None, "bval cannot be read as numbers"),
    ],
)
def test_gradients_that_do_not_fit_are_warned_of(trial, bval, bvec, what):
    stem = "sub-001/ses-a/dwi/sub-001_ses-a_dwi"
    for extension, lines in (("bval", bval), ("bvec", bvec)):
        if lines is not None:
            trial.text(f"{stem}.{extension}", *lines)
    found = visit(read_study(trial.root))
    assert found.can_run
    (message,) = messages(found, "warning")
    assert what in message


def test_missing_gradients_and_a_3d_dwi_are_warned_of(trial):
    for end in ("bval", "bvec"):
        os.remove(trial.root / f"sub-001/ses-a/dwi/sub-001_ses-a_dwi.{end}")
    trial.image("sub-002/ses-a/dwi/sub-002_ses-a_dwi.nii.gz")
    study = read_study(trial.root)
    assert [m.split(": ")[1].split(";")[0] for m in messages(visit(study), "warning")] == [
        "no bval file",
        "no bvec file",
    ]
    assert "expected several volumes" in messages(visit(study, "002"), "warning")[0]


@pytest.mark.parametrize(
    ("suffix", "level"), [("T1w", "error"), ("FLAIR", "error"), ("T2w", "error"), ("dwi", "warning")]
)
def test_a_broken_image_stops_the_visit_only_if_its_results_rest_on_it(trial, suffix, level):
    folder = "dwi" if suffix == "dwi" else "anat"
    path = trial.text(f"sub-001/ses-a/{folder}/sub-001_ses-a_{suffix}.nii.gz", "not an image")
    study = read_study(trial.root)
    (problem,) = [p for p in visit(study).problems if p.path == path and p.level != "note"]
    assert problem.level == level
    assert problem.message.startswith(f"{path.name}: not a NIfTI image")
    assert visit(study, ses="ses-b").can_run


def test_an_image_that_is_a_dead_link_is_an_error(trial):
    path = trial.root / "sub-001/ses-a/anat/sub-001_ses-a_T1w.nii.gz"
    path.unlink()
    path.symlink_to(trial.root / ".git/annex/objects/gone")
    assert "link to a file that is not there" in messages(visit(read_study(trial.root)), "error")[0]


def test_a_folder_that_may_not_be_entered_stops_its_visit_alone(trial, monkeypatch):
    closed = trial.root / "sub-001/ses-a/anat"
    iterdir = Path.iterdir

    def guarded(path):
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", guarded)
    study = read_study(trial.root)
    assert messages(visit(study)) == [
        "sub-001 ses-a: cannot be read: Permission denied; check the folder's permissions"
    ]
    assert visit(study, ses="ses-b").can_run


def test_masks_come_with_their_visits(trial, tmp_path):
    mask = tmp_path / "d/sub-001/ses-a/sub-001_ses-a_label-L_mask.nii.gz"
    mask.parent.mkdir(parents=True)
    mask.touch()
    study = read_study(trial.root, derivatives=[tmp_path / "d"])
    assert visit(study).lesion_mask == mask
    assert visit(study, ses="ses-b").lesion_mask is None
    assert not study.problems


def test_derivatives_without_any_mask_are_warned_of(trial, tmp_path):
    (tmp_path / "d").mkdir()
    (message,) = messages(read_study(trial.root, derivatives=[tmp_path / "d"]), "warning")
    assert "d: no lesion mask found; expected names *_label-L_mask.nii.gz" in message


def test_two_masks_stop_the_visit(trial, tmp_path):
    folder = tmp_path / "d/sub-001/ses-a"
    folder.mkdir(parents=True)
    for name in ("label-L_mask", "label-lesion_roi"):
        (folder / f"sub-001_ses-a_{name}.nii.gz").touch()
    study = read_study(trial.root, derivatives=[tmp_path / "d"])
    assert not visit(study).can_run
    assert visit(study).lesion_mask is None
    assert not study.problems


def test_days_from_dates_and_no_date_or_arm_in_the_study(trial):
    trial.text(
        "participants.tsv",
        "participant_id\tgroup\tonset_date\tfirst_infusion_date",
        "sub-001\tverum\t2024-01-01\t2024-02-01",
        "sub-002\tplacebo\t1.2.2024\t",
    )
    trial.text(
        "sub-001/sub-001_sessions.tsv",
        "session_id\tacq_time\ttreatment",
        "ses-a\t2024-01-31T08:00:00\tverum",
        "ses-b\t2024-05-01\tverum",
    )
    study = read_study(trial.root)
    assert [(v.days_from_onset, v.days_from_infusion) for v in study.subject("001").sessions] == [
        (30, -1),
        (121, 90),
    ]
    shown = repr(study)
    assert not any(secret in shown for secret in ("2024", "verum", "placebo", "group", "treatment"))


def test_problems_of_participants_not_asked_for_stay_out(trial):
    trial.text("participants.tsv", "participant_id", "sub-001", "sub-001", "sub-002", "sub-009")
    assert messages(read_study(trial.root, participants=["002"])) == []
    assert len(messages(read_study(trial.root))) == 2


def test_oblique_grids_are_read(trial):
    affine = np.array([[-1.9, 0.3, 0.2, 5], [0.3, 1.9, 0.5, -9], [0.2, -0.3, 2.9, 3], [0, 0, 0, 1]])
    trial.image("sub-001/ses-a/anat/sub-001_ses-a_T1w.nii.gz", affine=affine)
    assert visit(read_study(trial.root)).can_run
