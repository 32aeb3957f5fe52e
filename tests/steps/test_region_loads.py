"""The infarct by regions of an installed atlas: known boxes, either side, labels and probabilities."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from mripipe.atlases.atlas import atlas_files
from mripipe.atlases.install import install_atlas
from mripipe.atlases.template import load_template
from mripipe.steps.region_loads import region_loads

# Axes in another order than the template's, and another voxel size.
PSR = np.array([[0, 0, 2.5, -80.0], [-2.5, 0, 0, 75.0], [0, 2.5, 0, -60.0], [0, 0, 0, 1.0]])
LOW, HIGH = (20.0, -40.0, 0.0), (50.0, 20.0, 40.0)
"""Corners in MNI mm of the lobe on the right; that on the left is its mirror image."""


@pytest.fixture(params=[False, True], ids=["labels", "probabilities"])
def lobes(request, tmp_path, monkeypatch):
    monkeypatch.setenv("MRIPIPE_ATLASES", str(tmp_path / "atlases"))
    shape = (60, 50, 64)
    points = np.moveaxis(np.indices(shape), 0, -1) @ PSR[:3, :3].T + PSR[:3, 3]
    parts = [inside(points * [sign, 1, 1], LOW, HIGH) for sign in (-1, 1)]
    parts.append(inside(points, (-12, -50, 0), (12, -30, 20)))
    labels = sum(k * part.astype(np.uint8) for k, part in enumerate(parts, 1))
    data = np.stack(parts, axis=-1) * np.float32(0.8) if request.param else labels
    image = nib.Nifti1Image(data, PSR)
    image.set_sform(PSR, code=4)
    image.set_qform(PSR, code=4)
    nib.save(image, tmp_path / "map.nii.gz")
    table = tmp_path / "names.txt"
    table.write_text(
        "Own lobe, L\nOwn lobe, R\nMiddle\n"
        if request.param
        else "1|l|L_Own lobe\n2|r|R_Own lobe\n3|m|Middle\n"
    )
    install_atlas(tmp_path / "map.nii.gz", table, name="lobes", space="MNI152NLin6Asym")
    return atlas_files("lobes"), 0.8 if request.param else 1.0


def inside(points, low, high):
    return np.all((points > low) & (points < high), axis=-1)


def lesion(sign):
    """Draw a box half in the lobe, half below it: native voxels of 1 x 1 x 3 mm, and in MNI."""
    low, high = (25.0, -20.0, -15.0), (45.0, 10.0, 15.0)
    grid = np.mgrid[25.5:45.0:1.0, -19.5:10.0:1.0, -13.5:15.0:3.0].reshape(3, -1).T
    template = load_template()
    points = np.moveaxis(np.indices(template.mask.shape), 0, -1) + template.affine[:3, 3]
    return grid * [sign, 1, 1], inside(points * [sign, 1, 1], low, high)


@pytest.mark.parametrize(("side", "other", "sign"), [("left", "right", -1), ("right", "left", 1)])
def test_what_lies_in_a_region_on_either_side(lobes, side, other, sign):
    files, share = lobes
    native, in_mni = lesion(sign)
    found = {(load.region, load.side): load for load in region_loads((files,), native, 3e-3, in_mni)}
    names = [("lobes:Own_lobe", "left"), ("lobes:Own_lobe", "right"), ("lobes:Middle", "bilateral")]
    assert list(found) == names
    # 20 x 30 mm, from the lower face of the lobe's lowest voxels, z = 1.25 mm, to 15 mm.
    hit = found["lobes:Own_lobe", side]
    assert hit.lesion_ml == pytest.approx(share * 20 * 30 * 13.75 / 1000, rel=0.02)
    # Of the lobe's 11 x 23 x 15 voxels, the middles of 7 x 11 x 5 lie in the lesion.
    assert hit.lesioned_percent == pytest.approx(100 * 7 * 11 * 5 / (11 * 23 * 15), abs=0.01)
    for key in (("lobes:Own_lobe", other), ("lobes:Middle", "bilateral")):
        assert (found[key].lesion_ml, found[key].lesioned_percent) == (0.0, 0.0)


def test_without_a_lesion_regions_are_named_and_have_no_value(lobes):
    loads = region_loads((lobes[0],), np.zeros((0, 3)), 1e-3, None)
    assert [load.region for load in loads] == ["lobes:Own_lobe", "lobes:Own_lobe", "lobes:Middle"]
    assert all(load.lesion_ml is None and load.lesioned_percent is None for load in loads)
    assert region_loads((), np.zeros((0, 3)), 1e-3, None) == ()
