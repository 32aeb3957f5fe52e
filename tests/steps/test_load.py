"""Loading refuses what is unfit by name; saving gives back what was stored, the same bytes every time."""

import gzip
import os
import time

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mripipe.core.grid import axis_codes, reorient, voxel_to_world
from mripipe.errors import InputError, ProcessingError
from mripipe.steps.load import load_image, load_mask, load_probability, save_image

SHAPE = (10, 11, 12)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", (8, -12, 20), degrees=True).as_matrix() * (-0.9, 0.9, 3.0)
OBLIQUE[:3, 3] = (30, -40, 10)
DATA = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)


@pytest.fixture
def put(tmp_path):
    def make(data, affine=OBLIQUE, name="x.nii.gz"):
        nib.save(nib.Nifti1Image(data, affine), tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_values_and_affine_come_as_stored(put, name):
    volume = load_image(put(DATA, name=name))
    assert volume.data.dtype == np.float32
    assert np.array_equal(volume.data, DATA)
    assert np.allclose(volume.affine, OBLIQUE, atol=1e-5)
    assert axis_codes(volume.affine) == "LAS"


def test_a_scale_factor_is_applied(tmp_path):
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    header = nib.Nifti1Image(values.astype(np.int16), OBLIQUE).header
    # Written by hand: nibabel chooses scale factors of its own when it saves.
    header["vox_offset"], header["scl_slope"], header["scl_inter"] = 352, 0.5, 10
    raw = header.binaryblock + bytes(4) + values.astype(np.int16).tobytes(order="F")
    (tmp_path / "x.nii").write_bytes(raw)
    assert np.array_equal(load_image(tmp_path / "x.nii").data, values * 0.5 + 10)


def test_mgh_and_nifti2(tmp_path):
    nib.save(nib.MGHImage(DATA, OBLIQUE), tmp_path / "x.mgz")
    nib.save(nib.Nifti2Image(DATA, OBLIQUE), tmp_path / "x.nii")
    for name in ("x.mgz", "x.nii"):
        volume = load_image(tmp_path / name)
        assert np.array_equal(volume.data, DATA)
        assert np.allclose(volume.affine, OBLIQUE, atol=1e-4)


def test_one_volume_of_a_4d_file_is_3d(put):
    assert np.array_equal(load_image(put(DATA[..., None])).data, DATA)


def with_value(value):
    data = DATA.copy()
    data[3, 4, 5] = value
    return data


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (with_value(np.nan), "0.0758 % of its voxels are not finite"),
        (with_value(np.inf), ".* not finite"),
        (with_value(0).astype(np.float64) * 1e300, ".* not finite"),
        (np.zeros(SHAPE, np.float32), "every voxel is 0"),
        (np.full(SHAPE, 7, np.uint8), "every voxel is 7"),
        (np.stack([DATA, DATA], axis=3), "2 volumes of a 4D image"),
        (DATA[:, :, :2], "10 x 11 x 2 voxels, expected 8 or more"),
        (DATA[:2], "2 x 11 x 12 voxels"),
    ],
)
def test_unfit_voxels_are_refused_in_one_line_that_names_the_file(put, data, what):
    with pytest.raises(InputError, match=rf"^x\.nii\.gz: {what}") as caught:
        load_image(put(data))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
def test_truncated_files_are_refused(put, name):
    path = put(DATA, name=name)
    raw = path.read_bytes()
    for kept in (0.5, 0.99):
        path.write_bytes(raw[: int(kept * len(raw))])
        with pytest.raises(InputError, match=rf"^{name}: truncated"):
            load_image(path)


def test_headers_are_checked(put, tmp_path):
    image = nib.Nifti1Image(DATA, OBLIQUE)
    image.set_sform(OBLIQUE, 0)
    image.set_qform(OBLIQUE, 0)
    nib.save(image, tmp_path / "x.nii.gz")
    with pytest.raises(InputError, match=r"^x\.nii\.gz: no orientation"):
        load_image(tmp_path / "x.nii.gz")


def test_a_data_offset_that_cannot_be_is_refused(put):
    path = put(DATA, name="x.nii")
    raw = bytearray(path.read_bytes())
    raw[108:112] = np.float32(-400).tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"^x\.nii: "):
        load_image(path)


MASK = np.zeros(SHAPE, np.uint8)
MASK[2:5, 3:6, 4:9] = 1
OTHER = np.diag([1.0, 1.0, 1.0, 1.0])
GRIDS = {"T1w": ((20, 21, 22), OTHER), "FLAIR": (SHAPE, OBLIQUE)}


def test_a_mask_says_which_grid_it_fits(put):
    found = load_mask(put(MASK), GRIDS)
    assert found.grid == "FLAIR"
    assert found.data.dtype == bool
    assert np.array_equal(found.data, MASK == 1)
    assert np.array_equal(found.affine, OBLIQUE)
    assert not found.data.flags.writeable
    assert load_mask(put(MASK), {"T1w": (SHAPE, OBLIQUE), "FLAIR": (SHAPE, OBLIQUE)}).grid == "T1w"


@pytest.mark.parametrize("codes", ["RAS", "SPL"])
def test_a_mask_with_its_axes_in_another_order_is_put_into_the_grids(put, codes):
    moved, affine = reorient(MASK, OBLIQUE, codes=codes)
    found = load_mask(put(moved, affine), GRIDS)
    assert np.array_equal(found.data, MASK == 1)


def shifted():
    affine = OBLIQUE.copy()
    affine[2, 3] += 1
    return affine


@pytest.mark.parametrize(
    ("mask", "affine", "what"),
    [
        (MASK, shifted(), "FLAIR: 1.0 mm away"),
        (MASK, OBLIQUE @ np.diag([-1, 1, 1, 1]), "FLAIR: its axes LAS expected, found RAS"),
        (MASK[:, :, 1:], OBLIQUE, "FLAIR: 10 x 11 x 12 voxels expected, found 10 x 11 x 11"),
    ],
)
def test_a_mask_on_another_grid_is_refused_by_name(put, mask, affine, what):
    with pytest.raises(InputError, match=rf"^x\.nii\.gz: mask on another grid \(.*{what}"):
        load_mask(put(mask, affine), GRIDS)


@pytest.mark.parametrize(
    "values",
    [MASK, MASK * 255, MASK.astype(np.float32) * 0.9996, MASK * np.float32(0.5), MASK * np.float32(3)],
)
def test_what_counts_as_lesion(put, values):
    assert np.array_equal(load_mask(put(values), GRIDS).data, MASK == 1)


def test_labels_are_united_and_low_probability_is_outside(put):
    labels = MASK.copy()
    labels[2] *= 2
    assert np.array_equal(load_mask(put(labels), GRIDS).data, MASK == 1)
    probability = MASK * np.float32(0.7)
    probability[0, 0, 0] = 0.4
    assert np.array_equal(load_mask(put(probability), GRIDS).data, MASK == 1)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (MASK * 0, "the mask is empty"),
        (MASK * np.float32(0.3), "the mask is empty"),
        (MASK * np.float32(2.5), "mask values from 0 to 2.5"),
        (0 - MASK.astype(np.float32), "mask values from -1 to 0"),
        (MASK * np.float32(np.nan), "not finite"),
    ],
)
def test_unfit_mask_values_are_refused(put, values, what):
    with pytest.raises(InputError, match=rf"^x\.nii\.gz: .*{what}"):
        load_mask(put(values), GRIDS)


def test_a_probability_is_taken_in_the_grids_order_and_may_be_empty(put):
    values = np.linspace(0.0, 1.0, MASK.size).reshape(MASK.shape).astype(np.float32)
    found = load_probability(put(values), GRIDS)
    np.testing.assert_allclose(found.data, values, atol=1e-6)
    assert found.grid == load_mask(put(MASK), GRIDS).grid
    assert not load_probability(put(np.zeros(MASK.shape, np.float32)), GRIDS).data.any()


@pytest.mark.parametrize("values", [np.linspace(-0.5, 1, MASK.size), np.linspace(0, 100, MASK.size)])
def test_what_is_no_probability_is_refused(put, values):
    path = put(values.reshape(MASK.shape).astype(np.float32))
    with pytest.raises(InputError, match=r"expected probabilities of 0 to 1, found (-0\.5 to 1|0 to 100)"):
        load_probability(path, GRIDS)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("affine", [OBLIQUE, reorient(MASK, OBLIQUE, codes="PSR")[1]])
def test_saved_images_come_back_with_both_forms(tmp_path, name, affine):
    path = save_image(tmp_path / "new" / name, DATA, affine)
    volume = load_image(path)
    assert np.array_equal(volume.data, DATA)
    assert np.allclose(volume.affine, affine, atol=1e-4)
    image = nib.load(path)
    for form in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert form[1] > 0
        corner = (9, 10, 11)
        assert np.allclose(voxel_to_world(corner, form[0]), voxel_to_world(corner, affine), atol=1e-3)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_a_sheared_grid_is_saved_without_a_qform(tmp_path):
    sheared = OBLIQUE.copy()
    sheared[:3, 1] += 0.3 * sheared[:3, 0]
    path = save_image(tmp_path / "x.nii.gz", DATA, sheared)
    assert np.allclose(load_image(path).affine, sheared, atol=1e-4)
    assert nib.load(path).get_qform(coded=True)[1] == 0


def test_same_bytes_whatever_the_name_and_time(tmp_path, monkeypatch):
    one = save_image(tmp_path / "one.nii.gz", DATA, OBLIQUE).read_bytes()
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert save_image(tmp_path / "two.nii.gz", DATA.copy(order="F"), OBLIQUE).read_bytes() == one
    assert gzip.decompress(one)[:4] == (348).to_bytes(4, "little")


def test_masks_are_stored_as_bytes_and_leave_their_source_alone(tmp_path):
    path = save_image(tmp_path / "m.nii.gz", MASK == 1, OBLIQUE, dtype=np.uint8)
    image = nib.load(path)
    assert image.get_data_dtype() == np.uint8
    assert np.array_equal(np.asanyarray(image.dataobj), MASK)
    assert load_mask(path, GRIDS).grid == "FLAIR"


def test_four_axes_are_kept(tmp_path):
    data = np.stack([DATA, DATA + 1], axis=3)
    image = nib.load(save_image(tmp_path / "x.nii.gz", data, OBLIQUE))
    assert np.array_equal(np.asanyarray(image.dataobj), data)


@pytest.mark.parametrize(
    ("data", "dtype", "what"),
    [
        (with_value(np.nan), np.float32, "not finite"),
        (DATA, np.uint8, "do not fit uint8"),
        (MASK * 300.0, np.uint8, "do not fit uint8"),
        (DATA * np.float64(1e300), np.float32, "do not fit float32"),
    ],
)
def test_values_that_cannot_be_stored_are_refused_and_nothing_is_written(tmp_path, data, dtype, what):
    with pytest.raises(ProcessingError, match=rf"x\.nii\.gz: not written: .*{what}"):
        save_image(tmp_path / "x.nii.gz", data, OBLIQUE, dtype=dtype)
    assert os.listdir(tmp_path) == []
