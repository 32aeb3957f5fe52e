"""A visit's way to MNI: nothing to leave out, warnings passed on, the same bytes."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from mripipe.model.settings import RegistrationSettings
from mripipe.steps.load import save_image
from mripipe.steps.measure import measure_visit
from mripipe.steps.normalisation import normalise_visit

FAST = RegistrationSettings(level="fast")


@pytest.fixture(scope="module")
def no_lesion(left_visit, tmp_path_factory):
    """Return the visit as if no infarct had been found."""
    folder = tmp_path_factory.mktemp("none")
    image = nib.load(left_visit.prepared.preproc)
    empty = save_image(folder / "none.nii.gz", np.zeros(image.shape), image.affine, dtype=np.uint8)
    return replace(left_visit.segmented, final_mask=empty, side="none", lesion_ml=0.0)


def test_no_infarct_is_measured_as_missing(no_lesion, left_visit, tmp_path, coarse_template):
    aligned = replace(left_visit.aligned, warnings=("look at the sequences",))
    normalised = normalise_visit(no_lesion, aligned, settings=FAST, folder=tmp_path)
    assert normalised.warnings[0] == "look at the sequences"
    assert not np.asarray(nib.load(normalised.mni_lesion_mask).dataobj).any()
    result = measure_visit(normalised, folder=tmp_path)
    volumes = result.volumes
    assert (volumes.status, volumes.side) == ("no_lesion_found", "none")
    missing = ("lesion_ml", "lesion_ml_lower", "lesion_ml_upper", "lesion_mni_ml", "mca_ml", "mca_fraction")
    missing += ("mca_territory_percent", "n_components", "ventricle_ipsi_ml", "ventricle_contra_ml")
    assert {name: getattr(volumes, name) for name in missing} == dict.fromkeys(missing)
    assert volumes.brain_ml == pytest.approx(left_visit.result.volumes.brain_ml)
    assert "look at the sequences" in result.warnings


def test_same_input_gives_the_same_files(left_visit, tmp_path, coarse_template):
    again = normalise_visit(left_visit.segmented, left_visit.aligned, settings=FAST, folder=tmp_path)
    for name in ("to_mni", "from_mni", "mni_image", "mni_affine_image", "mni_lesion_probability"):
        first, second = getattr(left_visit.normalised, name), getattr(again, name)
        assert first.read_bytes() == second.read_bytes(), name
    assert again.tissue_dice == left_visit.normalised.tissue_dice
