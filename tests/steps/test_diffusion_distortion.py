"""From the files of a visit to an undistorted series: what is used, what is refused, and what is told."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from mripipe.core.diffusion_distortion import FoundField
from mripipe.core.gradients import directions_to_fsl
from mripipe.core.grid import Volume, reorient
from mripipe.core.phantom_diffusion import Gradients, even_gradients
from mripipe.model.settings import DiffusionSettings
from mripipe.model.study import Scan, Session
from mripipe.steps import diffusion_distortion
from mripipe.steps.diffusion import fit_diffusion
from mripipe.steps.diffusion_distortion import find_distortion
from mripipe.steps.diffusion_prepare import prepare_series
from mripipe.steps.diffusion_series import load_series
from mripipe.steps.load import load_image, save_image

SHAPE = (32, 38, 24)
RAS = np.array([[3.0, 0, 0, -46.5], [0, 3.0, 0, -55.5], [0, 0, 4.0, -46.0], [0, 0, 0, 1.0]])
BARE = DiffusionSettings(denoise=False, outliers=False, motion=False)
READOUT = 0.05


def grid():
    return np.moveaxis(np.indices(SHAPE), 0, -1).reshape(-1, 3) @ RAS[:3, :3].T + RAS[:3, 3]


def hertz(points):
    """Field in Hz at RAS mm: 45 Hz for 0.05 s and voxels of 3 mm are 6.8 mm."""
    return 45 * np.exp(-((points - [5.0, 24, -10]) ** 2).sum(axis=1) / (2 * 15.0**2))


def head(points):
    x, y, z = points.T
    radius = np.sqrt((x / 38) ** 2 + (y / 44) ** 2 + (z / 40) ** 2)
    spots = np.zeros(len(points))
    for centre in np.random.default_rng(3).uniform(-32, 32, (50, 3)):
        spots = np.maximum(spots, np.exp(-((points - centre) ** 2).sum(axis=1) / 36))
    return (600 + 700 * spots) / (1 + np.exp((radius - 1) * 14))


def shown(way, readout=READOUT):
    """Displace the head along y by the field: hertz times readout time, in voxels."""
    scale = way * readout * 3.0
    points = grid()
    for _ in range(60):
        points = grid() - [0, 1, 0] * (scale * hertz(points))[:, None]
    step = np.array([0, 0.05, 0])
    slope = scale * (hertz(points + step) - hertz(points - step)) / 0.1
    return head(points) / (1 + slope)


def series(way, gradients, noise=5.0):
    plain = shown(way)
    decay = np.exp(-gradients.b_values * (0.6e-3 + 0.6e-3 * gradients.directions[:, 0] ** 2))
    data = (plain[:, None] * decay).reshape(*SHAPE, -1)
    return data + np.random.default_rng(1).normal(0, noise, data.shape)


def run(folder, name, data, gradients, codes="RAS", bvec=True, **sidecar):
    """Write a run in some storage."""
    stored, affine = reorient(data, RAS, codes=codes)
    path = save_image(folder / f"{name}.nii.gz", stored, affine)
    files = {kind: folder / f"{name}.{kind}" for kind in ("json", "bval", "bvec")}
    files["json"].write_text(json.dumps(sidecar))
    files["bval"].write_text(" ".join(f"{b:g}" for b in gradients.b_values))
    rows = directions_to_fsl(gradients.directions, affine)
    if bvec:
        files["bvec"].write_text("\n".join(" ".join(f"{v:.6f}" for v in row) for row in rows))
    return Scan(path, "dwi", files["json"], files["bval"], files["bvec"] if bvec else None)


def fmap(folder, name, suffix, data=None, affine=RAS, **sidecar):
    path = save_image(folder / f"{name}.nii.gz", np.ones(SHAPE) if data is None else data, affine)
    side = folder / f"{name}.json"
    side.write_text(json.dumps(sidecar))
    return Scan(path, suffix, side)


AP = {"PhaseEncodingDirection": "j-", "TotalReadoutTime": READOUT}
PA = {"PhaseEncodingDirection": "j", "TotalReadoutTime": READOUT}


@pytest.fixture
def visit(tmp_path):
    """Give a visit of one run, encoded towards the back, without noise that would be looked at."""
    gradients = even_gradients(12)
    scan = run(tmp_path, "sub-1_ses-a_dir-AP_dwi", series(-1, gradients), gradients, **AP)
    return Session("sub-1", "ses-a", (scan,))


def b0_error(path):
    """How far an image is from the undistorted head, of the head's signal."""
    truth = head(grid()).reshape(SHAPE)
    return float(np.abs(load_image(path).data - truth)[truth > 300].mean() / 600)


def added(visit, *scans):
    return replace(visit, scans=(*visit.scans, *scans))


def test_a_reversed_run_without_gradients_undoes_distortion(visit, tmp_path):
    # As converters write it: one volume, no bvec, and here stored another way about.
    one = Gradients(np.zeros(1), np.zeros((1, 3)))
    plain = series(1, one)[..., 0]
    other = run(tmp_path, "sub-1_ses-a_dir-PA_dwi", plain, one, "LPS", bvec=False, **(PA | {
        "PhaseEncodingDirection": "j-"}))  # fmt: skip
    fitted = fit_diffusion(added(visit, other), settings=BARE, folder=tmp_path)
    assert b0_error(fitted.b0) < 0.4 * b0_error(fitted.b0_distorted)
    assert fitted.distorted_along is None
    told = next(step for step in fitted.steps if "distortion" in step)
    assert told.startswith("distortion by the field undone with runs of opposite phase encoding")
    assert nib.load(fitted.series).shape[3] == 14
    # Distortion displaces; it turns nothing.
    np.testing.assert_array_equal(np.loadtxt(fitted.bvec)[:, :13], np.loadtxt(visit.scans[0].bvec))
    left = fit_diffusion(added(visit, other), settings=replace(BARE, distortion="none"), folder=tmp_path)
    assert left.b0_distorted is None
    assert nib.load(left.series).shape[3] == 13
    assert "distortion by the field: left as it is" in left.steps
    assert any("left out" in warning for warning in left.warnings)


@pytest.mark.parametrize(
    ("way", "setting", "preprocessed", "wanted"),
    [
        ("j-", "auto", False, 1),
        ("i", "auto", False, 0),
        (None, "auto", False, None),
        ("j-", "none", False, None),
        ("j-", "auto", True, None),
    ],
    ids=["j", "i", "not told", "not wanted", "preprocessed"],
)
def test_what_is_left_of_the_field_may_be_sought_in_the_anatomy(tmp_path, way, setting, preprocessed, wanted):
    told = {} if way is None else AP | {"PhaseEncodingDirection": way}
    gradients = even_gradients(12)
    scan = run(tmp_path, "sub-1_ses-a_dwi", series(-1, gradients), gradients, **told)
    session = Session("sub-1", "ses-a", (replace(scan, preprocessed=preprocessed),))
    fitted = fit_diffusion(session, settings=replace(BARE, distortion=setting), folder=tmp_path)
    assert fitted.distorted_along == wanted


def test_the_axis_is_that_of_the_axes_as_they_are_kept(tmp_path):
    """The second axis of what is stored PRS is the first of RAS."""
    gradients = even_gradients(12)
    scan = run(tmp_path, "sub-1_ses-a_dwi", series(-1, gradients), gradients, "PRS", **AP)
    fitted = fit_diffusion(Session("sub-1", "ses-a", (scan,)), settings=BARE, folder=tmp_path)
    assert fitted.distorted_along == 0


def test_two_whole_runs_are_unwarped_and_joined(visit, tmp_path):
    gradients = even_gradients(10)
    other = run(tmp_path, "sub-1_ses-a_dir-PA_dwi", series(1, gradients), gradients, **PA)
    found = prepare_series(
        load_series(added(visit, other), with_opposite=True),
        added(visit, other),
        DiffusionSettings(outliers=False),
    )
    assert found.data.shape[3] == 24
    truth = head(grid()).reshape(SHAPE) > 300
    # The volumes at b = 0 of both.
    one, two = found.data[..., 0][truth], found.data[..., 13][truth]
    assert np.abs(one - two).mean() < 0.05 * one.mean()
    assert len(found.motion) == len(found.eddy_mm) == 24
    # A still head; along y the runs' displacement is the field's.
    assert np.abs(np.array(found.motion)).max() < 0.6
    assert max(found.eddy_mm) < 0.5
    assert any(step.startswith("eddy currents corrected: at most 0.") for step in found.steps)


def test_a_field_map_in_hertz_is_enough(visit, tmp_path):
    affine = np.diag([-4.0, 4, 4, 1])
    affine[:3, 3] = [62, -60, -60]
    shape = (32, 31, 31)
    points = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3) @ affine[:3, :3].T + affine[:3, 3]
    for units, factor in (("Hz", 1.0), ("rad/s", 2 * np.pi)):
        values = (factor * hertz(points)).reshape(shape)
        scan = fmap(tmp_path, f"sub-1_ses-a_acq-{units[0]}_fieldmap", "fieldmap", values, affine, Units=units)
        fitted = fit_diffusion(added(visit, scan), settings=BARE, folder=tmp_path)
        assert b0_error(fitted.b0) < 0.4 * b0_error(fitted.b0_distorted)
        assert any(f"undone with {scan.path.name} (field map)" in step for step in fitted.steps)


def test_a_reversed_image_of_the_fmap_folder_is_used(visit, tmp_path):
    scan = fmap(
        tmp_path, "sub-1_ses-a_dir-PA_epi", "epi", np.stack([shown(1).reshape(SHAPE)] * 2, -1),
        PhaseEncodingDirection="j", IntendedFor="ses-a/dwi/sub-1_ses-a_dir-AP_dwi.nii.gz",
    )  # fmt: skip
    fitted = fit_diffusion(added(visit, scan), settings=BARE, folder=tmp_path)
    assert b0_error(fitted.b0) < 0.4 * b0_error(fitted.b0_distorted)
    assert any("dir-PA_epi.nii.gz: no TotalReadoutTime" in warning for warning in fitted.warnings)


def look(visit, monkeypatch, *scans, changes=None):
    """Return what is found of the field, and the pair that was compared."""
    asked = []
    monkeypatch.setattr(
        diffusion_distortion,
        "estimate_field",
        lambda pair: asked.append(pair) or FoundField(np.zeros(SHAPE, np.float32), np.eye(4)),
    )
    whole = added(visit, *scans)
    found = load_series(whole)
    plain = Volume(found.data[..., 0], found.affine)
    return find_distortion(replace(found, **(changes or {})), whole, plain, None), asked


@pytest.mark.parametrize(
    ("suffix", "sidecar", "changes", "message"),
    [
        ("epi", {}, {}, "no PhaseEncodingDirection in its sidecar"),
        ("epi", {"PhaseEncodingDirection": "j-"}, {}, "phase encoding j-, expected the opposite of j-"),
        ("epi", {"PhaseEncodingDirection": "i"}, {}, "phase encoding i, expected the opposite"),
        ("epi", PA | {"IntendedFor": ["ses-a/func/bold.nii.gz"]}, {}, "intended for other images"),
        ("fieldmap", {"Units": "T"}, {}, "expected Units of Hz or rad/s, found 'T'"),
        ("fieldmap", {"Units": 3}, {}, "expected Units of Hz or rad/s, found 3"),
        ("fieldmap", {"Units": "Hz"}, {"readout_s": None}, "needs the series' TotalReadoutTime"),
        ("fieldmap", {"Units": "Hz"}, {"way_told": False}, "needs the series' PhaseEncodingDirection"),
        ("phasediff", {}, {}, "a phase difference is not used; give a field map in Hz"),
    ],
)
def test_what_cannot_be_used_is_named(visit, tmp_path, monkeypatch, suffix, sidecar, changes, message):
    name = f"sub-1_ses-a_dir-PA_{suffix}"
    data = np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE)
    scan = fmap(tmp_path, name, suffix, data, **sidecar)
    found, asked = look(visit, monkeypatch, scan, changes=changes)
    assert (found.warp, asked) == (None, [])
    assert message in found.notes[0]
    assert found.notes[0].startswith(f"{name}.nii.gz: ")
    assert found.told == "distortion by the field: not corrected, no reversed image or field map"


def test_without_a_phase_encoding_nothing_is_done(visit, monkeypatch):
    found, _ = look(visit, monkeypatch, changes={"phase_encoding": None})
    assert found.told == "distortion by the field: not corrected, no sidecar tells the series' phase encoding"


def test_what_is_meant_for_the_series_comes_first_and_readouts_are_compared(visit, tmp_path, monkeypatch):
    data = np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE)
    visit.scans[0].sidecar.write_text(json.dumps(AP | {"B0FieldSource": "pepolar1"}))
    near = fmap(tmp_path, "sub-1_ses-a_acq-a_dir-PA_epi", "epi", data, **PA)
    meant = fmap(
        tmp_path, "sub-1_ses-a_acq-b_dir-PA_epi", "epi", data, **PA | {
            "B0FieldIdentifier": ["pepolar1"], "TotalReadoutTime": 0.03},
    )  # fmt: skip
    # Images of the same direction and for other series lie in the same folder: nobody is warned of them.
    same = fmap(tmp_path, "sub-1_ses-a_acq-0_dir-AP_epi", "epi", data, **AP)
    other = fmap(tmp_path, "sub-1_ses-a_acq-0_dir-PA_epi", "epi", data, **PA | {"IntendedFor": "x.nii.gz"})
    found, asked = look(visit, monkeypatch, same, other, near, meant)
    assert "acq-b" in found.told
    assert found.notes == ()
    assert asked[0].ratio == pytest.approx(0.6)
    assert (asked[0].axis, asked[0].second_axis) == (1, 1)


def test_labels_tell_the_way_where_only_the_axis_is_told(visit, tmp_path, monkeypatch):
    # Philips tells no more than the axis.
    data = np.arange(np.prod(SHAPE), dtype=float).reshape(SHAPE)
    visit.scans[0].sidecar.write_text('{"PhaseEncodingAxis": "j"}')
    for label, used in (("PA", 1), ("AP", 0)):
        scan = fmap(tmp_path, f"sub-1_ses-a_dir-{label}_epi", "epi", data, PhaseEncodingAxis="j")
        assert len(look(visit, monkeypatch, scan)[1]) == used


def test_a_preprocessed_series_is_taken_as_it_is(visit, tmp_path):
    done = replace(visit.scans[0], preprocessed=True)
    scan = fmap(tmp_path, "sub-1_ses-a_dir-PA_epi", "epi", shown(1).reshape(SHAPE), **PA)
    whole = replace(visit, scans=(done, scan, replace(visit.scans[0], bvec=None)))
    loaded = load_series(whole, with_opposite=True)
    found = prepare_series(loaded, whole, DiffusionSettings())
    np.testing.assert_array_equal(found.data, loaded.data)
    assert found.steps[0] == "already preprocessed by another program, taken as it is"
    assert len(found.steps) == 2
    assert (found.motion, found.eddy_mm, found.distorted) == ((), (), None)
