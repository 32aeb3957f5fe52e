"""The phantom trial on disk: BIDS that reads without complaint, truth that fits, the same bytes twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mripipe.bids.reader import read_study
from mripipe.bids.tables import is_allocation_column
from mripipe.errors import RequestError
from mripipe.steps.phantom_study import write_trial


def write_small(folder: Path) -> Path:
    return write_trial(
        folder, patients=1, healthy=1, seed=11, t1w_mm=4.0, flair_mm=(4.0, 4.0, 6.0), dwi_mm=6.0, visits=1
    )


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("trial")).parent


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_study_reads_without_errors_or_warnings(trial: Path) -> None:
    study = read_study(trial / "bids")
    assert [subject.participant_id for subject in study.subjects] == ["sub-001", "sub-002"]
    visit = study.subjects[0].sessions[0]
    assert {scan.suffix for scan in visit.scans} == {"T1w", "FLAIR", "dwi"}
    assert (visit.days_from_onset, visit.days_from_infusion) == (45.0, -5.0)
    problems = [*study.problems, *(p for s in study.subjects for v in s.sessions for p in v.problems)]
    assert [problem.message for problem in problems if problem.level != "note"] == []


def test_truth_lies_on_the_images_grid_with_the_volume_told(trial: Path) -> None:
    told = json.loads((trial / "truth" / "truth.json").read_text())
    for participant, side in (("sub-001", "left"), ("sub-002", "none")):
        visit = told[participant]["sessions"]["ses-baseline"]
        stem = f"{participant}/ses-baseline/anat/{participant}_ses-baseline"
        image = nib.load(trial / "bids" / f"{stem}_T1w.nii.gz")
        mask = nib.load(trial / "truth" / f"{stem}_label-L_mask.nii.gz")
        np.testing.assert_array_equal(image.affine, mask.affine)
        assert image.shape == mask.shape
        found_ml = np.asarray(mask.dataobj).sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
        assert found_ml == pytest.approx(visit["lesion_ml"], rel=0.03)
        assert told[participant]["side"] == side
    assert told["sub-001"]["sessions"]["ses-baseline"]["lesion_ml"] == 85.0


def test_true_points_lie_in_the_mask_they_say(trial: Path) -> None:
    stem = "sub-001/ses-baseline/anat/sub-001_ses-baseline"
    rows = np.loadtxt(trial / "truth" / f"{stem}_desc-points_xfm.tsv", skiprows=1)
    mask = nib.load(trial / "truth" / f"{stem}_label-L_mask.nii.gz")
    voxel = np.round((np.linalg.inv(mask.affine) @ np.c_[rows[:, :3], np.ones(len(rows))].T)[:3]).astype(int)
    inside = np.asarray(mask.dataobj)[tuple(voxel)] > 0
    assert (inside == (rows[:, 6] > 0)).mean() > 0.98
    assert rows[:, 6].mean() > 0.02


def test_series_has_one_volume_a_gradient(trial: Path) -> None:
    stem = trial / "bids/sub-001/ses-baseline/dwi/sub-001_ses-baseline_dwi"
    bvals, bvecs = np.loadtxt(f"{stem}.bval"), np.loadtxt(f"{stem}.bvec")
    image = nib.load(f"{stem}.nii.gz")
    assert image.shape[3] == bvals.size == bvecs.shape[1] == 31
    data = np.asarray(image.dataobj, float)
    assert data[..., 0].mean() > 1.5 * data[..., 1:].mean()


def test_no_column_tells_the_treatment_arm(trial: Path) -> None:
    columns = [
        name for table in trial.rglob("*.tsv") for name in table.read_text().splitlines()[0].split("\t")
    ]
    assert {"participant_id", "age", "sex", "mrs", "nihss", "barthel"} <= set(columns)
    assert not [name for name in columns if is_allocation_column(name)]


def test_same_arguments_give_the_same_bytes(trial: Path, tmp_path: Path) -> None:
    write_small(tmp_path)
    assert digests(tmp_path) == digests(trial)


@pytest.mark.parametrize("wanted", [{"patients": 0}, {"patients": -1, "healthy": 3}])
def test_a_trial_of_nobody_is_refused(tmp_path: Path, wanted: dict[str, int]) -> None:
    with pytest.raises(RequestError, match="ask for one or more"):
        write_trial(tmp_path, **wanted)


@pytest.mark.parametrize("visits", [0, 4])
def test_too_few_or_many_visits_are_refused(tmp_path: Path, visits: int) -> None:
    with pytest.raises(RequestError, match="1 to 3"):
        write_trial(tmp_path, visits=visits)
    assert list(tmp_path.iterdir()) == []
