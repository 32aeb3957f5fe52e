"""Transform files, read back with SimpleITK alone, and images carried by them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import SimpleITK as sitk

from mripipe.core.grid import Volume, reorient
from mripipe.core.itk import affine_transform, displacement_transform
from mripipe.steps.transforms import VOLATILE, resample, write_transform

MATRIX = np.array([[1.0, 0, 0, 10], [0, 2.0, 0, -20], [0, 0, 0.5, 5], [0, 0, 0, 1]])
FIELD_GRID = np.diag([4.0, 4.0, 4.0, 1.0])
FIELD_GRID[:3, 3] = (-40.0, -40.0, -40.0)


def composite() -> sitk.CompositeTransform:
    """Return x -> MATRIX (x + (1, 2, 3))."""
    field = np.zeros((21, 21, 21, 3), np.float32)
    field[...] = (1.0, 2.0, 3.0)
    return sitk.CompositeTransform([affine_transform(MATRIX), displacement_transform(field, FIELD_GRID)])


def test_reader_of_itk_maps_a_point_the_way_it_says(tmp_path):
    read = sitk.ReadTransform(str(write_transform(composite(), tmp_path / "to_mni.h5")))
    # RAS (4, 8, 12) moves to (5, 10, 15), then to (5 + 10, 20 - 20, 7.5 + 5); ITK turns the first two signs.
    assert read.TransformPoint((-4.0, -8.0, 12.0)) == pytest.approx((-15.0, 0.0, 12.5))


def test_same_bytes_twice_and_nothing_about_the_machine(tmp_path):
    first = write_transform(composite(), tmp_path / "a.h5").read_bytes()
    assert write_transform(composite(), tmp_path / "b.h5").read_bytes() == first
    with h5py.File(tmp_path / "a.h5") as file:
        assert {file[name][0] for name in VOLATILE if name in file} == {b"n/a"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_packing_costs_less_than_a_micrometre(tmp_path):
    field = np.random.default_rng(0).normal(0.0, 5.0, (21, 21, 21, 3))
    transform = displacement_transform(field, FIELD_GRID)
    path = write_transform(transform, tmp_path / "field.h5")
    assert path.stat().st_size < field.nbytes
    for point in ((1.0, 2.0, 3.0), (-30.0, 20.0, -10.0)):
        apart = np.subtract(
            sitk.ReadTransform(str(path)).TransformPoint(point), transform.TransformPoint(point)
        )
        assert np.abs(apart).max() < 1e-3


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    taken = tmp_path / "to_mni.h5"
    (taken / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_transform(composite(), taken)
    assert [path.name for path in tmp_path.iterdir()] == ["to_mni.h5"]


def ramp(codes: str) -> Volume:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = (-30.0, -30.0, -30.0)
    points = np.moveaxis(np.indices((30, 20, 15)), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return Volume(*reorient((points @ (1.0, 10.0, 100.0)).astype(np.float32), affine, codes=codes))


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PSR"])
@pytest.mark.parametrize("cubic", [False, True])
def test_image_is_read_where_the_transform_leads(codes, cubic):
    shift = np.eye(4)
    shift[:3, 3] = (3.0, -2.0, 1.0)
    grid = np.diag([5.0, 5.0, 5.0, 1.0])
    grid[:3, 3] = (-12.0, -12.0, -12.0)
    onto = Volume(np.zeros((6, 5, 4), np.float32), grid)
    found = resample(ramp(codes), onto, affine_transform(shift), cubic=cubic)
    points = np.moveaxis(np.indices((6, 5, 4)), 0, -1) * 5.0 - 12.0 + shift[:3, 3]
    np.testing.assert_allclose(found, points @ (1.0, 10.0, 100.0), atol=2.0 if cubic else 1e-2)


def test_outside_is_zero_and_a_spline_does_not_overshoot():
    image = ramp("LAS")
    edge = Volume(np.where(image.data > 0, 100.0, 0.0).astype(np.float32), image.affine)
    found = resample(edge, edge, affine_transform(np.diag([1.01, 1.01, 1.01, 1.0])), cubic=True)
    assert found.min() >= 0.0
    assert found.max() <= 100.0
    away = np.eye(4)
    away[0, 3] = 500.0
    assert not resample(edge, edge, affine_transform(away)).any()
