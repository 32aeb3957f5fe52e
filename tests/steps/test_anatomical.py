"""Preparing a visit: what cannot be prepared is refused by name."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from mripipe.core.grid import Volume
from mripipe.errors import InputError
from mripipe.model.study import Scan, Session
from mripipe.steps import anatomical
from mripipe.steps.anatomical import as_rows, prepare_visit
from mripipe.steps.load import save_image


def noise(path):
    """Write an image of noise below 0: no head."""
    data = -5.0 + np.random.default_rng(0).random((40, 40, 40))
    return save_image(path, data, np.diag([4.0, 4.0, 4.0, 1.0]))


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
    flair = Scan(noise(tmp_path / "noise.nii.gz"), "FLAIR")
    session = Session("sub-001", "ses-a", (*left_visit.session.scans, flair))
    with pytest.raises(InputError, match=r"noise\.nii\.gz: image: expected a head"):
        anatomical._prepare_flair(session, reference, left_visit.true["brain"], tmp_path)


def test_a_flair_far_off_by_its_header_is_moved_and_told(left_visit):
    image = nib.load(left_visit.prepared.preproc)
    affine = np.array(image.affine)
    reference = Volume(np.asarray(image.dataobj, np.float32), affine.copy())
    affine[:3, 3] += (60.0, -40.0, 20.0)
    away = Volume(reference.data, affine)
    start, warnings = anatomical._start_between(reference, left_visit.true["brain"], away, "f.nii.gz")
    np.testing.assert_allclose(start[:3, 3], (60.0, -40.0, 20.0), atol=8.0)
    assert len(warnings) == 1
    assert warnings[0].startswith("f.nii.gz: lies ")
    start, warnings = anatomical._start_between(reference, left_visit.true["brain"], reference, "f.nii.gz")
    np.testing.assert_array_equal(start, np.eye(4))
    assert warnings == ()


def test_rows_of_a_matrix():
    assert as_rows(np.diag([1, 2, 3, 1])) == ((1, 0, 0, 0), (0, 2, 0, 0), (0, 0, 3, 0), (0, 0, 0, 1))
