"""fit_tensor and tract_metrics on images: storage, masks, what they refuse."""

import nibabel as nib
import numpy as np
import pytest

import mripipe
from mripipe.core.gradients import directions_to_fsl
from mripipe.core.grid import reorient
from mripipe.core.phantom_diffusion import even_gradients
from mripipe.errors import InputError, RequestError

RAS = np.diag([2.0, 2.0, 3.0, 1.0])


def series(codes="RAS"):
    table = even_gradients(12)
    fibre = np.array([0.6, 0.8, 0.0])
    signal = 700 * np.exp(-table.b_values * (0.3e-3 + 1.2e-3 * (table.directions @ fibre) ** 2))
    data, affine = reorient(np.tile(signal, (3, 4, 2, 1)).astype(np.float32), RAS, codes=codes)
    return nib.Nifti1Image(data, affine), table.b_values, directions_to_fsl(table.directions, affine), fibre


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PSR"])
def test_maps_and_direction_whatever_the_storage(codes, tmp_path):
    image, b, vectors, fibre = series(codes)
    nib.save(image, tmp_path / "dwi.nii.gz")
    for given in (image, tmp_path / "dwi.nii.gz"):
        maps = mripipe.fit_tensor(given, b, vectors)
        assert maps.md.get_fdata().max() == pytest.approx(0.7e-3, rel=1e-4)
        assert maps.ad.get_fdata().min() == pytest.approx(1.5e-3, rel=1e-4)
        assert abs(maps.direction.get_fdata()[0, 0, 0] @ fibre) == pytest.approx(1.0, abs=1e-5)


def test_free_water_where_it_is_asked_for_and_two_shells_allow_it():
    image, b, vectors, _ = series("LAS")
    low = image.get_fdata()[..., 1:] ** 0.4 * 700**0.6
    dry = np.concatenate([image.get_fdata(), low], axis=3)
    values = np.concatenate([b, 0.4 * b[1:]])
    wet = (0.75 * dry + 0.25 * 700 * np.exp(-values * 3e-3)).astype(np.float32)
    both = np.hstack([vectors, vectors[:, 1:]])
    wet_image = nib.Nifti1Image(wet, image.affine)
    maps = mripipe.fit_tensor(wet_image, values, both, free_water=True)
    dry_fa = mripipe.fit_tensor(image, b, vectors).fa.get_fdata()
    np.testing.assert_allclose(maps.fwf.get_fdata(), 0.25, atol=2e-3)
    np.testing.assert_allclose(maps.fa_tissue.get_fdata(), dry_fa, atol=5e-3)
    assert mripipe.fit_tensor(wet_image, values, both).fwf is None
    with pytest.raises(InputError, match=r"one shell \(b = 1000\); free water needs"):
        mripipe.fit_tensor(image, b, vectors, free_water=True)


def test_nothing_outside_the_mask():
    image, b, vectors, _ = series()
    mask = np.zeros((3, 4, 2), np.uint8)
    mask[1] = 1
    stored, affine = reorient(mask, RAS, codes="LPS")
    found = mripipe.fit_tensor(image, b, vectors, mask=nib.Nifti1Image(stored, affine)).fa.get_fdata()
    assert (found > 0).tolist() == (mask > 0).tolist()


def test_what_is_no_series_is_refused(tmp_path):
    image, b, vectors, _ = series()
    with pytest.raises(InputError, match="several volumes"):
        mripipe.fit_tensor(nib.Nifti1Image(np.ones((3, 3, 3), np.float32), RAS), b, vectors)
    with pytest.raises(InputError, match="13 volumes"):
        mripipe.fit_tensor(image, b[:-1], vectors[:, :-1])
    with pytest.raises(RequestError, match="dwi: expected a path"):
        mripipe.fit_tensor(3, b, vectors)
    (tmp_path / "no.nii").write_text("no image")
    with pytest.raises(InputError, match=r"no.nii: cannot be read"):
        mripipe.fit_tensor(tmp_path / "no.nii", b, vectors)


def picture(values):
    return nib.Nifti1Image(np.asarray(values, np.float32).reshape(2, 2, 1), RAS)


def test_a_tract_in_the_lesion_and_one_that_is_not_there():
    fa = picture([0.2, 0.4, 0.6, np.nan])
    tracts = {"in": picture([0, 1, 0, 0]), "none": picture([0, 0, 0, 0]), "half": picture([1, 1, 1, 1])}
    found = mripipe.tract_metrics(fa, tracts, lesion_mask=picture([0, 1, 0, 0]))
    assert (found["in"].status, found["in"].mean) == ("truncated_by_lesion", None)
    assert found["in"].mean_with_lesion == pytest.approx(0.4)
    assert (found["none"].status, found["none"].lesion_fraction) == ("not_covered", None)
    assert found["half"].mean == pytest.approx(0.4)
    assert found["half"].lesion_fraction == pytest.approx(0.25)


def test_another_grid_is_refused():
    shifted = nib.Nifti1Image(np.ones((2, 2, 1), np.float32), RAS + np.eye(4, k=3))
    with pytest.raises(InputError, match="CST: lies on another grid"):
        mripipe.tract_metrics(picture([1, 1, 1, 1]), {"CST": shifted})
