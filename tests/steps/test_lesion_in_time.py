"""The second look at a visit's infarct, with other visits as witnesses."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from mripipe.model.stages import AlignedVisits
from mripipe.steps.lesion_in_time import segment_in_time
from mripipe.steps.load import save_image

SHIFT = np.array([[1.0, 0, 0, 6.0], [0, 1.0, 0, -9.0], [0, 0, 1.0, 3.0], [0, 0, 0, 1.0]])


def rows(matrix):
    return tuple(tuple(map(float, row)) for row in matrix)


def read(path):
    return np.asarray(nib.load(path).dataobj)


def at(visit, session_id):
    session = replace(visit.prepared.session, session_id=session_id)
    return replace(visit, prepared=replace(visit.prepared, session=session))


def second_visit(visit, folder, mask):
    """Give an expert's mask as another visit, whose head lies elsewhere in the scanner."""
    affine = SHIFT @ nib.load(visit.final_mask).affine
    path = save_image(folder / "expert.nii.gz", mask, affine, dtype=np.uint8)
    return replace(at(visit, "ses-b"), source="manual", manual_mask=path, final_mask=path)


def aligned():
    eye = np.eye(4)
    return AlignedVisits(("ses-a", "ses-b"), (rows(eye), rows(SHIFT)), None, rows(eye))


@pytest.fixture
def doubtful(left_visit, tmp_path):
    """Return a visit whose own images say half as much."""
    first = at(left_visit.segmented, "ses-a")
    image = nib.load(first.log_odds)
    odds = np.asarray(image.dataobj)
    weak = np.where(odds > -50, 0.3 * odds, odds)
    return replace(first, log_odds=save_image(tmp_path / "weak.nii.gz", weak, image.affine))


@pytest.mark.usefixtures("coarse_template")
def test_another_visit_settles_what_is_doubtful_at_the_same_place_of_the_head(left_visit, doubtful, tmp_path):
    truth = left_visit.true["lesion"]
    witness = second_visit(doubtful, tmp_path, truth)
    found = segment_in_time(doubtful, (doubtful, witness), aligned(), folder=tmp_path)
    mask = read(found.final_mask) > 0
    assert 2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum()) > 0.8
    assert (found.source, found.side) == ("auto", "left")
    assert found.lesion_ml == pytest.approx(mask.sum() * 0.027)
    denied = second_visit(doubtful, tmp_path, np.zeros_like(truth))
    less = segment_in_time(doubtful, (denied, doubtful), aligned(), folder=tmp_path)
    assert less.lesion_ml < 0.5 * found.lesion_ml


@pytest.mark.usefixtures("coarse_template")
def test_a_visit_alone_or_with_an_experts_mask_stays_as_it_is(left_visit, tmp_path):
    first = at(left_visit.segmented, "ses-a")
    assert segment_in_time(first, (first,), aligned(), folder=tmp_path) is first
    expert = second_visit(first, tmp_path, left_visit.true["lesion"])
    assert segment_in_time(expert, (first, expert), aligned(), folder=tmp_path) is expert
