"""Tracts of installed atlases: sides, names, shares, lesions and loads, beside our own tracts."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from mripipe.atlases.atlas import atlas_files, read_atlas
from mripipe.atlases.install import install_atlas
from mripipe.atlases.tables import AtlasLabel
from mripipe.atlases.template import load_template
from mripipe.errors import InputError
from mripipe.interfaces.step import step_node
from mripipe.model.results import LesionVolumes, VisitResult
from mripipe.model.settings import DiffusionSettings
from mripipe.steps.atlas_shares import named_labels
from mripipe.steps.diffusion import fit_diffusion
from mripipe.steps.load import load_image, save_image
from mripipe.steps.tract_tables import long_regions
from mripipe.steps.tracts import measure_tracts
from tests.steps.test_diffusion import RAS, SHAPE, box, in_place, normalised, row, write  # noqa: F401

LOW, HIGH = (24.0, -40.0, 0.0), (40.0, 20.0, 30.0)
"""Corners of the right tract in MNI mm; the left one is its mirror image."""
BARE = DiffusionSettings(motion=False, denoise=False, outliers=False)
# Axes in another order than the series', and another voxel size.
PSR = np.array([[0, 0, 2.5, -80.0], [-2.5, 0, 0, 75.0], [0, 2.5, 0, -60.0], [0, 0, 0, 1.0]])


@pytest.fixture(autouse=True)
def user_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MRIPIPE_ATLASES", str(tmp_path / "atlases"))


def tracts(affine, shape):
    """Return label 1 on the left, 2 on the right, and 3 across the midline."""
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    labels = np.zeros(shape, np.uint8)
    for label, sign in ((1, -1.0), (2, 1.0)):
        labels[np.all((points * [sign, 1, 1] > LOW) & (points * [sign, 1, 1] < HIGH), axis=-1)] = label
    labels[np.all((points > (-12, -50, 0)) & (points < (12, -30, 20)), axis=-1)] = 3
    return labels


def install(tmp_path, *, probabilities=False):
    labels = tracts(PSR, (75, 60, 65))
    data = np.stack([labels == k for k in (1, 2, 3)], axis=-1) * np.float32(0.8) if probabilities else labels
    image = nib.Nifti1Image(data, PSR)
    image.set_sform(PSR, code=4)
    image.set_qform(PSR, code=4)
    nib.save(image, tmp_path / "map.nii.gz")
    table = tmp_path / "names.txt"
    table.write_text(
        "My tract, L\nMy tract, R\nCross+over\n"
        if probabilities
        else "1|l|L_My tract\n2|r|R_My tract\n3|x|Cross+over\n"
    )
    install_atlas(tmp_path / "map.nii.gz", table, name="other", space="MNI152NLin6Asym")
    return atlas_files("other")


def measured(tmp_path, codes, files, lesion=None):
    folder = tmp_path / codes
    fitted = fit_diffusion(write(folder, codes), settings=BARE, folder=folder)
    visit = normalised(folder, lesion)
    if lesion is not None:
        # Loads are summed on the template's grid, where this lesion is drawn again.
        template = load_template()
        points = np.moveaxis(np.indices(template.mask.shape), 0, -1) + template.affine[:3, 3]
        drawn = np.all((points > (-34, -30, 6)) & (points < (-28, 0, 16)), axis=-1)
        path = save_image(folder / "mni.nii.gz", drawn, template.affine, dtype=np.uint8)
        object.__setattr__(visit, "mni_lesion_mask", path)
    return fitted, measure_tracts(fitted, visit, atlases=(files,), folder=folder)


@pytest.mark.parametrize("probabilities", [False, True], ids=["labels", "probabilities"])
def test_sides_values_and_loads_whatever_the_storage(tmp_path, probabilities):
    lesion = box((-34, -30, 6), (-28, 0, 16))
    fitted, result = measured(tmp_path, "LAS", install(tmp_path, probabilities=probabilities), lesion)
    left, right = (row(result, "other:My_tract", side=side) for side in ("left", "right"))
    assert (left.hemisphere, right.hemisphere) == ("ipsilesional", "contralesional")
    # Means of the voxels that the drawn boxes hold, lesion left out; maps are in RAS order.
    fa, inside = load_image(fitted.fa).data, tracts(RAS, SHAPE)
    assert left.fa == pytest.approx(fa[(inside == 1) & ~lesion].mean(), abs=0.01)
    assert right.fa == pytest.approx(fa[inside == 2].mean(), abs=0.01)
    assert left.fa < right.fa - 0.05
    # 6 x 30 x 10 mm of the tract's 16 x 60 x 30 mm.
    assert left.lesion_fraction == pytest.approx(6 * 30 * 10 / (16 * 60 * 30), abs=0.01)
    assert right.lesion_fraction == 0.0
    pair = next(r for r in result.asymmetry if r.tract == "other:My_tract")
    assert pair.rfa == pytest.approx(left.fa / right.fa)
    share = 0.8 if probabilities else 1.0
    # Voxels of 1 mm strictly inside the lesion.
    assert pair.lesion_load_ml == pytest.approx(5 * 29 * 9 / 1000 * share, abs=1e-3)
    # A box has one section on every slice.
    assert pair.lesion_load_weighted_ml == pytest.approx(pair.lesion_load_ml, rel=0.15)
    middle = row(result, "other:Cross_over", side=None)
    assert (middle.hemisphere, middle.status) == (None, "ok")
    # Our own tracts are there as ever, and come first.
    assert result.metrics[0].tract == "CST"
    volumes = LesionVolumes("sub-1", "ses-a", "ok", source="auto", side="left", lesion_ml=1.0)
    visit = VisitResult("sub-1", "ses-a", volumes, diffusion=result)
    region = long_regions((visit,))["other:My_tract_whole"]
    assert region == "My_tract, tract of the installed atlas other"
    assert row(result).fa is not None


def test_a_tract_out_of_view_has_no_value(tmp_path):
    files = install(tmp_path)
    folder = tmp_path / "low"
    session = write(folder)
    image = nib.load(folder / "dwi.nii.gz")
    # The series ends below the tracts.
    save_image(folder / "dwi.nii.gz", np.asarray(image.dataobj)[:, :, :20], image.affine)
    fitted = fit_diffusion(session, settings=BARE, folder=folder)
    found = row(measure_tracts(fitted, normalised(folder), atlases=(files,), folder=folder), "other:My_tract")
    assert (found.status, found.fa) == ("not_covered", None)


def test_a_changed_atlas_is_refused(tmp_path):
    files = install(tmp_path)
    files.image.write_bytes(b"x")
    with pytest.raises(InputError, match="the atlas cannot be read"):
        read_atlas(files)


def test_an_atlas_that_was_changed_is_measured_again(tmp_path):
    files = install(tmp_path)
    visit = ("sub-1", "ses-a")
    before = step_node(measure_tracts, "tracts", visit=visit, atlases=(files,)).interface.bound
    files.image.write_bytes(files.image.read_bytes() + b"\0")
    after = step_node(measure_tracts, "tracts", visit=visit, atlases=(files,)).interface.bound
    assert before != after
    assert before != step_node(measure_tracts, "tracts", visit=visit, atlases=()).interface.bound


def test_names_that_would_be_one_keep_their_labels_number():
    table = [AtlasLabel(4, "Fornix (cres) L", side="left"), AtlasLabel(9, "Fornix cres L", side="left")]
    assert [name for name, _ in named_labels("JHU", table)] == ["JHU:Fornix_cres_4", "JHU:Fornix_cres_9"]
