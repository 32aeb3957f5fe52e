"""From a series on disk to maps and tracts: storage, companions, field of view, lesions that take a tract."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import shift

from mripipe.core.diffusion_denoise import Denoised
from mripipe.core.gradients import directions_to_fsl
from mripipe.core.grid import reorient
from mripipe.core.itk import affine_transform
from mripipe.core.phantom_diffusion import even_gradients
from mripipe.core.placement import Placement
from mripipe.errors import InputError
from mripipe.model.diffusion import TractMetrics
from mripipe.model.settings import DiffusionSettings
from mripipe.model.stages import NormalisedVisit, PreparedVisit, SegmentedVisit
from mripipe.model.study import Scan, Session
from mripipe.steps import diffusion_place, diffusion_prepare, tracts
from mripipe.steps.diffusion import fit_diffusion
from mripipe.steps.diffusion_series import load_series
from mripipe.steps.load import load_image, save_image
from mripipe.steps.perilesional import measure_rings
from mripipe.steps.tracts import measure_tracts, tracts_without_diffusion
from mripipe.steps.transforms import write_transform

PLAIN = DiffusionSettings(motion=False)
RAS = np.array([[3.0, 0, 0, -72.0], [0, 3.0, 0, -105.0], [0, 0, 3.0, -60.0], [0, 0, 0, 1.0]])
SHAPE = (49, 60, 50)
SURE = Placement(moved_mm=0.0, gain=-0.05, in_view=1.0, better=None)


def anatomy():
    """MNI mm of every voxel, a brain, and FA that is lower on the left."""
    points = np.argwhere(np.ones(SHAPE, bool)) @ RAS[:3, :3].T + RAS[:3, 3]
    x, y, z = points.T
    brain = (x / 68) ** 2 + ((y + 18) / 85) ** 2 + ((z - 10) / 66) ** 2 < 1
    return points, brain, np.where(x < 0, 0.7, 1.0)


def series(gradients, ratio=True):
    points, brain, share = anatomy()
    data = np.zeros((len(points), gradients.b_values.size))
    for k, (b, g) in enumerate(zip(gradients.b_values, gradients.directions, strict=True)):
        spread = 1.2e-3 * (share if ratio else 1.0)
        data[:, k] = 800 * np.exp(-b * (0.8e-3 - spread / 3 + spread * g[2] ** 2))
    return np.where(brain[:, None], data, 0.0).reshape(*SHAPE, -1)


def write(folder, codes="RAS", n=20, data=None, **changes):
    """Write a series with its companions in some storage; return its session."""
    folder.mkdir(parents=True, exist_ok=True)
    gradients = even_gradients(n)
    whole = series(gradients) if data is None else data
    stored, affine = reorient(whole, RAS, codes=codes)
    vectors = directions_to_fsl(gradients.directions, affine)
    b = changes.get("b", gradients.b_values)
    vectors = changes.get("vectors", vectors)
    path = save_image(folder / "dwi.nii.gz", stored, affine)
    bval, bvec = folder / "dwi.bval", folder / "dwi.bvec"
    bval.write_text(" ".join(f"{value:g}" for value in b) + "\n")
    bvec.write_text("\n".join(" ".join(f"{v:.7f}" for v in row) for row in vectors) + "\n")
    return Session("sub-1", "ses-a", (Scan(path, "dwi", None, bval, bvec),))


def normalised(folder, lesion=None, older=None):
    """Write a visit whose native space is MNI itself."""
    points, brain, _ = anatomy()
    picture = np.where(brain, 100.0 + points[:, 2], 0.0).reshape(SHAPE)
    mask = np.zeros(SHAPE, bool) if lesion is None else lesion
    image = save_image(folder / "t1.nii.gz", picture, RAS)
    head = save_image(folder / "brain.nii.gz", brain.reshape(SHAPE), RAS, dtype=np.uint8)
    drawn = save_image(folder / "lesion.nii.gz", mask, RAS, dtype=np.uint8)
    still = write_transform(affine_transform(np.eye(4)), folder / "still.h5")
    prepared = object.__new__(PreparedVisit)
    object.__setattr__(prepared, "preproc", image)
    object.__setattr__(prepared, "brain_mask", head)
    object.__setattr__(prepared, "reference_suffix", "T1w")
    segmented = object.__new__(SegmentedVisit)
    object.__setattr__(segmented, "prepared", prepared)
    object.__setattr__(segmented, "final_mask", drawn)
    if older is not None:
        path = save_image(folder / "older.nii.gz", older, RAS, dtype=np.uint8)
        object.__setattr__(segmented, "contralateral_mask", path)
    visit = object.__new__(NormalisedVisit)
    for name, value in (("segmented", segmented), ("to_mni", still), ("from_mni", still)):
        object.__setattr__(visit, name, value)
    object.__setattr__(visit, "mni_lesion_mask", drawn)
    return visit


@pytest.fixture(autouse=True)
def in_place(monkeypatch):
    """Leave the images where they are, and out the lesion loads, which need the template's grid."""
    monkeypatch.setattr(diffusion_place, "register_and_check", lambda *_, **__: (np.eye(4), SURE))
    monkeypatch.setattr(tracts, "_lesion_loads", lambda *_: {})


def load_4d(path):
    return np.asarray(nib.load(path).dataobj, np.float32)


def box(low, high):
    points, _, _ = anatomy()
    return np.all((points > low) & (points < high), axis=1).reshape(SHAPE)


def measured(tmp_path, codes="RAS", lesion=None, older=None, **options):
    folder = tmp_path / codes
    session = write(folder, codes, **options)
    fitted = fit_diffusion(session, settings=PLAIN, folder=folder)
    return measure_tracts(fitted, normalised(folder, lesion, older), folder=folder)


def test_what_distortion_and_eddy_currents_did_is_handed_on(tmp_path):
    session = write(tmp_path)
    fitted = fit_diffusion(session, settings=PLAIN, folder=tmp_path)
    assert (fitted.b0_distorted, fitted.eddy_mm) == (None, ())
    corrected = replace(fitted, b0_distorted=tmp_path / "before.nii.gz", eddy_mm=(0.0, 0.4))
    result = measure_tracts(corrected, normalised(tmp_path, None), folder=tmp_path)
    assert (result.b0_distorted, result.eddy_mm) == (tmp_path / "before.nii.gz", (0.0, 0.4))


def test_a_place_that_is_not_beyond_doubt_is_told(tmp_path, monkeypatch):
    assert not [line for line in measured(tmp_path / "sure").warnings if "misplaced" in line]
    doubtful = (np.eye(4), replace(SURE, gain=-0.001))
    monkeypatch.setattr(diffusion_place, "register_and_check", lambda *_, **__: doubtful)
    result = measured(tmp_path / "unsure")
    assert "diffusion may be misplaced over the T1w: another position" in result.warnings[-1]


def row(result, tract="CST", segment="whole", side="left") -> TractMetrics:
    return next(r for r in result.metrics if (r.tract, r.segment, r.side) == (tract, segment, side))


SMALL = box((-38, -30, 18), (-22, 10, 30))


def test_storage_changes_no_number_and_sides_stay(tmp_path):
    one, two, three = (measured(tmp_path, codes, SMALL) for codes in ("RAS", "LAS", "PSR"))
    for other in (two, three):
        for a, b in zip(one.metrics, other.metrics, strict=True):
            assert (a.tract, a.segment, a.side, a.hemisphere, a.status) == (
                b.tract, b.segment, b.side, b.hemisphere, b.status,
            )  # fmt: skip
            if a.fa is not None:
                assert b.fa == pytest.approx(a.fa, abs=1e-5)
        for a, b in zip(one.rings, other.rings, strict=True):
            assert (a.status, a.side, a.n_voxels) == ("ok", "left", b.n_voxels)
            assert (b.fa, b.mirror_fa) == (
                pytest.approx(a.fa, abs=1e-5),
                pytest.approx(a.mirror_fa, abs=1e-5),
            )
    left, right = row(one), row(one, side="right")
    assert (left.hemisphere, right.hemisphere) == ("ipsilesional", "contralesional")
    assert left.fa < 0.8 * right.fa
    asymmetry = next(a for a in one.asymmetry if (a.tract, a.segment) == ("CST", "whole"))
    assert asymmetry.rfa == pytest.approx(left.fa / right.fa)
    assert asymmetry.fa_asymmetry == pytest.approx((right.fa - left.fa) / (right.fa + left.fa))


def test_units_and_the_lesion_left_out(tmp_path):
    gradients = even_gradients(20)
    data = series(gradients)
    water = 900 * np.exp(-gradients.b_values * 3e-3)
    data[SMALL] = water
    result = measured(tmp_path, lesion=SMALL, data=data)
    left = row(result)
    assert left.md == pytest.approx(0.8, abs=0.02)
    assert left.md_with_lesion > left.md + 0.02
    assert left.fa_with_lesion < left.fa
    assert 0.02 < left.lesion_fraction < 0.5


def test_an_older_infarct_of_the_other_side_is_left_out_and_changes_no_side(tmp_path):
    data = series(even_gradients(20))
    older = box((22, -40, 14), (40, 15, 34))
    data[older] = 900 * np.exp(-even_gradients(20).b_values * 3e-3)
    blind = measured(tmp_path / "blind", lesion=SMALL, data=data)
    result = measured(tmp_path / "told", lesion=SMALL, older=older, data=data)
    untouched = row(measured(tmp_path / "untouched", lesion=SMALL), side="right")
    right = row(result, side="right")
    assert row(blind, side="right").fa < untouched.fa - 0.02
    assert right.fa == pytest.approx(untouched.fa, abs=0.005)
    assert (right.hemisphere, right.status) == ("contralesional", "ok")
    assert right.lesion_fraction > 0.05
    assert row(result).fa == pytest.approx(row(blind).fa, abs=1e-4)
    # What lies around the infarct is told from the infarct alone.
    assert {(ring.status, ring.side) for ring in result.rings} == {("ok", "left")}
    assert all(ring.mirror_md == pytest.approx(0.8, abs=0.03) for ring in result.rings)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_the_lesion_takes_is_compared_on_neither_side(tmp_path, sign):
    """FA differs along a tract: a lesion that takes a poor piece must not raise rFA."""
    data = series(even_gradients(20), ratio=False)
    poor = SMALL | box((22, -30, 18), (38, 10, 30))
    data[poor, 1:] = 0.5 * data[poor, 1:] + 0.5 * data[poor, 1:].mean(axis=1, keepdims=True)
    result = measured(tmp_path, lesion=SMALL if sign > 0 else box((22, -30, 18), (38, 10, 30)), data=data)
    near, far = (row(result, side=side) for side in ("left", "right")[::sign])
    pair = next(a for a in result.asymmetry if (a.tract, a.segment) == ("CST", "whole"))
    assert near.lesion_fraction > 0.02
    assert far.fa_with_lesion < far.fa - 0.02
    assert pair.rfa == pytest.approx(1.0, abs=0.01)
    assert pair.rfa == pytest.approx(near.fa / far.fa)
    assert pair.rmd == pytest.approx(1.0, abs=0.01)


def test_of_a_tract_that_crosses_only_the_lesion_itself_is_left_out(tmp_path):
    lesion, mirror = box((-25, -12, 22), (-8, 12, 50)), box((8, -12, 22), (25, 12, 50))
    both = series(even_gradients(20), ratio=False)
    both[lesion, 1:] = both[lesion, 1:].mean(axis=1, keepdims=True)
    one = both.copy()
    both[mirror, 1:] = both[mirror, 1:].mean(axis=1, keepdims=True)
    healthy, poor = (
        next(r for r in result.metrics if (r.tract, r.segment) == ("CC", "body"))
        for result in (measured(tmp_path, lesion=lesion, data=data) for data in (one, both))
    )
    assert poor.lesion_fraction > 0.1
    assert poor.fa < healthy.fa - 0.015
    assert poor.fa > poor.fa_with_lesion + 0.015


def test_a_tract_inside_the_lesion_has_no_value(tmp_path):
    result = measured(tmp_path, lesion=box((-75, -110, -60), (-1, 75, 90)))
    left = row(result)
    assert (left.status, left.fa, left.lesion_fraction) == (
        "truncated_by_lesion",
        None,
        pytest.approx(1, abs=0.1),
    )
    assert next(a for a in result.asymmetry if a.tract == "CST").status == "truncated_by_lesion"
    assert row(result, side="right").status == "ok"
    assert {(ring.status, ring.side, ring.fa) for ring in result.rings} == {("not_covered", "left", None)}


def test_a_segment_out_of_view_is_not_covered(tmp_path):
    data = series(even_gradients(20))
    data[:, :, :12] = 0.0
    pons = row(measured(tmp_path, lesion=SMALL, data=data), segment="rostral_pons")
    assert (pons.status, pons.fa) == ("not_covered", None)
    assert pons.coverage < 0.5


def test_twelve_directions_give_maps_but_no_tract(tmp_path):
    result = measured(tmp_path, lesion=SMALL, n=12)
    assert result.fa is not None
    assert (row(result).status, row(result).fa) == ("low_quality", None)
    assert "12 directions" in result.warnings[-1]


def test_without_a_lesion_no_side_is_the_lesions(tmp_path):
    result = measured(tmp_path)
    assert row(result).hemisphere is None
    assert row(result).fa is not None
    assert {a.status for a in result.asymmetry} == {"no_lesion_found"}
    assert {(ring.status, ring.fa, ring.mirror_md) for ring in result.rings} == {
        ("no_lesion_found", None, None)
    }


def test_tissue_around_the_lesion_and_its_mirror(tmp_path):
    gradients = even_gradients(20)
    data = series(gradients)
    data[SMALL] = 900 * np.exp(-gradients.b_values * 3e-3)
    # Water beside the lesion and at its mirrored place on the other side: neither may count.
    for low, high in (((-38, 10, 18), (-22, 14, 30)), ((22, -34, 18), (38, -30, 30))):
        data[box(low, high)] = data[SMALL][0]
    result = measured(tmp_path, lesion=SMALL, data=data)
    assert [(ring.inner_mm, ring.outer_mm) for ring in result.rings] == [(0, 5), (5, 10), (10, 15)]
    assert {(ring.status, ring.side) for ring in result.rings} == {("ok", "left")}
    for ring in result.rings:
        assert ring.n_voxels > 50
        # The head's FA is lower on the left; its MD is the same everywhere.
        assert ring.fa < 0.85 * ring.mirror_fa
        assert (ring.md, ring.mirror_md) == (pytest.approx(0.8, abs=0.03), pytest.approx(0.8, abs=0.03))


def test_no_tissue_around_lesions_on_both_sides():
    rings = measure_rings(None, np.ones(1), np.ones(1), "bilateral")
    assert {(ring.status, ring.side, ring.fa) for ring in rings} == {("low_quality", None, None)}


def test_profiles_mark_the_lesion(tmp_path):
    result = measured(tmp_path, lesion=SMALL)
    left, right = (
        next(p for p in result.profiles if (p.tract, p.side) == ("CST", s)) for s in ("left", "right")
    )
    assert len(left.fa) == len(left.lesion) == 100
    assert any(left.lesion)
    assert not any(right.lesion)


def test_rows_without_diffusion_are_those_of_a_measured_visit(tmp_path):
    places = [(r.tract, r.segment, r.side) for r in measured(tmp_path, lesion=SMALL).metrics]
    empty = tracts_without_diffusion("missing_input", "no bval")
    assert [(r.tract, r.segment, r.side) for r in empty.metrics] == places
    assert {r.fa for r in empty.metrics} == {None}
    assert empty.warnings == ("no bval",)


def test_derived_volumes_are_dropped_and_named(tmp_path):
    gradients = even_gradients(20)
    session = write(tmp_path)
    vectors = np.loadtxt(session.scans[0].bvec)
    vectors[:, [5, 9]] = 0.0
    found = load_series(write(tmp_path, vectors=vectors))
    assert found.data.shape[3] == found.table.b_values.size == gradients.b_values.size - 2
    assert "5, 9" in found.notes[0]


def told(scan, folder, name, **sidecar):
    path = folder / f"{name}.json"
    path.write_text(json.dumps(sidecar))
    return replace(scan, sidecar=path)


def test_runs_are_joined_on_one_scale(tmp_path):
    one = write(tmp_path / "one")
    two = write(tmp_path / "two", data=2.5 * series(even_gradients(20)))
    scans = (one.scans[0], told(two.scans[0], tmp_path, "two", PhaseEncodingDirection="j-"))
    found = load_series(replace(one, scans=scans))
    assert found.run.tolist() == [0] * 21 + [1] * 21
    np.testing.assert_allclose(found.data[..., 3], found.data[..., 24], rtol=1e-4)


def test_a_run_encoded_the_opposite_way_is_not_joined(tmp_path):
    one = write(tmp_path / "one")
    # The other run is stored the other way about: its "j" counts towards the back.
    two = write(tmp_path / "two", codes="RPS")
    scans = [
        told(session.scans[0], tmp_path, name, PhaseEncodingDirection="j")
        for session, name in ((one, "one"), (two, "two"))
    ]
    found = load_series(replace(one, scans=tuple(scans)))
    assert (found.phase_encoding, found.data.shape[3]) == ("j", 21)
    assert any("phase encoding j-, dwi.nii.gz j: distorted another way; left out" in n for n in found.notes)
    same = told(two.scans[0], tmp_path, "back", PhaseEncodingDirection="j-")
    assert load_series(replace(one, scans=(scans[0], same))).data.shape[3] == 42


def test_a_run_that_cannot_be_used_is_left_out_where_another_can(tmp_path):
    one = write(tmp_path / "one")
    bare = replace(write(tmp_path / "two").scans[0], bval=None)
    found = load_series(replace(one, scans=(bare, one.scans[0])))
    assert found.data.shape[3] == 21
    assert "no bval file; add it or leave diffusion out; this run is left out" in found.notes[0]


@pytest.mark.parametrize(
    ("codes", "sidecar", "encoding", "slices"),
    [
        ("RAS", {"PhaseEncodingDirection": "j-"}, "j-", 2),
        ("LPS", {"PhaseEncodingDirection": "j-"}, "j", 2),
        ("PSR", {"PhaseEncodingDirection": "i"}, "j-", 0),
        ("PSR", {"PhaseEncodingAxis": "j"}, "k", 0),
        ("RAS", {"PhaseEncodingDirection": "up"}, None, 2),
    ],
)
def test_phase_and_slice_axes_follow_the_storage(tmp_path, codes, sidecar, encoding, slices):
    session = write(tmp_path, codes)
    found = load_series(replace(session, scans=(told(session.scans[0], tmp_path, "side", **sidecar),)))
    assert (found.phase_encoding, found.slice_axis) == (encoding, slices)


def test_a_run_on_another_grid_is_left_out(tmp_path):
    one, two = write(tmp_path / "one"), write(tmp_path / "two")
    image = load_4d(two.scans[0].path)
    save_image(two.scans[0].path, image, RAS + 5.0 * np.eye(4, k=3))
    found = load_series(replace(one, scans=(one.scans[0], two.scans[0])))
    assert set(found.run) == {0}
    assert "another grid" in found.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, bval=None), "no bval file"),
        (lambda s: replace(s, bvec=None), "no bvec file"),
    ],
)
def test_missing_gradients_are_named(tmp_path, change, message):
    session = write(tmp_path)
    with pytest.raises(InputError, match=message):
        load_series(replace(session, scans=(change(session.scans[0]),)))


def test_unfit_series_are_refused(tmp_path):
    session = write(tmp_path)
    scan = session.scans[0]
    with pytest.raises(InputError, match="no diffusion series"):
        load_series(replace(session, scans=()))
    scan.bval.write_text("0 1000\n")
    with pytest.raises(InputError, match="1 x 21 numbers"):
        load_series(session)
    scan.bval.write_text("0 b\n")
    with pytest.raises(InputError, match="cannot be read as numbers"):
        load_series(session)
    scan.bval.write_text("1000\n")
    save_image(scan.path, np.arange(729.0).reshape(9, 9, 9), RAS)
    with pytest.raises(InputError, match="4D"):
        load_series(session)
    save_image(scan.path, np.arange(729.0).reshape(3, 3, 3, 3, 9), RAS)
    with pytest.raises(InputError, match="4D"):
        load_series(session)
    save_image(scan.path, np.ones((9, 9, 9, 2)), RAS)
    with pytest.raises(InputError, match="empty image"):
        load_series(session)


def test_a_wrong_number_of_negative_b_is_told_with_the_name(tmp_path):
    b = even_gradients(20).b_values.copy()
    b[3] = -5
    with pytest.raises(InputError, match=r"dwi.nii.gz: gradient table"):
        load_series(write(tmp_path, b=b))


def test_slices_that_fell_out_are_replaced_and_told(tmp_path):
    data = series(even_gradients(20))
    data += np.random.default_rng(1).normal(0, 4, data.shape)
    data[:, :, 20:40:2, 7] *= 0.3
    fitted = fit_diffusion(
        write(tmp_path, "ALS", data=data),
        settings=DiffusionSettings(motion=False, robust=True),
        folder=tmp_path,
    )
    assert fitted.dropped_slices == tuple((7, k) for k in range(20, 40, 2))
    assert "slices that fell out: 10, replaced" in fitted.steps
    assert "tensor: fitted robustly" in fitted.steps
    assert "10 slices in 1 volumes fell out" in fitted.warnings[-1]
    clean = fit_diffusion(write(tmp_path), settings=PLAIN, folder=tmp_path / "clean")
    one, other = (load_image(fit.fa).data for fit in (fitted, clean))
    inside = load_image(clean.fa).data > 0.2
    assert np.abs(one - other)[inside].mean() < 0.02
    assert clean.dropped_slices == ()


def test_ringing_is_removed_when_asked_for(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        diffusion_prepare, "gibbs_removal", lambda d, **kw: asked.append(kw["slice_axis"]) or d - 1.0
    )
    session = write(tmp_path, "PSR")
    found = load_series(session)
    settings = DiffusionSettings(denoise=False, motion=False, gibbs=True)
    prepared = diffusion_prepare.prepare_series(found, session, settings)
    assert asked == [0]
    assert float(prepared.data.min()) == 0.0
    assert prepared.steps[0] == "ringing beside edges removed"


def test_noise_is_removed_when_volumes_lie_over_each_other(tmp_path, monkeypatch):
    """Where the head moves, denoising before takes weak signal for noise: see docs/diffusion.md."""
    data = series(even_gradients(20))
    for k in range(1, 21):
        data[..., k] = shift(data[..., k], np.array([0.7, -0.4, 0.5]) * np.sin(k + np.arange(3)), order=3)
    session = write(tmp_path, data=np.maximum(data, 0.0))
    found = load_series(session)
    given = []
    monkeypatch.setattr(
        diffusion_prepare, "denoise", lambda d, m: given.append((d, m)) or Denoised(d + 1, 2.0)
    )
    denoised = diffusion_prepare.prepare_series(found, session, DiffusionSettings())
    plain = diffusion_prepare.prepare_series(found, session, DiffusionSettings(denoise=False))
    ((over_each_other, mask),) = given
    assert np.abs(plain.data - found.data).max() > 50.0
    np.testing.assert_array_equal(over_each_other, plain.data)
    np.testing.assert_array_equal(mask, plain.mask)
    np.testing.assert_array_equal(denoised.data, plain.data + 1)
    assert "denoised: noise of deviation 2 removed" in denoised.steps
    assert not any("denoised" in step for step in plain.steps)


def test_preparation_is_told(tmp_path):
    session = write(tmp_path)
    fitted = fit_diffusion(session, settings=DiffusionSettings(motion=False), folder=tmp_path)
    assert [step.split(" ")[0] for step in fitted.steps[:3]] == ["slices", "distortion", "denoised:"]
    assert fitted.motion == ()
    assert load_image(fitted.fa).data.max() <= 1.0
