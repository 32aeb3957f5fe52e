"""A visit's way to MNI: nothing to leave out, warnings passed on, the same bytes."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mripipe.atlases import territories
from mripipe.core.grid import Volume
from mripipe.model.settings import RegistrationSettings
from mripipe.steps import normalisation
from mripipe.steps.load import save_image
from mripipe.steps.measure import measure_visit
from mripipe.steps.normalisation import normalise_visit
from mripipe.steps.transforms import resample

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
    assert result.territories == ()


def test_a_map_astray_is_told_by_the_ventricles(left_visit, coarse_template):
    normalised = left_visit.normalised
    template = coarse_template
    moved = np.asarray(nib.load(normalised.mni_image).dataobj, np.float32)
    lesion = np.asarray(nib.load(normalised.mni_lesion_probability).dataobj, np.float32)
    brain = template.mask.astype(np.float32)

    def fit(steps):
        image = Volume(np.roll(moved, steps, axis=(1, 2)), template.affine)
        return normalisation._fit(image, brain, lesion, template, template.t1)

    right, astray = fit((0, 0)), fit((3, -3))
    assert normalisation._doubts(right, 0.0) == ()
    assert astray.ventricle_dice < normalisation.LOW_VENTRICLE_DICE < right.ventricle_dice
    lines = normalisation._doubts(astray, 0.02)
    assert any("ventricle overlap" in line for line in lines)
    assert lines[-1] == "registration to MNI: the deformation folds in 0.02 % of the brain: do not use it"


def test_ventricles_within_the_infarct_are_not_compared(left_visit, coarse_template):
    template = coarse_template
    moved = np.asarray(nib.load(left_visit.normalised.mni_image).dataobj, np.float32)
    lesion = np.zeros_like(moved)
    lesion[25:75, 20:90, 30:60] = 1.0
    image, brain = Volume(moved, template.affine), template.mask.astype(np.float32)
    assert normalisation._fit(image, brain, lesion, template, template.t1).ventricle_dice is None


@pytest.mark.parametrize(("source", "status"), [("auto", "low_quality"), ("manual", "ok")])
def test_a_lesion_in_another_arterys_territory_is_told(left_visit, tmp_path, coarse_template, source, status):
    normalised = left_visit.normalised
    brain = nib.load(left_visit.prepared.brain_mask)
    place = sitk.ReadTransform(str(normalised.from_mni))
    atlas = territories.load_territories()
    there = Volume(atlas.mask((1,)).astype(np.float32), atlas.affine)
    carried = resample(there, Volume(np.zeros(brain.shape, np.float32), brain.affine), place) >= 0.5
    mask = save_image(tmp_path / "aca.nii.gz", carried, brain.affine, dtype=np.uint8)
    segmented = replace(left_visit.segmented, final_mask=mask, source=source)
    result = measure_visit(replace(normalised, segmented=segmented), folder=tmp_path)
    assert result.volumes.status == status
    assert result.volumes.mca_fraction < 0.2
    assert any("territory of the middle cerebral artery" in line for line in result.warnings)
    loads = {(load.territory, load.side): load.lesion_ml for load in result.territories}
    assert loads["ACA", "left"] > 0.8 * result.volumes.lesion_ml


def test_a_poor_registration_makes_the_visit_low_quality(left_visit, tmp_path, coarse_template):
    poor = replace(left_visit.normalised, low_quality=True)
    assert measure_visit(poor, folder=tmp_path).volumes.status == "low_quality"


def test_same_input_gives_the_same_files(left_visit, tmp_path, coarse_template):
    again = normalise_visit(left_visit.segmented, left_visit.aligned, settings=FAST, folder=tmp_path)
    for name in ("to_mni", "from_mni", "mni_image", "mni_affine_image", "mni_lesion_probability"):
        first, second = getattr(left_visit.normalised, name), getattr(again, name)
        assert first.read_bytes() == second.read_bytes(), name
    assert again.tissue_dice == left_visit.normalised.tissue_dice
