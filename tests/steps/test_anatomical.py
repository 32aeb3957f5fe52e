"""Preparing a visit: what cannot be prepared is refused by name."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from mripipe.core.grid import Volume
from mripipe.core.placement import check_placement
from mripipe.errors import InputError
from mripipe.model.study import Scan, Session
from mripipe.steps import anatomical, sequences
from mripipe.steps.anatomical import as_rows, prepare_visit
from mripipe.steps.load import load_image, save_image
from mripipe.steps.sequences import Scanned, place_beside


def noise(path):
    """Write an image of noise below 0: no head."""
    data = -5.0 + np.random.default_rng(0).random((40, 40, 40))
    return save_image(path, data, np.diag([4.0, 4.0, 4.0, 1.0]))


def flair_of(image, name="f.nii.gz"):
    return Scanned(name, "FLAIR", image, (("FLAIR", image),))


def test_a_visit_needs_a_reference_image(tmp_path):
    with pytest.raises(InputError, match="ses-a: expected a T1w, T2w or FLAIR, found none"):
        prepare_visit(Session("sub-001", "ses-a"), folder=tmp_path)


def test_an_image_without_a_head_is_refused_by_name(tmp_path, coarse_template):
    session = Session("sub-001", "ses-a", (Scan(noise(tmp_path / "noise.nii.gz"), "T1w"),))
    with pytest.raises(InputError, match=r"noise\.nii\.gz: image: expected a head"):
        prepare_visit(session, folder=tmp_path)


def test_a_flair_without_a_head_is_refused_by_name(left_visit, tmp_path):
    image = nib.load(left_visit.prepared.preproc)
    reference = Volume(np.asarray(image.dataobj, np.float32), image.affine)
    flair = load_image(noise(tmp_path / "noise.nii.gz"))
    with pytest.raises(InputError, match=r"noise\.nii\.gz: image: expected a head"):
        place_beside(flair_of(flair, "noise.nii.gz"), reference, left_visit.true["brain"], tmp_path)


@pytest.mark.parametrize(("shift_mm", "filled"), [(0.0, False), (4.0, True)])
def test_an_unfit_mask_is_refused_before_the_images_are_worked_on(tmp_path, monkeypatch, shift_mm, filled):
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    mask = np.zeros((40, 40, 40))
    mask[10:20, 10:20, 10:20] = filled
    away = affine + np.pad([[shift_mm]], ((0, 3), (3, 0)))
    path = save_image(tmp_path / "label-L_mask.nii.gz", mask, away, dtype=np.uint8)
    scans = (Scan(noise(tmp_path / "T1w.nii.gz"), "T1w"), Scan(noise(tmp_path / "FLAIR.nii.gz"), "FLAIR"))
    monkeypatch.setattr(anatomical, "load_template", lambda: pytest.fail("worked on the images first"))
    with pytest.raises(InputError, match=r"label-L_mask\.nii\.gz: (mask on another grid|the mask is empty)"):
        prepare_visit(Session("sub-001", "ses-a", scans), lesion_mask=path, folder=tmp_path)


def test_a_mask_on_the_flairs_grid_is_let_through(tmp_path):
    coarse, fine = np.diag([4.0, 4.0, 4.0, 1.0]), np.diag([4.0, 4.0, 3.0, 1.0])
    drawn = np.zeros((40, 40, 40))
    drawn[5:9, 5:9, 5:9] = 1
    path = save_image(tmp_path / "mask.nii.gz", drawn, fine, dtype=np.uint8)
    image, flair = Volume(drawn.astype(np.float32), coarse), Volume(drawn.astype(np.float32), fine)
    anatomical._check_expert_mask(path, "T1w", image, (flair_of(flair, "FLAIR.nii.gz"),))
    with pytest.raises(InputError, match="another grid"):
        anatomical._check_expert_mask(path, "T1w", image, ())


def test_a_flair_far_off_by_its_header_is_moved_and_told(left_visit):
    image = nib.load(left_visit.prepared.preproc)
    affine = np.array(image.affine)
    reference = Volume(np.asarray(image.dataobj, np.float32), affine.copy())
    affine[:3, 3] += (60.0, -40.0, 20.0)
    away = Volume(reference.data, affine)
    start, warnings = sequences._start_between(reference, left_visit.true["brain"], flair_of(away))
    np.testing.assert_allclose(start[:3, 3], (60.0, -40.0, 20.0), atol=8.0)
    assert len(warnings) == 1
    assert warnings[0].startswith("f.nii.gz: lies ")
    start, warnings = sequences._start_between(reference, left_visit.true["brain"], flair_of(reference))
    np.testing.assert_array_equal(start, np.eye(4))
    assert warnings == ()


def test_rows_of_a_matrix():
    assert as_rows(np.diag([1, 2, 3, 1])) == ((1, 0, 0, 0), (0, 2, 0, 0), (0, 0, 3, 0), (0, 0, 0, 1))


def test_a_misplaced_flair_is_told_and_a_good_one_is_not(right_visit):
    reference = load_image(right_visit.prepared.preproc)
    flair = load_image(right_visit.prepared.beside("FLAIR").image)
    brain, right = right_visit.true["brain"], right_visit.to_flair
    still = np.eye(4)

    def doubts(image, matrix):
        return sequences._doubts(flair_of(image), check_placement(reference, brain, image, matrix, still))

    assert doubts(flair, right) == ()
    wrong = right.copy()
    wrong[:3, 3] += (14.0, 0.0, 14.0)
    lines = doubts(flair, wrong)
    assert len(lines) == 2
    assert lines[0].startswith("FLAIR may be misplaced (f.nii.gz): another position")
    assert "it was moved by " in lines[1]
    # The registration found the place; the header had it 20 mm away.
    away = np.array(flair.affine)
    away[:3, 3] += (0.0, 20.0, 0.0)
    shifted = right.copy()
    shifted[:3, 3] += (0.0, 20.0, 0.0)
    (line,) = doubts(Volume(flair.data, away), shifted)
    assert "expected 15 mm or less" in line
    low = Volume(flair.data[:, : flair.shape[1] // 3], flair.affine)
    (line,) = doubts(low, right)
    assert "of the brain lies in its field of view" in line
