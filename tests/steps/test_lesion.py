"""Infarct of a visit: an expert's mask on either grid, and the maker of what is written down."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import zoom

from mripipe.core.border import volume_interval_ml
from mripipe.core.deformation import sample_field
from mripipe.core.filling import fill_lesion
from mripipe.core.grid import Volume
from mripipe.errors import InputError
from mripipe.model.settings import LesionSettings
from mripipe.model.stages import CoregisteredImage
from mripipe.model.study import Session
from mripipe.steps import lesion
from mripipe.steps.lesion import NEVER, FoundInfarct, describe_infarct, infarct_from_log_odds, segment_visit
from mripipe.steps.lesion_in_time import segment_in_time
from mripipe.steps.load import load_image, load_plain, load_rough_map, save_image
from mripipe.steps.transforms import write_transform

SETTINGS = LesionSettings()


def read(path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def with_mask(prepared, path):
    return replace(prepared, session=replace(prepared.session, lesion_mask=path))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.usefixtures("coarse_template")
def test_expert_mask_is_taken_as_it_is(side, request, tmp_path):
    visit = request.getfixturevalue(f"{side}_visit")
    affine = nib.load(visit.prepared.preproc).affine
    path = save_image(tmp_path / "expert.nii.gz", visit.true["lesion"], affine, dtype=np.uint8)
    found = segment_visit(with_mask(visit.prepared, path), settings=SETTINGS, folder=tmp_path)
    assert (found.source, found.side) == ("manual", side)
    np.testing.assert_array_equal(read(found.final_mask) > 0, visit.true["lesion"])
    assert found.manual_mask == found.final_mask
    assert set(np.unique(read(found.probability))) == {0.0, 1.0}
    assert found.lesion_ml == pytest.approx(visit.true["lesion"].sum() * 0.027)
    wanted = volume_interval_ml(visit.true["lesion"], affine, border_mm=0.5)
    assert (found.lesion_ml_lower, found.lesion_ml_upper) == pytest.approx(wanted)
    # What the program finds by itself is kept beside it.
    auto = read(visit.segmented.final_mask)
    np.testing.assert_array_equal(read(found.auto_mask), auto)
    assert found.auto_ml == pytest.approx(auto.sum() * 0.027)
    both = np.count_nonzero((auto > 0) & visit.true["lesion"])
    assert found.auto_dice == pytest.approx(2 * both / (auto.sum() + visit.true["lesion"].sum()))


@pytest.mark.usefixtures("coarse_template")
def test_expert_mask_drawn_on_the_flair_lands_on_the_reference(right_visit, tmp_path):
    flair = nib.load(right_visit.prepared.beside("FLAIR").image)
    reference = nib.load(right_visit.prepared.preproc)
    # Where the true lesion lies in the FLAIR: every FLAIR voxel looked up on the T1w's grid.
    points = np.indices(flair.shape).reshape(3, -1)
    to_index = np.linalg.inv(reference.affine) @ np.linalg.inv(right_visit.to_flair) @ flair.affine
    index = np.rint(to_index[:3, :3] @ points + to_index[:3, 3:]).astype(int)
    inside = np.all((index >= 0) & (index < np.array(reference.shape)[:, None]), axis=0)
    drawn = np.zeros(points.shape[1], bool)
    drawn[inside] = right_visit.true["lesion"][tuple(index[:, inside])]
    path = save_image(tmp_path / "f.nii.gz", drawn.reshape(flair.shape), flair.affine, dtype=np.uint8)
    found = segment_visit(with_mask(right_visit.prepared, path), settings=SETTINGS, folder=tmp_path)
    mask, truth = read(found.final_mask) > 0, right_visit.true["lesion"]
    assert mask.shape == truth.shape
    # Slices of 6 mm blur the border.
    assert 2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum()) > 0.88
    assert found.side == "right"


def test_mask_on_another_grid_is_refused(left_visit, tmp_path):
    other = zoom(left_visit.true["lesion"].astype(np.uint8), 0.5, order=0)
    path = save_image(tmp_path / "other.nii.gz", other, np.diag([6.0, 6.0, 6.0, 1.0]), dtype=np.uint8)
    with pytest.raises(InputError, match=r"other\.nii\.gz: mask on another grid"):
        segment_visit(with_mask(left_visit.prepared, path), settings=SETTINGS, folder=tmp_path)


def test_found_infarct_has_the_wider_interval(left_visit):
    found = left_visit.segmented
    mask, affine = read(found.final_mask) > 0, nib.load(found.final_mask).affine
    assert (found.source, found.manual_mask, found.auto_mask) == ("auto", None, found.final_mask)
    assert found.auto_dice is None
    assert 0 < found.cavity_ml < found.lesion_ml
    pencil = volume_interval_ml(mask, affine, border_mm=0.5)
    assert found.lesion_ml_upper - found.lesion_ml_lower > pencil[1] - pencil[0]


def test_on_t1w_alone_the_interval_reaches_over_the_cortex(left_visit, right_visit):
    for visit, sequences, border in ((left_visit, {"T1w"}, 2.0), (right_visit, {"T1w", "FLAIR"}, 0.7)):
        found = visit.segmented
        assert set(found.sequences) == sequences
        mask, affine = read(found.final_mask) > 0, nib.load(found.final_mask).affine
        wanted = volume_interval_ml(mask, affine, border_mm=border)
        assert (found.lesion_ml_lower, found.lesion_ml_upper) == pytest.approx(wanted)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_infarct_is_looked_for_again_by_a_map_made_without_it(side, request):
    visit = request.getfixturevalue(f"{side}_visit")
    assert visit.segmented.prepared == replace(
        visit.prepared, rough_warp=visit.prepared.rough_warp.with_name("close_warp.nii.gz")
    )
    rough = load_rough_map(visit.segmented.prepared)
    moved = visit.mni_mm + sample_field(rough.displacement, rough.affine, visit.mni_mm.T).T
    errors_mm = np.linalg.norm(nib.affines.apply_affine(rough.matrix, moved) - visit.native_mm, axis=1)
    # The phantom is bent smoothly, and half of its places lie no further than 2 mm from the affine's.
    still = np.linalg.norm(nib.affines.apply_affine(rough.matrix, visit.mni_mm) - visit.native_mm, axis=1)
    assert np.median(errors_mm) < 0.9 * np.median(still)


@pytest.mark.usefixtures("coarse_template")
def test_without_an_infarct_the_first_map_stays(left_visit, tmp_path):
    image = load_image(left_visit.prepared.preproc)
    rough = load_rough_map(left_visit.prepared)
    lesion = Volume(left_visit.true["lesion"].astype(np.float32), image.affine)
    whole, _ = fill_lesion(image, lesion.data > 0, left_visit.true["brain"], rough)
    healthy = save_image(tmp_path / "healthy.nii.gz", whole.data, image.affine)
    prepared = replace(left_visit.prepared, preproc=healthy)
    found = segment_visit(prepared, settings=SETTINGS, folder=tmp_path)
    assert (found.side, found.lesion_ml) == ("none", 0.0)
    assert found.prepared == prepared


def external(prepared, path):
    return replace(prepared, session=replace(prepared.session, external_lesion=path))


@pytest.mark.usefixtures("coarse_template")
def test_another_programs_map_is_taken_as_it_is(left_visit, tmp_path):
    truth = left_visit.true["lesion"]
    affine = nib.load(left_visit.prepared.preproc).affine
    path = save_image(tmp_path / "p.nii.gz", np.where(truth, 0.8, 0.3), affine)
    prepared = external(left_visit.prepared, path)
    found = segment_visit(prepared, settings=LesionSettings(segmenter="external"), folder=tmp_path)
    np.testing.assert_array_equal(read(found.final_mask) > 0, truth)
    np.testing.assert_allclose(read(found.probability)[truth], 0.8, atol=1e-6)
    assert (found.source, found.side, found.log_odds) == ("auto", "left", None)
    assert 0 < found.cavity_ml < found.lesion_ml
    # No other visit may change what the other program said.
    assert segment_in_time(found, (found, left_visit.segmented), left_visit.aligned, folder=tmp_path) is found


def test_another_programs_map_that_is_not_there_is_asked_for(left_visit, tmp_path):
    with pytest.raises(
        InputError, match=r"sub-001 ses-a: no \*_label-L_probseg\.nii\.gz .* -d/--derivatives"
    ):
        segment_visit(left_visit.prepared, settings=LesionSettings(segmenter="external"), folder=tmp_path)


@pytest.mark.usefixtures("coarse_template")
def test_a_flair_of_next_to_nothing_of_the_brain_is_left_out(right_visit, tmp_path):
    whole = nib.load(right_visit.prepared.beside("FLAIR").image)
    data = np.asarray(whole.dataobj, np.float32)
    moved = whole.affine.copy()
    moved[2, 3] += 150.0
    few = save_image(tmp_path / "few.nii.gz", data, moved)
    flair = right_visit.prepared.beside("FLAIR")
    prepared = replace(right_visit.prepared, coregistered=(replace(flair, image=few),))
    alone = replace(prepared, coregistered=())
    folders = [tmp_path / "few", tmp_path / "alone"]
    for folder in folders:
        folder.mkdir()
    found = segment_visit(prepared, settings=SETTINGS, folder=folders[0])
    bare = segment_visit(alone, settings=SETTINGS, folder=folders[1])
    np.testing.assert_array_equal(read(found.final_mask), read(bare.final_mask))
    assert found.sequences == bare.sequences == ("T1w",)


@pytest.mark.usefixtures("coarse_template")
def test_an_expert_mask_needs_no_map_of_another_program(left_visit, tmp_path):
    affine = nib.load(left_visit.prepared.preproc).affine
    path = save_image(tmp_path / "e.nii.gz", left_visit.true["lesion"], affine, dtype=np.uint8)
    prepared = with_mask(left_visit.prepared, path)
    found = segment_visit(prepared, settings=LesionSettings(segmenter="external"), folder=tmp_path)
    np.testing.assert_array_equal(read(found.final_mask) > 0, left_visit.true["lesion"])
    assert found.source == "manual"
    assert found.auto_ml == pytest.approx(left_visit.segmented.lesion_ml)


def diffusion_of(visit, folder, acute):
    """Give a visit an ADC map and a trace image on the reference's grid, the infarct as it is by its age."""
    reference = nib.load(visit.prepared.preproc)
    rng = np.random.default_rng(5)
    shape = reference.shape
    brain, lesion = visit.true["brain"], visit.true["lesion"]
    fluid = visit.true["ventricle_left"] | visit.true["ventricle_right"]
    adc = np.where(fluid, 3.0, np.where(lesion, 0.45 if acute else 1.6, 0.8))
    trace = np.where(fluid, 40.0, np.where(lesion, 210.0 if acute else 90.0, 100.0))
    adc = (adc + rng.normal(0, 0.05, shape)) * brain
    trace = np.abs(trace + rng.normal(0, 5.0, shape)) * brain
    here = write_transform(sitk.Transform(3, sitk.sitkIdentity), folder / "same.h5")
    return tuple(
        CoregisteredImage(name, save_image(folder / f"{name}.nii.gz", data, reference.affine), here)
        for name, data in (("trace", trace), ("ADC", adc))
    )


def dice(found, truth):
    mask = read(found.final_mask) > 0
    return 2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum())


@pytest.mark.usefixtures("coarse_template")
@pytest.mark.parametrize(("days", "acute"), [(5.0, True), (None, False), (60.0, False)])
def test_adc_is_low_in_the_first_days_and_high_later(left_visit, tmp_path, days, acute):
    images = diffusion_of(left_visit, tmp_path, acute)
    prepared = replace(left_visit.prepared, coregistered=images)
    when = Session("sub-001", "ses-a", days_from_onset=days)
    found = segment_visit(prepared, masks=when, settings=SETTINGS, folder=tmp_path)
    # Later the ADC helps to find it, and has no part in where it ends.
    assert found.sequences == (("trace", "ADC") if acute else ("T1w",))
    assert found.acute == acute
    assert found.side == "left"
    assert dice(found, left_visit.true["lesion"]) > 0.85
    if acute:
        assert found.cavity_ml == 0.0
        # It stays as diffusion shows it, whatever the later visits say.
        both = (found, left_visit.segmented)
        assert segment_in_time(found, both, left_visit.aligned, folder=tmp_path) is found


@pytest.mark.usefixtures("coarse_template")
def test_what_adc_alone_shows_is_not_lost_by_the_second_look(left_visit, tmp_path, monkeypatch):
    real, looks = lesion.lesion_log_odds, []

    def without_adc_nothing(images, kinds, *rest):
        looks.append(kinds)
        odds, cavity = real(images, kinds, *rest)
        return (odds if "ADC" in kinds else np.full_like(odds, -2.0)), cavity

    monkeypatch.setattr(lesion, "lesion_log_odds", without_adc_nothing)
    prepared = replace(left_visit.prepared, coregistered=diffusion_of(left_visit, tmp_path, acute=False))
    found = segment_visit(prepared, settings=SETTINGS, folder=tmp_path)
    assert looks == [("T1w", "ADC"), ("T1w",)]
    assert found.sequences == ("T1w", "ADC")
    assert found.prepared == prepared
    assert dice(found, left_visit.true["lesion"]) > 0.8


@pytest.mark.usefixtures("coarse_template")
def test_bright_with_the_adc_of_tissue_is_no_acute_infarct(left_visit, tmp_path):
    trace, adc = diffusion_of(left_visit, tmp_path, acute=True)
    data, affine = read(adc.image), nib.load(adc.image).affine
    plain = save_image(tmp_path / "plain.nii.gz", np.where(left_visit.true["lesion"], 0.8, data), affine)
    prepared = replace(left_visit.prepared, coregistered=(trace, replace(adc, image=plain)))
    when = Session("sub-001", "ses-a", days_from_onset=5.0)
    found = segment_visit(prepared, masks=when, settings=SETTINGS, folder=tmp_path)
    assert (found.lesion_ml, found.side) == (0.0, "none")


@pytest.mark.usefixtures("coarse_template")
def test_an_older_infarct_on_the_other_side_is_not_counted(left_visit, tmp_path):
    first = left_visit.segmented
    assert (first.contralateral_ml, first.contralateral_mask) == (0.0, None)
    prepared, odds = first.prepared, load_plain(first.log_odds)
    # The same shape at the mirrored place, somewhat further back.
    both = np.where(
        odds.data > NEVER / 2, np.maximum(odds.data, np.roll(odds.data[::-1], -6, axis=1)), odds.data
    )
    reference = load_image(prepared.preproc)
    infarct, other = infarct_from_log_odds(replace(odds, data=both), prepared, reference)
    here = (first.cavity, first.log_odds, first.native_log_odds)
    found = describe_infarct(FoundInfarct(prepared, infarct, other, *here), infarct, reference, tmp_path)
    assert found.side == "left"
    assert found.lesion_ml == pytest.approx(first.lesion_ml, rel=0.1)
    old = read(found.contralateral_mask) > 0
    assert not (old & (read(found.final_mask) > 0)).any()
    assert found.contralateral_ml == pytest.approx(old.sum() * 0.027)
    assert 0.5 * first.lesion_ml < found.contralateral_ml < 1.3 * first.lesion_ml
    x = nib.affines.apply_affine(nib.load(found.final_mask).affine, np.argwhere(old))[:, 0]
    other_x = nib.affines.apply_affine(
        nib.load(found.final_mask).affine, np.argwhere(read(found.final_mask) > 0)
    )[:, 0]
    assert x.mean() > other_x.mean()


@pytest.mark.usefixtures("coarse_template")
def test_a_misplaced_sequence_is_not_looked_at(right_visit, tmp_path):
    flair = right_visit.prepared.beside("FLAIR")
    prepared = replace(right_visit.prepared, coregistered=(replace(flair, misplaced=True),))
    assert segment_visit(prepared, settings=SETTINGS, folder=tmp_path).sequences == ("T1w",)
