"""Masks in MNI: what is measured is in millilitres and percent, and what cannot be is said."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from mripipe.atlases.territories import MCA_LABELS, load_territories
from mripipe.errors import RequestError
from mripipe.steps.group_masks import find_masks, measure_masks


def save(folder, name, data, affine):
    path = folder / name
    nib.Nifti1Image(data, affine).to_filename(path)
    return path


@pytest.fixture(scope="module")
def right_mca():
    """Give the territory of the right middle cerebral artery as a mask."""
    atlas = load_territories()
    return atlas.mask(MCA_LABELS["right"]).astype(np.uint8), atlas.affine


def measured(paths, **more):
    rows, incidence, oddities = measure_masks(paths, **more)
    return {row.name: row for row in rows}, incidence, oddities


@pytest.mark.parametrize("flip", [False, True])
def test_a_whole_territory_is_wholly_damaged_on_its_side(tmp_path, right_mca, flip):
    data, affine = right_mca
    if flip:
        data = data[::-1]
        affine = affine @ np.array(
            [[-1.0, 0, 0, data.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        )
    path = save(tmp_path, "sub-1_ses-a_space-MNI152NLin2009aSym_label-L_mask.nii.gz", data, affine)
    found, incidence, oddities = measured([path])
    assert found["damage_MCA_R"].value == pytest.approx(100)
    assert found["damage_MCA_L"].value == 0
    assert found["damage_ACA_R"].value == 0
    assert found["mca_territory_percent"].value == pytest.approx(100)
    assert found["lesion_mni_ml"].value == pytest.approx(data.sum() / 1000)
    assert found["lesion_mni_ml"].session_id == "ses-a"
    assert not oddities
    assert incidence.n == 1
    assert incidence.counts.sum() == data.sum()


def test_a_territory_out_of_view_has_no_damage(tmp_path, right_mca):
    data, affine = right_mca
    # The lowest 60 mm are not in the picture.
    low = affine.copy()
    low[2, 3] += 60
    path = save(tmp_path, "sub-1_space-MNI_label-L_mask.nii.gz", np.ascontiguousarray(data[:, :, 60:]), low)
    found, _, oddities = measured([path])
    assert (found["damage_VB_R"].value, found["damage_VB_R"].status) == (None, "not_covered")
    assert (found["damage_MCA_R"].value, found["damage_MCA_R"].status) == (None, "not_covered")
    assert found["damage_ACA_R"].status in ("ok", "not_covered")
    assert "may be some millimetres off" in oddities[0].message


def test_an_empty_mask_is_no_lesion_and_not_missing(tmp_path, right_mca):
    data, affine = right_mca
    path = save(tmp_path, "sub-1_space-MNI_label-L_mask.nii.gz", np.zeros_like(data), affine)
    found, _, _ = measured([path])
    assert (found["lesion_mni_ml"].value, found["lesion_mni_ml"].status) == (0, "no_lesion_found")
    assert found["damage_MCA_L"].value == 0
    assert "mca_territory_percent" not in found


def test_only_counted_masks_go_into_the_map(tmp_path, right_mca):
    data, affine = right_mca
    paths = [save(tmp_path, f"sub-1_ses-{s}_space-MNI_label-L_mask.nii.gz", data, affine) for s in ("a", "b")]
    _, incidence, _ = measure_masks(paths, counted={paths[0]})
    assert (incidence.n, incidence.counts.max()) == (1, 1)


def test_a_mask_that_cannot_be_used_is_named(tmp_path, right_mca):
    data, affine = right_mca
    four = save(tmp_path, "sub-1_label-L_mask.nii.gz", np.stack([data, data], axis=-1), affine)
    below = save(tmp_path, "sub-2_label-L_mask.nii.gz", data.astype(np.int16) - 1, affine)
    broken = tmp_path / "sub-3_label-L_mask.nii.gz"
    broken.write_bytes(b"no image")
    wrong = save(tmp_path, "sub-4_label-L_label-L_mask.nii.gz", data, affine)
    rows, incidence, oddities = measure_masks([four, below, broken, wrong])
    assert not rows
    assert incidence.n == 0
    assert [o.file for o in oddities][:4] == [p.name for p in (four, below, broken, wrong)]


def test_masks_are_found_by_their_label(tmp_path):
    for name in (
        "sub-1_space-MNI_label-L_mask.nii.gz",
        "sub-2_label-lesion_mask.nii",
        "sub-3_desc-brain_mask.nii.gz",
        "sub-4_label-L_desc-final_mask.nii.gz",
    ):
        (tmp_path / name).touch()
    names = [path.name.partition("_")[0] for path in find_masks(tmp_path)]
    assert names == ["sub-1", "sub-2", "sub-4"]


def test_a_folder_without_masks_is_refused(tmp_path):
    with pytest.raises(RequestError, match="no lesion mask found"):
        find_masks(tmp_path)
    with pytest.raises(RequestError, match="no such folder"):
        find_masks(tmp_path / "none")
