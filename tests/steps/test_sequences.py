"""What a visit has beside its reference image."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.grid import Volume
from mripipe.errors import InputError
from mripipe.model.study import Scan, Session
from mripipe.steps.load import save_image
from mripipe.steps.sequences import _in_adc_unit, read_beside

AFFINE = np.diag([-2.0, 2.0, 2.5, 1.0])
SHAPE = (10, 11, 12)


def picture(path, data=None):
    noise = np.random.default_rng(1).uniform(1.0, 2.0, SHAPE)
    return save_image(path, noise if data is None else data, AFFINE)


def series(folder, b=(0, 1000, 1000, 1000)):
    decay = np.exp(-0.0008 * np.array(b))
    signal = 500.0 * np.random.default_rng(2).uniform(0.9, 1.1, SHAPE)[..., None] * decay
    path = save_image(folder / "x_dwi.nii.gz", signal, AFFINE)
    (folder / "x_dwi.bval").write_text(" ".join(map(str, b)))
    rows = np.concatenate([np.zeros((3, 1)), np.eye(3)], axis=1)
    (folder / "x_dwi.bvec").write_text("\n".join(" ".join(map(str, row)) for row in rows))
    return Scan(path, "dwi", None, folder / "x_dwi.bval", folder / "x_dwi.bvec")


def visit(folder, *scans):
    return Session("sub-1", "ses-a", (Scan(picture(folder / "T1w.nii.gz"), "T1w"), *scans))


def test_every_sequence_is_read_and_the_reference_is_not_beside_itself(tmp_path):
    scans = [Scan(picture(tmp_path / f"{suffix}.nii.gz"), suffix) for suffix in ("FLAIR", "T2w")]
    found, warnings = read_beside(visit(tmp_path, *scans, series(tmp_path)))
    assert [scan.suffix for scan in found] == ["FLAIR", "T2w", "dwi"]
    assert [name for name, _ in found[2].images] == ["trace", "ADC"]
    assert warnings == ()
    adc = dict(found[2].images)["ADC"]
    assert adc.data == pytest.approx(np.full(SHAPE, 0.8), rel=1e-4)
    alone = Session("sub-1", "ses-a", (scans[0],))
    assert read_beside(alone) == ((), ())


def test_maps_of_the_scanner_go_before_the_series(tmp_path):
    maps = [Scan(picture(tmp_path / f"{suffix}.nii.gz"), suffix) for suffix in ("trace", "ADC")]
    ((found,), _) = read_beside(visit(tmp_path, *maps, series(tmp_path)))
    assert found.name == "trace.nii.gz"
    assert [name for name, _ in found.images] == ["trace", "ADC"]


def test_a_series_that_cannot_be_used_is_told_and_stops_nothing(tmp_path):
    scan = series(tmp_path)
    scan.bval.write_text("1000 1000 1000 1000")
    found, (warning,) = read_beside(visit(tmp_path, scan))
    assert found == ()
    assert warning.startswith("diffusion is not used to find the infarct: ")


def test_an_unfit_flair_stops_the_visit(tmp_path):
    empty = Scan(picture(tmp_path / "FLAIR.nii.gz", np.zeros(SHAPE)), "FLAIR")
    with pytest.raises(InputError, match=r"FLAIR\.nii\.gz: every voxel is 0"):
        read_beside(visit(tmp_path, empty))


@pytest.mark.parametrize("unit", [1e-3, 1.0, 10.0, 1e3])
def test_the_unit_of_an_adc_map_is_told_by_its_values(unit):
    rng = np.random.default_rng(4)
    truth = np.where(rng.uniform(size=SHAPE) < 0.2, 3.0, rng.normal(0.82, 0.1, SHAPE)).astype(np.float32)
    truth[:2] = 0.0
    found = _in_adc_unit(Volume((truth * unit).astype(np.float32), AFFINE))
    np.testing.assert_allclose(found.data, truth, rtol=1e-5)
