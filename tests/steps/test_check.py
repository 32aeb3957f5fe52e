"""Check: each kind of bad input gives one line that names the file, and other visits can still run."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from mripipe.bids.reader import read_study
from mripipe.model.study import Problem, Session, Study, Subject
from mripipe.steps.check import all_can_run, check_study, format_study

SHAPE = (10, 11, 12)
AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])
DATA = np.random.default_rng(0).random(SHAPE, np.float32) + 1


@pytest.fixture
def bids(tmp_path):
    """Give a participant with two visits, the second of which a test may spoil."""
    for ses in ("ses-1", "ses-2"):
        for suffix in ("T1w", "T2w", "FLAIR", "dwi"):
            save(
                image_path(tmp_path / "bids", ses, suffix),
                np.stack([DATA] * 3, -1) if suffix == "dwi" else DATA,
            )
    (tmp_path / "bids/sub-1/sub-1_sessions.tsv").write_text(
        "session_id\tdays_from_onset\nses-1\t45\nses-2\t135.5\n"
    )
    return tmp_path / "bids"


def image_path(root, ses, suffix):
    folder = root / "sub-1" / ses / ("dwi" if suffix == "dwi" else "anat")
    return folder / f"sub-1_{ses}_{suffix}.nii.gz"


def save(path, data, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)


def checked(root, **options):
    study = check_study(read_study(root, **options))
    first, second = study.subjects[0].sessions
    assert first.can_run
    return study, second


def wrong(visit):
    return [
        p for p in visit.problems if p.level != "note" and "bval" not in p.message and "bvec" not in p.message
    ]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-500])


def not_a_number(path):
    data = DATA.copy()
    data[0, 0, 0] = np.nan
    save(path, data)


def no_orientation(path):
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[252:256] = bytes(4)
    path.write_bytes(gzip.compress(bytes(raw)))


SPOILERS = {
    "truncated or damaged": truncate,
    "not finite": not_a_number,
    "every voxel is 0": lambda path: save(path, DATA * 0),
    "2 volumes of a 4D image": lambda path: save(path, np.stack([DATA, DATA], -1)),
    "10 x 11 x 2 voxels": lambda path: save(path, DATA[..., :2]),
    "no orientation": no_orientation,
}


@pytest.mark.parametrize(("suffix", "level"), [("T1w", "error"), ("FLAIR", "error"), ("T2w", "error")])
@pytest.mark.parametrize("what", SPOILERS)
def test_each_spoilt_image_is_one_problem_that_names_it(bids, what, suffix, level):
    path = image_path(bids, "ses-2", suffix)
    SPOILERS[what](path)
    study, visit = checked(bids)
    (problem,) = [p for p in wrong(visit) if "sidecar" not in p.message]
    assert (problem.level, problem.path, problem.session_id) == (level, path, "ses-2")
    assert problem.message.startswith(f"{path.name}: ")
    assert what in problem.message
    assert visit.can_run == (level == "warning")
    assert all_can_run(study) == visit.can_run


def test_a_truncated_dwi_is_a_warning(bids):
    truncate(image_path(bids, "ses-2", "dwi"))
    _, visit = checked(bids)
    assert any("dwi.nii.gz: truncated" in p.message and p.level == "warning" for p in visit.problems)
    assert visit.can_run


def test_a_sound_study_gains_no_problem(bids):
    study = read_study(bids)
    assert check_study(study) == study


@pytest.mark.parametrize("fits", ["T1w", "T2w", "FLAIR"])
def test_a_mask_may_lie_on_any_anatomical_image(bids, tmp_path, fits):
    other = np.diag([-1.5, 2, 3, 1])
    for suffix in ("T2w", "FLAIR"):
        save(image_path(bids, "ses-2", suffix), DATA, other if fits == suffix else AFFINE)
    save(mask_path(tmp_path), (DATA > 1.5).astype(np.uint8), AFFINE if fits == "T1w" else other)
    _, visit = checked(bids, derivatives=[tmp_path / "d"])
    assert visit.can_run


def mask_path(tmp_path):
    return tmp_path / "d/sub-1/ses-2/sub-1_ses-2_label-L_mask.nii.gz"


@pytest.mark.parametrize(
    ("mask", "affine", "what"),
    [
        (np.zeros(SHAPE, np.uint8), AFFINE, "the mask is empty"),
        (np.ones(SHAPE, np.uint8), np.diag([-2.0, 2, 4, 1]), "mask on another grid"),
    ],
)
def test_an_unfit_mask_stops_its_visit(bids, tmp_path, mask, affine, what):
    save(mask_path(tmp_path), mask, affine)
    _, visit = checked(bids, derivatives=[tmp_path / "d"])
    (problem,) = [p for p in wrong(visit) if p.level == "error"]
    assert problem.message.startswith(f"sub-1_ses-2_label-L_mask.nii.gz: {what}")
    assert not visit.can_run


def test_the_table_shows_each_visit_and_the_worst_problems_first(bids):
    image_path(bids, "ses-2", "FLAIR").unlink()
    truncate(image_path(bids, "ses-2", "T1w"))
    lines = format_study(checked(bids)[0]).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["participant", "session", "days", "T1w", "T2w", "FLAIR", "dwi", "fmap", "mask", "can", "run"],
        ["sub-1", "ses-1", "45", "yes", "yes", "yes", "yes", "-", "-", "yes"],
        ["sub-1", "ses-2", "135.5", "yes", "yes", "-", "yes", "-", "-", "no"],
    ]
    levels = [line.split(":")[0] for line in lines[3:-1]]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert levels[0] == "error"
    assert lines[-1] == "1 of 2 visits can run"


def test_an_error_that_belongs_to_no_visit_counts(tmp_path):
    error = Problem("error", "sub-x: no ses-* folder", "sub-x")
    assert not all_can_run(Study(tmp_path, (Subject("sub-x"),), (error,)))
    assert all_can_run(Study(tmp_path, (Subject("sub-x"),)))


def test_nothing_printed_can_steer_a_terminal(tmp_path):
    visit = Session("sub-1", "ses-1", problems=(Problem("note", "a\x1b[31mb\nc"),))
    text = format_study(Study(tmp_path, (Subject("sub-1", (visit,)),)))
    assert "note: a\\x1b[31mb\\nc\n" in text
