"""Headers: what does not say where the voxels lie is refused, and never repaired."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mripipe.bids.nifti import check_complete, read_bytes, read_header
from mripipe.core.grid import axis_codes
from mripipe.errors import InputError

SHAPE = (10, 11, 12)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", (8, -12, 20), degrees=True).as_matrix() * (-0.9, 0.9, 3.0)
OBLIQUE[:3, 3] = (30, -40, 10)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes an image whose header a function has changed."""

    def make(
        change=None, *, shape=SHAPE, affine=OBLIQUE, dtype=np.int16, name="x.nii.gz", kind=nib.Nifti1Image
    ):
        image = kind(np.ones(shape, dtype), affine)
        image.set_qform(affine, 1)
        image.set_sform(affine, 1)
        if change is not None:
            change(image.header)
        header = image.header
        raw = bytearray(header.binaryblock + b"\0" * 4 + np.ones(shape, dtype).tobytes(order="F"))
        path = tmp_path / name
        path.write_bytes(gzip.compress(bytes(raw)) if name.endswith("gz") else bytes(raw))
        return path

    return make


def offset(header):
    header["vox_offset"] = 352


def changed(**fields):
    def change(header):
        offset(header)
        for name, value in fields.items():
            header[name] = value

    return change


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
def test_a_good_header(write, name):
    header = read_header(write(offset, name=name))
    assert header.shape == SHAPE
    assert np.allclose(header.affine, OBLIQUE, atol=1e-4)
    assert header.n_bytes == 352 + 10 * 11 * 12 * 2


def test_nifti2_is_read(tmp_path):
    path = tmp_path / "x.nii.gz"
    nib.save(nib.Nifti2Image(np.ones(SHAPE, np.float32), OBLIQUE), path)
    assert np.allclose(check_complete(path).affine, OBLIQUE)


def test_mgh_is_read(tmp_path):
    path = tmp_path / "x.mgz"
    nib.save(nib.MGHImage(np.ones(SHAPE, np.float32), OBLIQUE), path)
    assert np.allclose(check_complete(path).affine, OBLIQUE, atol=1e-4)


def test_big_endian_is_read(tmp_path):
    path = tmp_path / "x.nii"
    image = nib.Nifti1Image(np.ones(SHAPE, np.int16), OBLIQUE)
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.int16), OBLIQUE, image.header.as_byteswapped()), path)
    assert np.allclose(read_header(path).affine, OBLIQUE, atol=1e-4)


def test_either_form_alone_is_enough(write):
    assert axis_codes(read_header(write(changed(qform_code=0))).affine) == "LAS"
    assert axis_codes(read_header(write(changed(sform_code=0))).affine) == "LAS"


def test_an_unset_handedness_reads_as_right(write):
    def change(header):
        offset(header)
        header["sform_code"] = 0
        header["pixdim"][0] = 0

    right_handed = OBLIQUE @ np.diag([-1, 1, 1, 1])
    assert np.allclose(read_header(write(change, affine=right_handed)).affine, right_handed, atol=1e-4)


def test_trailing_axes_of_one_are_dropped(write):
    assert read_header(write(offset, shape=(*SHAPE, 1))).shape == SHAPE
    assert read_header(write(offset, shape=(*SHAPE, 3))).shape == (*SHAPE, 3)


def no_voxel_size(value):
    def change(header):
        offset(header)
        header["pixdim"][2] = value

    return change


def moved_sform(header):
    offset(header)
    header["srow_x"][3] += 2


def flipped_sform(header):
    offset(header)
    header["srow_x"] *= -1


def metres(header):
    offset(header)
    header.set_xyzt_units("meter")


def bad_quaternion(header):
    offset(header)
    header["quatern_b"] = header["quatern_c"] = 0.9


def singular(header):
    offset(header)
    header["qform_code"] = 0
    header["srow_z"] = 0


def no_axes(header):
    offset(header)
    header["dim"][:3] = (2, 10, 11)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (no_voxel_size(0), "voxel size 0.9 x 0 x 3: expected three positive"),
        (no_voxel_size(-1), "voxel size 0.9 x -1 x 3"),
        (no_voxel_size(np.nan), "voxel size 0.9 x nan x 3"),
        (changed(qform_code=0, sform_code=0), "no orientation"),
        (moved_sform, "sform and qform disagree by 2.0 mm"),
        (flipped_sform, "sform and qform disagree"),
        (bad_quaternion, "qform is not a rotation"),
        (singular, "singular"),
        (metres, "units of meter"),
        (changed(datatype=128), "one real number a voxel"),
        (changed(datatype=32), "one real number a voxel"),
        (no_axes, "not a 3D image"),
        (changed(datatype=999), "header is damaged"),
        (changed(xyzt_units=7), "header is damaged"),
        (changed(magic=b""), "not a NIfTI image"),
    ],
)
def test_an_unfit_header_is_refused_by_name(write, change, what):
    with pytest.raises(InputError, match=rf"^x\.nii\.gz: .*({what})") as caught:
        read_header(write(change))
    assert "\n" not in str(caught.value)


def test_shear_that_a_qform_cannot_hold_is_no_disagreement(tmp_path):
    sheared = OBLIQUE.copy()
    sheared[:3, 1] += 0.02 * sheared[:3, 0]
    image = nib.Nifti1Image(np.ones(SHAPE, np.float32), sheared)
    image.set_qform(sheared, 1)
    image.set_sform(sheared, 1)
    nib.save(image, tmp_path / "x.nii")
    assert np.allclose(read_header(tmp_path / "x.nii").affine, sheared, atol=1e-4)


def test_nothing_is_printed_about_a_bad_header(write, capsys):
    with pytest.raises(InputError):
        read_header(write(no_voxel_size(0)))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
def test_a_truncated_file_is_refused(write, name):
    path = write(offset, name=name)
    raw = path.read_bytes()
    # The last bytes of a gzip file are its checksum; without them the data cannot be trusted either.
    for kept in (len(raw) // 2, len(raw) - 4):
        path.write_bytes(raw[:kept])
        with pytest.raises(InputError, match=rf"{name}: truncated"):
            check_complete(path)


def test_a_damaged_gzip_file_is_refused(write):
    path = write(offset)
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(InputError, match="damaged"):
        read_bytes(path)


@pytest.mark.parametrize("raw", [b"", b"hello", b"\0" * 2000, b"\x1f\x8b", b"\x1f\x8bhello there"])
def test_what_is_no_image_is_refused(tmp_path, raw):
    path = tmp_path / "x.nii.gz"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"^x\.nii\.gz: (not a NIfTI|truncated or damaged)"):
        check_complete(path)


def test_what_is_not_there_is_refused(tmp_path):
    link = tmp_path / "link.nii.gz"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"^x\.nii\.gz: no such file"):
        read_bytes(tmp_path / "x.nii.gz")
    with pytest.raises(InputError, match=r"^link\.nii\.gz: a link to a file that is not there"):
        read_header(link)
    with pytest.raises(InputError, match="cannot be read"):
        read_bytes(tmp_path)
