"""Masks of two folders: paired by visit, whatever else their names say."""

from __future__ import annotations

import pytest

from mripipe.bids.pairs import match_masks
from mripipe.errors import RequestError


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_masks_are_paired_by_participant_and_session(tmp_path):
    drawn = write(
        tmp_path / "drawn",
        "sub-2/ses-a/anat/sub-2_ses-a_label-lesion_roi.nii.gz",
        "sub-1/ses-b/anat/sub-1_ses-b_label-L_mask.nii",
        "sub-1/ses-a/sub-1_ses-a_space-T1w_label-lesion_mask.nii.gz",
    )
    found = write(
        tmp_path / "found",
        "sub-1/ses-a/anat/sub-1_ses-a_label-L_desc-final_mask.nii.gz",
        "sub-1/ses-a/anat/sub-1_ses-a_label-L_desc-auto_mask.nii.gz",
        "sub-1/ses-a/anat/sub-1_ses-a_space-MNI152NLin2009aSym_label-L_mask.nii.gz",
        "sub-1/ses-a/anat/sub-1_ses-a_desc-brain_mask.nii.gz",
        "sub-1/ses-b/anat/sub-1_ses-b_label-L_desc-auto_mask.nii.gz",
        "sub-3/anat/sub-3_label-L_mask.nii.gz",
        "work/sub-1_ses-a/lesion_mask.nii.gz",
    )
    pairs = {pair.name: pair for pair in match_masks(drawn, found)}
    assert list(pairs) == ["sub-1_ses-a", "sub-1_ses-b", "sub-2_ses-a", "sub-3"]
    first = pairs["sub-1_ses-a"]
    assert first.reference.name == "sub-1_ses-a_space-T1w_label-lesion_mask.nii.gz"
    assert first.test.name == "sub-1_ses-a_label-L_desc-final_mask.nii.gz"
    assert pairs["sub-1_ses-b"].test.name == "sub-1_ses-b_label-L_desc-auto_mask.nii.gz"
    assert pairs["sub-2_ses-a"].test is None
    assert pairs["sub-3"].reference is None


def test_other_names_are_paired_whole(tmp_path):
    one = write(tmp_path / "one", "case1.nii.gz", "case2.nii", "notes.txt", "deeper/case3.nii.gz")
    two = write(tmp_path / "two", "case2.nii", "case1.nii.gz")
    assert [pair.name for pair in match_masks(one, two)] == ["case1.nii.gz", "case2.nii"]


def test_what_cannot_be_paired_is_refused(tmp_path):
    name = "sub-1/ses-a/anat/sub-1_ses-a_label-L"
    one = write(tmp_path / "one", f"{name}_mask.nii.gz")
    two = write(tmp_path / "two", f"{name}_desc-a_mask.nii.gz", f"{name}_desc-b_mask.nii.gz")
    with pytest.raises(RequestError, match=r"sub-1_ses-a: 2 masks in one folder, .*desc-a.* and .*desc-b"):
        match_masks(one, two)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="empty: no masks; expected names that end in"):
        match_masks(one, tmp_path / "empty")
    with pytest.raises(RequestError, match="nowhere: expected a folder of masks"):
        match_masks(one, tmp_path / "nowhere")
