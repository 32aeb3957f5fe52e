"""Expert masks: every public name, one a visit, links and other spaces."""

import pytest

from mripipe.bids.masks import PROBABILITY_ENDINGS, check_derivatives, find_masks
from mripipe.errors import RequestError

SESSIONS = ["ses-a", "ses-b"]


@pytest.fixture
def put(tmp_path):
    def make(path):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        return file

    return make


@pytest.mark.parametrize("folder", ["sub-1/ses-a/anat", "sub-1/ses-a", "sub-1/anat", "sub-1"])
@pytest.mark.parametrize(
    "name",
    [
        "sub-1_ses-a_label-L_mask.nii.gz",
        "sub-1_ses-a_label-lesion_mask.nii",
        "sub-1_ses-a_label-lesion_roi.nii.gz",
        "sub-1_ses-a_space-FLAIR_label-L_mask.nii.gz",
        "sub-1_ses-a_T1w_label-L_mask.nii.gz",
        "sub-1_ses-a_label-L_desc-manual_mask.nii.gz",
    ],
)
def test_public_names_are_found(tmp_path, put, folder, name):
    path = put(f"{folder}/{name}")
    masks, problems = find_masks([tmp_path], "sub-1", SESSIONS)
    assert masks == {"ses-a": path}
    assert not problems


@pytest.mark.parametrize(
    "name",
    [
        "sub-1_ses-a_label-GM_mask.nii.gz",
        "sub-1_ses-a_label-L_mask.json",
        "sub-1_ses-a_label-L_desc-auto_mask.nii.gz",
        "sub-12_ses-a_label-L_mask.nii.gz",
        "sub-1_ses-a_mask.nii.gz",
        ".sub-1_ses-a_label-L_mask.nii.gz",
    ],
)
def test_other_names_are_not_masks(tmp_path, put, name):
    put(f"sub-1/ses-a/{name}")
    assert find_masks([tmp_path], "sub-1", SESSIONS) == ({}, ())


@pytest.mark.parametrize("label", ["L", "lesion"])
def test_probabilities_of_other_programs_are_found_apart_from_masks(tmp_path, put, label):
    path = put(f"sub-1/ses-a/sub-1_ses-a_label-{label}_probseg.nii.gz")
    mask = put("sub-1/ses-a/sub-1_ses-a_label-L_mask.nii.gz")
    assert find_masks([tmp_path], "sub-1", SESSIONS) == ({"ses-a": mask}, ())
    assert find_masks([tmp_path], "sub-1", SESSIONS, endings=PROBABILITY_ENDINGS) == ({"ses-a": path}, ())


def test_two_maps_of_a_visit_stop_only_who_asks_for_them(tmp_path, put):
    for folder in ("one", "two"):
        put(f"{folder}/sub-1/ses-a/sub-1_ses-a_label-L_probseg.nii.gz")
    folders = [tmp_path / "one", tmp_path / "two"]
    maps, (problem,) = find_masks(folders, "sub-1", SESSIONS, endings=PROBABILITY_ENDINGS, required=False)
    assert maps == {}
    assert problem.level == "warning"
    assert "2 lesion masks or maps" in problem.message


def test_two_masks_of_a_visit_are_an_error_that_names_both(tmp_path, put):
    put("one/sub-1/ses-a/sub-1_ses-a_label-L_mask.nii.gz")
    put("two/sub-1/ses-a/sub-1_ses-a_label-lesion_roi.nii.gz")
    other = put("two/sub-1/ses-b/sub-1_ses-b_label-L_mask.nii.gz")
    masks, (problem,) = find_masks([tmp_path / "one", tmp_path / "two"], "sub-1", SESSIONS)
    assert masks == {"ses-b": other}
    assert (problem.level, problem.session_id) == ("error", "ses-a")
    assert "label-L_mask.nii.gz and " in problem.message
    assert "label-lesion_roi.nii.gz" in problem.message


def test_a_mask_in_another_space_is_passed_over_only_beside_a_native_one(tmp_path, put):
    mni = put("sub-1/ses-a/sub-1_ses-a_space-MNI152NLin2009aSym_label-L_mask.nii.gz")
    assert find_masks([tmp_path], "sub-1", SESSIONS) == ({"ses-a": mni}, ())
    native = put("sub-1/ses-a/sub-1_ses-a_space-T1w_label-L_mask.nii.gz")
    masks, (problem,) = find_masks([tmp_path], "sub-1", SESSIONS)
    assert masks == {"ses-a": native}
    assert (problem.level, problem.path) == ("note", mni)


def test_a_mask_of_a_visit_that_is_not_there_is_warned_of(tmp_path, put):
    put("sub-1/ses-z/sub-1_ses-z_label-L_mask.nii.gz")
    masks, (problem,) = find_masks([tmp_path], "sub-1", SESSIONS)
    assert not masks
    assert problem.level == "warning"


def test_links_are_followed_but_not_in_circles(tmp_path, put):
    store = put("store/abc")
    folder = tmp_path / "d" / "sub-1" / "ses-a"
    folder.mkdir(parents=True)
    (folder / "round").symlink_to(tmp_path / "d", target_is_directory=True)
    link = folder / "sub-1_ses-a_label-L_mask.nii.gz"
    link.symlink_to(store)
    assert find_masks([tmp_path / "d"], "sub-1", SESSIONS)[0] == {"ses-a": link}


def test_a_folder_that_is_not_there_is_a_wrong_request(tmp_path):
    check_derivatives([tmp_path])
    with pytest.raises(RequestError, match="no such folder of derivatives"):
        check_derivatives([tmp_path / "gone"])
