"""Phantom patients: what is written down as truth is what was drawn, in any orientation."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from mripipe.atlases.template import load_template
from mripipe.core.phantom import (
    PhantomAtlas,
    PhantomPatient,
    PhantomTemplate,
    draw_patient,
    lesion_mni_ml,
    mni_to_native,
    native_to_mni,
    prepare_atlas,
    render_visit,
    true_fractions,
    true_masks,
    true_points,
    visit_grid,
)
from mripipe.core.phantom_fields import grid_points

TWO_MM = (2.0, 2.0, 2.0)


@lru_cache(maxsize=1)
def atlas() -> PhantomAtlas:
    template = load_template()
    return prepare_atlas(PhantomTemplate(template.gm, template.wm, template.mask, template.affine))


@lru_cache(maxsize=1)
def right_patient() -> PhantomPatient:
    return draw_patient(atlas(), seed=301, side="right", lesion_ml=60.0, days=(45, 410))


@lru_cache(maxsize=1)
def healthy_head() -> PhantomPatient:
    return draw_patient(atlas(), seed=302, side="none", days=(45,))


def mm_of(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return (affine[:3, :3] @ np.argwhere(mask).T).T + affine[:3, 3]


def test_same_seed_gives_the_same_patient_and_image() -> None:
    again = draw_patient(atlas(), seed=302, side="none", days=(45,))
    other = draw_patient(atlas(), seed=303, side="none", days=(45,))
    grid = visit_grid(healthy_head(), 0, zooms_mm=(5.0, 5.0, 5.0))
    first, second, third = (render_visit(who, 0, "T1w", grid) for who in (healthy_head(), again, other))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, third, atol=50)


@pytest.mark.parametrize(("visit", "zooms_mm"), [(0, TWO_MM), (1, TWO_MM), (0, (1.5, 1.5, 5.0))])
def test_volume_on_any_grid_is_the_wanted_one(visit: int, zooms_mm: tuple[float, float, float]) -> None:
    patient = right_patient()
    grid = visit_grid(patient, visit, "FLAIR", zooms_mm=zooms_mm, oblique_deg=(11.0, -7.0, 5.0))
    masks = true_masks(patient, visit, grid, sequence="FLAIR", labels=("lesion",))
    wanted = patient.visits[visit].lesion_ml
    assert masks["lesion"].sum() * grid.voxel_ml == pytest.approx(wanted, rel=0.02)
    # Small and round, so its hard mask loses a little to thick slices; the shares do not.
    shares = true_fractions(patient, visit, grid, sequence="FLAIR", labels=("cavity",))
    cavity_ml = shares["cavity"].sum() * grid.voxel_ml
    assert cavity_ml == pytest.approx(wanted * patient.visits[visit].cavity_fraction, rel=0.05)


@pytest.mark.parametrize("lesion_ml", [15.0, 200.0])
def test_smallest_and_largest_infarct_fit(lesion_ml: float) -> None:
    patient = draw_patient(atlas(), seed=304, side="left", lesion_ml=lesion_ml, days=(45,))
    grid = visit_grid(patient, 0, zooms_mm=TWO_MM)
    parts = true_fractions(patient, 0, grid, labels=("lesion", "brain", "ventricle_left"))
    assert parts["lesion"].sum() * grid.voxel_ml == pytest.approx(lesion_ml, rel=0.02)
    lesion = parts["lesion"] > 0.5
    assert np.all(parts["brain"][lesion] > 0.3)
    assert np.all(parts["ventricle_left"][lesion] < 0.7)
    mni = native_to_mni(patient, 0, mm_of(lesion, grid.affine))
    assert np.all(mni[:, 0] < -5)


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "PSR", "AIL"])
def test_infarct_lies_on_the_right_in_any_orientation(orientation: str) -> None:
    patient = right_patient()
    grid = visit_grid(
        patient, 0, zooms_mm=(4.0, 4.0, 4.0), orientation=orientation, oblique_deg=(10.0, 0.0, 8.0)
    )
    masks = true_masks(patient, 0, grid, labels=("lesion", "ventricle_left", "ventricle_right"))
    x = {name: mm_of(mask, grid.affine)[:, 0].mean() for name, mask in masks.items()}
    assert x["lesion"] > x["ventricle_right"] > x["ventricle_left"]


@pytest.mark.parametrize("visit", [0, 1])
def test_image_and_truth_agree(visit: int) -> None:
    """Signal without noise tells cavity, gliosis and white matter apart where the masks say so."""
    patient = right_patient()
    grid = visit_grid(patient, visit, "FLAIR", zooms_mm=TWO_MM, orientation="PSR")
    image = render_visit(patient, visit, "FLAIR", grid, snr=None, bias=0.0)
    parts = true_fractions(patient, visit, grid, sequence="FLAIR", labels=("lesion", "cavity", "brain"))
    gliosis = (parts["lesion"] > 0.99) & (parts["cavity"] < 0.01)
    healthy = (parts["lesion"] < 0.01) & (parts["brain"] > 0.99)
    assert np.median(image[gliosis]) > 1.3 * np.median(image[healthy])
    assert np.median(image[parts["cavity"] > 0.99]) < 0.4 * np.median(image[healthy])


def test_whole_brain_is_in_view() -> None:
    for patient in (right_patient(), healthy_head()):
        for sequence, zooms_mm in (("T1w", TWO_MM), ("FLAIR", (2.0, 2.0, 5.0)), ("dwi", TWO_MM)):
            grid = visit_grid(patient, 0, sequence, zooms_mm=zooms_mm)
            brain = true_masks(patient, 0, grid, sequence=sequence, labels=("brain",))["brain"]
            faces = [np.take(brain, end, axis) for axis in range(3) for end in (0, -1)]
            assert brain.any()
            assert not any(face.any() for face in faces)


def test_points_map_both_ways_and_lie_where_they_say() -> None:
    patient = right_patient()
    points = true_points(patient, 1, n=400, sequence="dwi")
    back = mni_to_native(patient, 1, points.mni_mm, sequence="dwi")
    assert np.abs(back - points.native_mm).max() < 1e-3
    assert np.abs(native_to_mni(patient, 1, points.native_mm, sequence="dwi") - points.mni_mm).max() < 1e-6
    assert 0.01 < points.in_lesion.mean() < 0.12
    assert np.all(points.mni_mm[points.in_lesion, 0] > 0)


def test_points_find_the_same_tissue_in_the_image_and_in_the_template() -> None:
    """Reads the rendered image at native points and the template at their MNI partners."""
    patient = healthy_head()
    grid = visit_grid(patient, 0, zooms_mm=TWO_MM, orientation="LPS")
    image = render_visit(patient, 0, "T1w", grid, snr=None, bias=0.0)
    points = true_points(patient, 0, n=3000)
    voxel = np.round((np.linalg.inv(grid.affine) @ np.c_[points.native_mm, np.ones(3000)].T)[:3]).astype(int)
    template = atlas().template
    at = np.round((np.linalg.inv(template.affine) @ np.c_[points.mni_mm, np.ones(3000)].T)[:3]).astype(int)
    white, grey = template.wm[tuple(at)], template.gm[tuple(at)]
    assert np.corrcoef(image[tuple(voxel)], white + 0.66 * grey)[0, 1] > 0.75


def test_head_moves_between_visits_as_a_rigid_body() -> None:
    patient = right_patient()
    moved = patient.visit_to_visit(0, 1)
    np.testing.assert_allclose(moved[:3, :3] @ moved[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(moved[:3, :3]) == pytest.approx(1.0)
    surface = np.array([[0.0, 70.0, 0.0], [-60.0, -20.0, 40.0], [60.0, -60.0, 40.0]])
    first, second = mni_to_native(patient, 0, surface), mni_to_native(patient, 1, surface)
    carried = (moved[:3, :3] @ first.T).T + moved[:3, 3]
    assert np.abs(carried - second).max() < 0.05
    assert np.abs(first - second).max() > 1.0


def test_the_ventricle_on_the_infarcts_side_widens_and_the_other_does_not() -> None:
    patient = right_patient()
    volumes = []
    for visit in (0, 1):
        grid = visit_grid(patient, visit, zooms_mm=TWO_MM)
        masks = true_masks(patient, visit, grid, labels=("ventricle_left", "ventricle_right"))
        volumes.append([masks[name].sum() * grid.voxel_ml for name in ("ventricle_left", "ventricle_right")])
    assert volumes[1][1] > 1.25 * volumes[0][1]
    assert volumes[1][0] == pytest.approx(volumes[0][0], rel=0.04)


def test_no_two_brains_are_alike_and_none_is_folded() -> None:
    maps = [healthy_head().visits[0].anatomy, *(visit.anatomy for visit in right_patient().visits)]
    assert all(anatomy.min_jacobian > 0.3 for anatomy in maps)
    points = grid_points(
        (8, 10, 8), np.diag([15.0, 15.0, 15.0, 1.0]) - [[0, 0, 0, 55], [0, 0, 0, 80], [0, 0, 0, 40], [0] * 4]
    )
    apart = np.linalg.norm(maps[0].to_mni(points) - maps[1].to_mni(points), axis=0)
    assert np.median(apart) > 3.0
    mirrored = maps[0].to_mni(points * np.array([[-1], [1], [1]], np.float32)) * [[-1], [1], [1]]
    assert np.median(np.linalg.norm(maps[0].to_mni(points) - mirrored, axis=0)) > 2.0


def test_healthy_head_has_distractors_but_no_infarct() -> None:
    patient = healthy_head()
    grid = visit_grid(patient, 0, zooms_mm=TWO_MM)
    masks = true_masks(patient, 0, grid)
    assert not masks["lesion"].any()
    assert not masks["cavity"].any()
    assert lesion_mni_ml(patient, 0) == 0.0
    assert 0.5 < masks["hyperintensity"].sum() * grid.voxel_ml < 6.0
    assert 0.0 < masks["lacune"].sum() * grid.voxel_ml < 1.0


def test_distractors_stay_out_of_the_infarct() -> None:
    patient = right_patient()
    grid = visit_grid(patient, 1, zooms_mm=TWO_MM)
    parts = true_fractions(patient, 1, grid, labels=("lesion", "hyperintensity", "lacune"))
    assert not np.any((parts["lesion"] > 0) & (parts["hyperintensity"] > 0))
    lacune = native_to_mni(patient, 1, mm_of(parts["lacune"] > 0.5, grid.affine))
    assert np.all(lacune[:, 0] < 0)


def test_thick_slices_blur_through_the_slice_only() -> None:
    patient = right_patient()
    thick = visit_grid(patient, 0, "FLAIR", zooms_mm=(4.0, 4.0, 6.0), oblique_deg=(0.0, 0.0, 0.0))
    thin = visit_grid(patient, 0, "FLAIR", zooms_mm=(4.0, 4.0, 2.0), oblique_deg=(0.0, 0.0, 0.0))
    assert thin.shape[2] == 3 * thick.shape[2]
    kept = {"snr": None, "bias": 0.0}
    blurred = render_visit(patient, 0, "FLAIR", thick, subslices=3, **kept)
    slices = render_visit(patient, 0, "FLAIR", thin, **kept)
    np.testing.assert_allclose(blurred, slices.reshape(*slices.shape[:2], -1, 3).mean(-1), atol=0.5)


def test_stripped_image_is_zero_outside_the_brain_with_noise_too() -> None:
    patient = right_patient()
    grid = visit_grid(patient, 0, zooms_mm=(4.0, 4.0, 4.0))
    brain = true_masks(patient, 0, grid, labels=("brain",))["brain"]
    image = render_visit(patient, 0, "T1w", grid, skull=False)
    assert not image[~brain].any()
    assert np.median(image[brain]) > 300
