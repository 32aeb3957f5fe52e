"""The Python functions: images in and out, and what they refuse."""

from __future__ import annotations

import dataclasses
import gzip
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.streamlines.tck import TckFile
from nibabel.streamlines.tractogram import Tractogram

import mripipe
from mripipe import api
from mripipe.errors import InputError, RequestError
from mripipe.model.diffusion import DiffusionResult, TrackedTract, TrackedVisit, TractMetrics
from mripipe.model.results import LesionVolumes, NormalisationQuality, VisitResult
from mripipe.model.settings import DiffusionSettings, RegistrationSettings, Settings
from mripipe.model.stages import PreparedVisit, SegmentedVisit
from mripipe.model.study import Session, Subject

EYE = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
GRID = np.array([[-1.0, 0, 0, 7], [0, 0.9, -1.2, 3], [0, 0.5, 3.7, -20], [0, 0, 0, 1]])
"""Left is up along the first axis, thick slices, oblique."""


def picture(data, affine=GRID):
    return nib.Nifti1Image(np.asarray(data), affine)


def box(shape=(12, 12, 12)):
    data = np.zeros(shape, np.uint8)
    data[2:6, 3:8, 1:5] = 1
    return data


def test_importing_loads_no_numerical_library():
    code = "import mripipe, sys; print('numpy' in sys.modules, mripipe.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", mripipe.__version__]


def test_every_public_name_is_there():
    assert set(mripipe.__all__) <= set(dir(mripipe))
    for name in mripipe.__all__:
        assert getattr(mripipe, name) is not None
    with pytest.raises(AttributeError, match="'nosuch'"):
        mripipe.nosuch  # noqa: B018


def test_volume_follows_the_affine(tmp_path):
    expected = 80 * abs(np.linalg.det(GRID[:3, :3])) / 1000
    mask = picture(box())
    assert mripipe.lesion_volume(mask) == pytest.approx(expected)
    mask.to_filename(tmp_path / "mask.nii.gz")
    assert mripipe.lesion_volume(tmp_path / "mask.nii.gz") == pytest.approx(expected, rel=1e-6)
    assert mripipe.lesion_volume(str(tmp_path / "mask.nii.gz")) == pytest.approx(expected, rel=1e-6)


def test_volume_of_fractions_and_labels_and_of_nothing():
    voxel_ml = abs(np.linalg.det(GRID[:3, :3])) / 1000
    fractions = box().astype(np.float32) * 0.4
    fractions[2, 3, 1] = 0.6
    assert mripipe.lesion_volume(picture(fractions)) == pytest.approx(voxel_ml)
    labels = box() * np.uint8(3)
    labels[0, 0, 0] = 1
    assert mripipe.lesion_volume(picture(labels)) == pytest.approx(81 * voxel_ml)
    assert mripipe.lesion_volume(picture(box() * np.uint8(0))) == 0.0


def test_an_image_in_memory_stays_as_it_was():
    mask = picture(box())
    mripipe.lesion_volume(mask)
    assert mask.get_filename() is None


def test_masks_that_are_refused(tmp_path):
    whole = tmp_path / "whole.nii.gz"
    picture(np.random.default_rng(1).integers(0, 2, (12, 12, 12), np.uint8)).to_filename(whole)
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(whole.read_bytes()[:-200])
    short = tmp_path / "short.nii.gz"
    short.write_bytes(gzip.compress(gzip.decompress(whole.read_bytes())[:-50]))
    nowhere = picture(box(), None)
    with pytest.raises(InputError, match=r"^cut.nii.gz: truncated"):
        mripipe.lesion_volume(cut)
    with pytest.raises(InputError, match=r"^short.nii.gz: truncated"):
        mripipe.lesion_volume(short)
    with pytest.raises(InputError, match=r"^none.nii: no such file"):
        mripipe.lesion_volume(tmp_path / "none.nii")
    with pytest.raises(InputError, match=r"^mask.nii: no orientation"):
        mripipe.lesion_volume(nowhere)
    with pytest.raises(InputError, match=r"^mask.nii: .*4D"):
        mripipe.lesion_volume(picture(np.zeros((9, 9, 9, 2), np.uint8)))
    with pytest.raises(InputError, match="not finite"):
        mripipe.lesion_volume(picture(np.full((9, 9, 9), np.nan, np.float32)))
    with pytest.raises(RequestError, match=r"^mask: expected a path or a nibabel NIfTI image, got ndarray"):
        mripipe.lesion_volume(box())


def test_agreement_sees_through_the_order_of_the_axes():
    first = box((12, 13, 14))
    turned, affine = np.flip(first.transpose(2, 0, 1), axis=1), GRID.copy()
    affine[:3] = GRID[:3] @ np.array([[0, -1, 0, 11], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    found = mripipe.agreement(picture(first), picture(turned, affine))
    assert (found.dice, found.hd95_mm, found.volume_difference_ml) == (1.0, 0.0, pytest.approx(0.0))
    # The same arrays, the header's left and right swapped: not the same place.
    with pytest.raises(InputError, match="lies on another grid"):
        mripipe.agreement(picture(first), picture(first, np.diag([-1.0, 1, 1, 1]) @ GRID))


def test_agreement_names_the_mask_that_does_not_fit(tmp_path):
    path = tmp_path / "reader2.nii.gz"
    shifted = GRID.copy()
    shifted[2, 3] += 0.5
    picture(box(), shifted).to_filename(path)
    with pytest.raises(InputError, match=r"^reader2.nii.gz: lies on another grid than reference.nii"):
        mripipe.agreement(picture(box()), path)


def test_agreement_of_empty_masks():
    empty = picture(box() * np.uint8(0))
    assert mripipe.agreement(empty, empty).dice == 1.0
    assert mripipe.agreement(picture(box()), empty).dice == 0.0


@pytest.fixture
def steps(monkeypatch):
    """Take the place of the steps; keep what they were given."""
    seen = {"infarct_ml": 3.0}

    def save(folder: Path, name: str, value: int) -> Path:
        nib.Nifti1Image(np.full((9, 9, 9), value, np.uint8), GRID).to_filename(folder / f"{name}.nii.gz")
        return folder / f"{name}.nii.gz"

    def prepare(session, *, lesion_mask=None, folder):
        scans = [scan for scan in session.scans if scan.suffix != "dwi"]
        seen["scans"] = {scan.suffix: nib.load(scan.path).get_fdata() for scan in scans}
        seen["days"], seen["series"] = session.days_from_onset, session.scan("dwi")
        seen["mask"] = session.lesion_mask
        image, brain = save(folder, "preproc", 2), save(folder, "brain", 3)
        suffix = session.reference.suffix
        return PreparedVisit(session, suffix, image, brain, EYE, image, warnings=("from preparing",))

    def segment(prepared, *, settings, folder):
        seen["lesion_settings"] = settings
        volume, lesion = seen["infarct_ml"], save(folder, "lesion", 5)
        return SegmentedVisit(
            prepared, "auto", "left" if volume else "none", save(folder, "probability", 4),
            lesion, None, lesion, volume, volume - 1, volume + 1, 0.0, volume, None,
            lesion, lesion, lesion, ("from segmenting",),
        )  # fmt: skip

    def normalise(segmented, aligned, *, settings, folder):
        seen["registration_settings"] = settings
        return segmented

    def measure(segmented, *, atlases, folder):
        shift = sitk.TranslationTransform(3, (1.0, 2.0, 3.0))
        sitk.WriteTransform(shift, str(folder / "to.h5"))
        sitk.WriteTransform(shift.GetInverse(), str(folder / "from.h5"))
        seen["folder"] = folder
        seen["regions_of"] = [files.name for files in atlases]
        return VisitResult(
            "sub-1", "ses-1", LesionVolumes("sub-1", "ses-1", "ok", lesion_ml=3.0),
            reference_suffix=segmented.prepared.reference_suffix, preproc=segmented.prepared.preproc,
            brain_mask=segmented.prepared.brain_mask, lesion_probability=segmented.probability,
            lesion_mask=segmented.final_mask, mni_image=save(folder, "mni", 6),
            mni_lesion_mask=save(folder, "mni_lesion", 7), to_mni=folder / "to.h5",
            from_mni=folder / "from.h5", quality=NormalisationQuality(0.9, 0.5, 1.5, 0.9),
        )  # fmt: skip

    monkeypatch.setattr(api, "prepare_visit", prepare)
    monkeypatch.setattr(api, "segment_visit", segment)
    monkeypatch.setattr(api, "align_visits", lambda visits, *, settings, folder: settings)
    monkeypatch.setattr(api, "normalise_visit", normalise)
    monkeypatch.setattr(api, "measure_visit", measure)
    return seen


def test_a_session_comes_back_in_memory(steps, tmp_path):
    flair = tmp_path / "flair.nii.gz"
    picture(np.full((9, 9, 9), 20, np.int16)).to_filename(flair)
    settings = Settings(registration=RegistrationSettings(level="fast"))
    t1w = picture(np.full((9, 9, 9), 10, np.int16))
    found = mripipe.process_session(t1w, flair, lesion_mask=picture(box()), settings=settings)
    assert {name: data.flat[0] for name, data in steps["scans"].items()} == {"T1w": 10, "FLAIR": 20}
    assert steps["mask"].name == "lesion_mask.nii"
    assert steps["lesion_settings"] is settings.lesion
    assert steps["registration_settings"] is settings.registration
    assert not steps["folder"].exists()
    names = ("preproc", "brain_mask", "probability", "mask", "mni_image", "mni_mask")
    assert [int(getattr(found, name).get_fdata().mean()) for name in names] == [2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(found.mask.affine, GRID, atol=1e-6)
    assert found.to_mni.TransformPoint((0.0, 0.0, 0.0)) == (1.0, 2.0, 3.0)
    assert found.from_mni.TransformPoint((1.0, 2.0, 3.0)) == (0.0, 0.0, 0.0)
    assert found.volumes.lesion_ml == 3.0
    assert (found.coregistered, found.to_reference) == ({}, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.mask = None


@pytest.fixture
def diffusion(monkeypatch, tmp_path):
    """Take the place of the diffusion steps; give a series' path and keep what they were given."""
    seen = {"path": tmp_path / "sub_dwi.nii.gz"}
    for name in ("sub_dwi.nii.gz", "sub_dwi.bval", "sub_dwi.bvec"):
        (tmp_path / name).write_text("0")

    def fit(session, *, settings, folder):
        seen.update(session=session, settings=settings)
        return "fitted"

    def measure(fitted, normalised, *, atlases, folder):
        seen.update(fitted=fitted, normalised=normalised, atlases=atlases)
        names = ("b0", "fa", "md", "ad", "rd", "direction")
        files = {name: folder / f"{name}.nii.gz" for name in names}
        for number, path in enumerate(files.values()):
            picture(np.full((9, 9, 9), number, np.uint8)).to_filename(path)
        sitk.WriteTransform(sitk.TranslationTransform(3, (4.0, 5.0, 6.0)), str(folder / "way.h5"))
        return DiffusionResult(
            "ok", (TractMetrics("CST", "whole", "ok", fa=0.4),), to_reference=folder / "way.h5",
            steps=("denoised",), warnings=("from diffusion",), **files,
        )  # fmt: skip

    def track(fitted, tracts, normalised, *, folder):
        seen.update(tracked=(fitted, tracts.status, normalised))
        lines = Tractogram([np.eye(3, dtype=np.float32) * 7], affine_to_rasmm=np.eye(4))
        TckFile(lines).save(folder / "a.tck")
        picture(np.full((9, 9, 9), 6, np.uint8)).to_filename(folder / "a.nii.gz")
        files = {"streamlines": folder / "a.tck", "density": folder / "a.nii.gz"}
        sides = (
            TrackedTract("CST", "left", "truncated_by_lesion", 4),
            TrackedTract("CST", "right", "ok", 1, **files),
        )
        return TrackedVisit(sides, (TractMetrics("CST_tracked", "whole", "ok", fa=0.3),), (), "followed")

    monkeypatch.setattr(api, "fit_diffusion", fit)
    monkeypatch.setattr(api, "measure_tracts", measure)
    monkeypatch.setattr(api, "track_visit", track)
    return seen


def test_a_session_with_diffusion(steps, diffusion):
    t1w = picture(np.full((9, 9, 9), 10, np.int16))
    settings = Settings(diffusion=DiffusionSettings(motion=False))
    found = mripipe.process_session(t1w, dwi=str(diffusion["path"]), settings=settings)
    (scan,) = diffusion["session"].scans
    assert (scan.suffix, scan.path, scan.sidecar) == ("dwi", diffusion["path"], None)
    assert (scan.bval.name, scan.bvec.name) == ("sub_dwi.bval", "sub_dwi.bvec")
    assert (set(steps["scans"]), steps["series"]) == ({"T1w"}, scan)
    assert (diffusion["settings"], diffusion["fitted"]) == (settings.diffusion, "fitted")
    assert diffusion["normalised"].final_mask.name == "lesion.nii.gz"
    maps = found.diffusion
    images = (maps.b0, maps.fa, maps.md, maps.ad, maps.rd, maps.direction)
    assert [int(image.get_fdata().mean()) for image in images] == [0, 1, 2, 3, 4, 5]
    assert [row.fa for row in maps.metrics] == [0.4, 0.3]
    assert diffusion["tracked"] == ("fitted", "ok", diffusion["normalised"])
    left, right = (maps.tracked["CST", side] for side in ("left", "right"))
    assert (left.status, left.n_streamlines, left.density) == ("truncated_by_lesion", 4, None)
    assert len(left.streamlines.streamlines) == 0
    assert right.streamlines.streamlines[0].max() == 7.0
    assert int(right.density.get_fdata().mean()) == 6
    assert maps.steps == ("denoised", "followed")
    assert maps.to_reference.TransformPoint((0.0, 0.0, 0.0)) == (4.0, 5.0, 6.0)
    assert found.warnings == ("from diffusion",)


def test_a_session_with_field_maps(steps, diffusion, tmp_path):
    t1w = picture(np.full((9, 9, 9), 10, np.int16))
    for name in ("a_dir-PA_epi.nii.gz", "a_dir-PA_epi.json", "b_fieldmap.nii", "c_bold.nii"):
        (tmp_path / name).write_text("0")
    epi = tmp_path / "a_dir-PA_epi.nii.gz"
    mripipe.process_session(t1w, dwi=diffusion["path"], fmap=[epi])
    series, scan = diffusion["session"].scans
    assert (series.suffix, scan.suffix, scan.path) == ("dwi", "epi", epi)
    assert scan.sidecar.name == "a_dir-PA_epi.json"
    del steps["scans"]
    with pytest.raises(RequestError, match=r"^c_bold.nii: expected a name that ends in _epi or _fieldmap"):
        mripipe.process_session(t1w, dwi=diffusion["path"], fmap=[tmp_path / "c_bold.nii"])
    with pytest.raises(RequestError, match=r"^fmap: expected paths with .json beside them, got Nifti1Image"):
        mripipe.process_session(t1w, dwi=diffusion["path"], fmap=[t1w])
    with pytest.raises(InputError, match=r"^b_fieldmap.json: no such file"):
        mripipe.process_session(t1w, dwi=diffusion["path"], fmap=[tmp_path / "b_fieldmap.nii"])
    assert "scans" not in steps


def test_a_session_without_diffusion(steps, diffusion):
    t1w = picture(np.full((9, 9, 9), 10, np.int16))
    assert mripipe.process_session(t1w).diffusion is None
    skip = Settings(diffusion=DiffusionSettings(skip=True))
    assert mripipe.process_session(t1w, dwi=diffusion["path"], settings=skip).diffusion is None
    assert "session" not in diffusion
    assert steps["series"] is None
    # Regions of an atlas are the infarct's too, and need no diffusion.
    assert steps["regions_of"] == []
    mripipe.process_session(
        t1w, settings=Settings(diffusion=DiffusionSettings(atlases=("arterial_territories",)))
    )
    assert steps["regions_of"] == ["arterial_territories"]


def test_a_series_without_its_gradients_is_refused_before_the_work(steps, diffusion):
    t1w = picture(np.full((9, 9, 9), 10, np.int16))
    with pytest.raises(RequestError, match=r"^dwi: expected a path .* got Nifti1Image"):
        mripipe.process_session(t1w, dwi=t1w)
    diffusion["path"].with_name("sub_dwi.bvec").unlink()
    with pytest.raises(InputError, match=r"^sub_dwi.bvec: no such file"):
        mripipe.process_session(t1w, dwi=diffusion["path"])
    with pytest.raises(InputError, match=r"^none.nii: no such file"):
        mripipe.process_session(t1w, dwi="none.nii")
    assert "scans" not in steps


def test_a_session_without_t1w(steps):
    t2w, flair = (picture(np.full((9, 9, 9), value, np.int16)) for value in (1, 2))
    assert mripipe.process_session(t2w=t2w, flair=flair).reference_suffix == "T2w"
    assert mripipe.process_session(flair=flair).reference_suffix == "FLAIR"


def test_acute_images_reach_the_search_for_the_infarct(steps):
    t1w, trace, adc = (picture(np.full((9, 9, 9), value, np.int16)) for value in (1, 2, 3))
    mripipe.segment_lesion(t1w, trace=trace, adc=adc, days_from_onset=3)
    assert {name: data.flat[0] for name, data in steps["scans"].items()} == {"T1w": 1, "trace": 2, "ADC": 3}
    assert steps["days"] == 3
    with pytest.raises(RequestError, match="a T1w, T2w or FLAIR is needed"):
        mripipe.segment_lesion(trace=trace, adc=adc)


def test_segmenting_gives_the_infarct_with_an_interval(steps):
    found = mripipe.segment_lesion(picture(np.full((9, 9, 9), 10, np.int16)))
    assert (found.status, found.volume_ml, found.side, found.source) == ("ok", 3.0, "left", "auto")
    assert found.interval == (2.0, 4.0)
    assert found.interval.upper_ml == 4.0
    assert found.warnings == ("from preparing", "from segmenting")
    assert found.mask.get_fdata().mean() == 5.0
    assert found.probability.get_fdata().mean() == 4.0


def test_no_infarct_is_no_volume_rather_than_0(steps):
    steps["infarct_ml"] = 0.0
    found = mripipe.segment_lesion(picture(np.full((9, 9, 9), 10, np.int16)))
    assert (found.status, found.volume_ml, found.interval, found.side) == (
        "no_lesion_found",
        None,
        None,
        "none",
    )


@pytest.mark.parametrize("function", [mripipe.process_session, mripipe.segment_lesion])
def test_unfit_images_are_named(function, tmp_path):
    with pytest.raises(RequestError, match="no image given"):
        function()
    with pytest.raises(InputError, match=r"^T1w.nii: every voxel is 0"):
        function(picture(np.zeros((9, 9, 9), np.int16)))
    with pytest.raises(InputError, match=r"^there.nii.gz: no such file"):
        function(tmp_path / "there.nii.gz")
    with pytest.raises(RequestError, match=r"^T1w: expected a path .* got ndarray"):
        function(np.zeros((9, 9, 9)))


def test_a_subject_is_published_from_the_study_it_was_read_from(tmp_path):
    anat = tmp_path / "bids" / "sub-1" / "ses-a" / "anat"
    anat.mkdir(parents=True)
    picture(np.ones((9, 9, 9, 2), np.int16), np.eye(4)).to_filename(anat / "sub-1_ses-a_T1w.nii")
    (anat / "sub-1_ses-a_FLAIR.nii.gz").write_bytes(b"nothing")
    study = mripipe.read_study(tmp_path / "bids")
    result = mripipe.process_subject(study.subject("1"), tmp_path / "out", nprocs=1)
    assert result.participant_id == "sub-1"
    assert [visit.volumes.status for visit in result.visits] == ["failed"]
    assert "sub-1_ses-a_FLAIR.nii.gz" in result.visits[0].error
    assert result.report == tmp_path / "out" / "sub-1.html"
    assert "failed" in (tmp_path / "out" / "lesion_volumes.tsv").read_text()


def test_a_subject_s_options_reach_the_run(tmp_path, monkeypatch):
    calls = []

    def fake(study, out_dir, **options):
        calls.append((study, out_dir, options))
        return type("Outcome", (), {"subjects": ("result",)})

    monkeypatch.setattr("mripipe.workflows.run.run_participants", fake)
    anat = tmp_path / "bids" / "sub-1" / "ses-a" / "anat"
    anat.mkdir(parents=True)
    picture(np.ones((9, 9, 9), np.int16), np.eye(4)).to_filename(anat / "sub-1_ses-a_T1w.nii")
    subject = mripipe.read_study(tmp_path / "bids").subject("1")
    settings = Settings(registration=RegistrationSettings(level="fast"))
    assert mripipe.process_subject(subject, tmp_path / "o", settings=settings, nprocs=3) == "result"
    mripipe.process_subject(subject, str(tmp_path / "o"), work_dir=tmp_path / "w")
    (study, out_dir, first), (_, _, second) = calls
    assert (study.root, study.subjects, out_dir) == (tmp_path / "bids", (subject,), tmp_path / "o")
    assert (first["work_dir"], first["settings"]) == (tmp_path / "o" / "work", settings)
    assert first["execution"].nprocs == 3
    assert (second["work_dir"], second["settings"]) == (tmp_path / "w", Settings())


def test_a_subject_without_images_cannot_be_placed(tmp_path):
    with pytest.raises(RequestError, match=r"^sub-1: no visit has an image"):
        mripipe.process_subject(Subject("sub-1", (Session("sub-1", "ses-a"),)), tmp_path / "out")
