"""Files are read for display; transforms keep their direction."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from mripipe.core.grid import Volume, voxel_to_world
from mripipe.errors import InputError
from mripipe.reports.images import move_to_reference, read_linear_transform, read_volume

LAS = np.array([[-2.0, 0, 0, 40], [0, 2, 0, -40], [0, 0, 5, -30], [0, 0, 0, 1]])


def rigid() -> SimpleITK.Euler3DTransform:
    transform = SimpleITK.Euler3DTransform()
    transform.SetCenter((5.0, -3.0, 8.0))
    transform.SetRotation(0.2, -0.1, 0.3)
    transform.SetTranslation((7.0, -4.0, 2.5))
    return transform


def test_read_volume_keeps_order_and_affine(tmp_path):
    data = np.arange(8 * 9 * 10, dtype=np.float32).reshape(8, 9, 10)
    data[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(data[..., None], LAS), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.data[0, 0, 0] == 0
    np.testing.assert_array_equal(volume.data[1:], data[1:])
    np.testing.assert_allclose(volume.affine, LAS)


def test_read_volume_refuses_what_is_no_image(tmp_path):
    (tmp_path / "text.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"^text\.nii\.gz: cannot be read"):
        read_volume(tmp_path / "text.nii.gz")
    with pytest.raises(InputError, match=r"^gone\.nii: cannot be read"):
        read_volume(tmp_path / "gone.nii")


def test_read_volume_refuses_a_surface(tmp_path):
    nib.save(nib.gifti.GiftiImage(), tmp_path / "surface.gii")
    with pytest.raises(InputError, match=r"^surface\.gii: cannot be read for the report \(ImageFileError\)"):
        read_volume(tmp_path / "surface.gii")


def test_read_volume_refuses_a_truncated_file(tmp_path):
    path = tmp_path / "cut.nii.gz"
    noise = np.random.default_rng(1).normal(size=(20, 20, 20)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, LAS), path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(InputError, match=r"^cut\.nii\.gz: cannot be read"):
        read_volume(path)


def test_read_volume_refuses_a_series(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), LAS), tmp_path / "series.nii")
    with pytest.raises(InputError, match=r"^series\.nii: expected a 3D image .* found shape \(4, 4, 4, 3\)"):
        read_volume(tmp_path / "series.nii")


def test_read_volume_refuses_a_flat_grid(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), LAS)
    image.header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    image.header.set_qform(None, code=0)
    (tmp_path / "flat.nii").write_bytes(image.header.binaryblock + bytes(4) + bytes(4 * 64))
    with pytest.raises(InputError, match=r"^flat\.nii: "):
        read_volume(tmp_path / "flat.nii")


@pytest.mark.parametrize("wrapped", [False, True])
def test_linear_transform_maps_ras_points_as_itk_maps_lps_points(tmp_path, wrapped):
    transform = SimpleITK.CompositeTransform([rigid(), rigid()]) if wrapped else rigid()
    SimpleITK.WriteTransform(transform, str(tmp_path / "x.h5"))
    matrix = read_linear_transform(tmp_path / "x.h5")
    for point in ((0.0, 0.0, 0.0), (12.0, -33.0, 51.0)):
        x, y, z = transform.TransformPoint((-point[0], -point[1], point[2]))
        np.testing.assert_allclose((matrix @ [*point, 1])[:3], (-x, -y, z), atol=1e-6)


def test_deformable_transform_is_refused(tmp_path):
    field = SimpleITK.Image([6, 6, 6], SimpleITK.sitkVectorFloat64)
    SimpleITK.WriteTransform(SimpleITK.DisplacementFieldTransform(field), str(tmp_path / "warp.h5"))
    with pytest.raises(InputError, match=r"^warp\.h5: expected a rigid or affine transform"):
        read_linear_transform(tmp_path / "warp.h5")


def test_unreadable_transform_is_refused(tmp_path):
    (tmp_path / "x.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"^x\.txt: cannot be read as an ITK transform"):
        read_linear_transform(tmp_path / "x.txt")


def test_moved_volume_lies_where_the_transform_puts_it():
    """What lies at the transform's image of a reference point is shown at that reference point."""
    matrix = np.eye(4)
    matrix[:3, 3] = (10.0, -4.0, 2.0)
    matrix[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    volume = Volume(np.zeros((8, 9, 10), np.float32), LAS)
    reference_point = np.array([3.0, 7.0, -11.0])
    voxel = np.linalg.inv(LAS) @ matrix @ [*reference_point, 1]
    moved = move_to_reference(volume, matrix)
    np.testing.assert_allclose(voxel_to_world(voxel[:3], moved.affine), reference_point)
