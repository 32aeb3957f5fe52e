"""The way of diffusion, bent by the field: found from a visit's files, there and back, and when it is not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from mripipe.core.grid import voxel_to_world
from mripipe.core.itk import affine_transform, displacement_transform
from mripipe.core.rigid import motion_matrix
from mripipe.steps import diffusion_bend, diffusion_place
from mripipe.steps.diffusion_bend import bent, find_bend, parts_of, way_back
from mripipe.steps.diffusion_place import map_points, place_diffusion
from mripipe.steps.load import save_image
from mripipe.steps.transforms import write_transform
from tests.distorted_head import AFFINE, SHAPE, diffusion, field, points, shares

T1W = np.array([70.0, 110.0, 25.0])
FINE_MM, FINE = 1.5, (104, 124, 104)
FINE_AFFINE = AFFINE @ np.diag([0.5, 0.5, 0.5, 1.0])
STILL = affine_transform(np.eye(4))


def anatomy(folder, brain=None):
    """Write an undistorted T1w of finer voxels in MNI, without an infarct."""
    mixed = shares(points(FINE, FINE_AFFINE), FINE_MM)
    whole = (mixed.sum(axis=0) >= 0.5).reshape(FINE)
    identity = write_transform(STILL, folder / "mni.h5")
    drawn = whole if brain is None else brain
    prepared = SimpleNamespace(
        preproc=save_image(folder / "t1.nii.gz", (T1W @ mixed).reshape(FINE), FINE_AFFINE),
        brain_mask=save_image(folder / "brain.nii.gz", drawn, FINE_AFFINE, dtype=np.uint8),
        reference_suffix="T1w",
    )
    lesion = save_image(folder / "lesion.nii.gz", np.zeros(FINE), FINE_AFFINE, dtype=np.uint8)
    segmented = SimpleNamespace(prepared=prepared, final_mask=lesion, contralateral_mask=None)
    return SimpleNamespace(segmented=segmented, from_mni=identity, to_mni=identity)


def series(folder, strength=1.0, affine=AFFINE, axis=1):
    fa, md, plain = diffusion(strength)
    mask = save_image(folder / "mask.nii.gz", np.ones(SHAPE), affine, dtype=np.uint8)
    maps = {name: save_image(folder / f"{name}.nii.gz", part, affine)
            for name, part in (("fa", fa), ("md", md), ("b0", plain))}  # fmt: skip
    return SimpleNamespace(**maps, mask=mask, distorted_along=axis)


def test_the_way_leads_to_where_the_field_shows_the_head(tmp_path):
    visit = anatomy(tmp_path)
    found = find_bend(series(tmp_path), 1, visit, STILL)
    inside = points()[shares(points()).sum(axis=0) >= 0.5]
    truth = field(inside)
    moved = map_points(found.transform, inside) - inside
    left, there = (np.percentile(np.abs(part), [50, 95]) for part in (moved[:, 1] - truth, truth))
    assert left[0] < 0.5 * there[0]
    assert left[1] < 0.4 * there[1]
    np.testing.assert_allclose(moved[:, [0, 2]], 0.0, atol=1e-6)
    assert found.told.startswith("distortion by the field sought in the tissues of the T1w: 0.")
    assert "images left as they are" in found.told


def test_a_field_that_b0_does_not_bear_out_is_not_used(tmp_path, monkeypatch):
    wrong = 6.0 * np.sin(np.indices(SHAPE)[1] / 5.0).astype(np.float32)
    monkeypatch.setattr(diffusion_bend, "field_from_anatomy", lambda *given: wrong)
    monkeypatch.setattr(diffusion_bend, "where_borne_out", lambda field, *given: field)
    found = find_bend(series(tmp_path, 0.0), 1, anatomy(tmp_path), STILL)
    assert found.transform is None
    assert "nothing gained, they explain" in found.told


def test_little_brain_in_view_tells_nothing(tmp_path):
    brain = np.zeros(FINE, bool)
    brain[40:50, 40:50, 40:50] = True
    found = find_bend(series(tmp_path), 1, anatomy(tmp_path, brain), STILL)
    assert found.transform is None
    assert found.told.endswith("nothing found, less than 100 mL of brain in view")


@pytest.mark.parametrize("axis", [0, 1])
def test_an_oblique_series_is_bent_along_its_own_axis(tmp_path, monkeypatch, axis):
    turned = motion_matrix(np.array([*np.deg2rad([12.0, -9.0, 15.0]), 4.0, -6.0, 3.0])) @ AFFINE
    turned[3] = [0, 0, 0, 1]
    away = (3.0 + 0.05 * np.indices(SHAPE)[2]).astype(np.float32)
    monkeypatch.setattr(diffusion_bend, "field_from_anatomy", lambda *given: away)
    monkeypatch.setattr(diffusion_bend, "where_borne_out", lambda field, *given: field)
    compared = iter([0.5, 0.6])
    monkeypatch.setattr(diffusion_bend, "agreement", lambda *given: next(compared))
    found = find_bend(series(tmp_path, 0.0, turned), axis, anatomy(tmp_path), STILL)
    index = np.array([[10, 20, 8], [30, 41, 25], [50, 60, 50]])
    at = voxel_to_world(index, turned)
    moved = map_points(found.transform, at) - at
    wanted = (3.0 + 0.05 * index[:, 2])[:, None] * turned[:3, axis] / 3.0
    np.testing.assert_allclose(moved, wanted, atol=1e-3)


def bump(mm=6.0):
    """Return the transform of a displacement along y, a hill in the middle of the head."""
    place = points()
    away = mm * np.exp(-((place - [0, 10, 10]) ** 2).sum(axis=1) / (2 * 20.0**2))
    shift = np.stack([0 * away, away, 0 * away], axis=1)
    return displacement_transform(shift.reshape(*SHAPE, 3), AFFINE)


def test_the_way_back_undoes_the_way():
    rigid = affine_transform(motion_matrix(np.array([0.1, -0.2, 0.15, 5.0, -3.0, 8.0])))
    way = bent(bump(), rigid)
    at = np.random.default_rng(1).uniform(-40, 40, (200, 3))
    there = map_points(way, at)
    assert np.linalg.norm(there - map_points(rigid, at), axis=1).max() > 3.0
    np.testing.assert_allclose(map_points(way_back(way), there), at, atol=0.1)
    np.testing.assert_allclose(map_points(way_back(rigid), map_points(rigid, at)), at, atol=1e-9)


def test_a_way_from_a_file_comes_apart(tmp_path):
    rigid = affine_transform(motion_matrix(np.array([0.1, -0.2, 0.15, 5.0, -3.0, 8.0])))
    read = sitk.ReadTransform(str(write_transform(bent(bump(), rigid), tmp_path / "way.h5")))
    straight, bend = parts_of(read)
    at = np.random.default_rng(1).uniform(-40, 40, (50, 3))
    np.testing.assert_allclose(map_points(straight, at), map_points(rigid, at), atol=1e-4)
    np.testing.assert_allclose(map_points(bend, at), map_points(bump(), at), atol=1e-3)
    assert parts_of(rigid)[1] is None


def test_voxels_are_looked_up_where_they_belong(tmp_path, monkeypatch):
    """A voxel that shows what lies 3 mm further back is looked up there in MNI."""
    still = np.eye(4), SimpleNamespace(doubtful=False)
    monkeypatch.setattr(diffusion_place, "register_and_check", lambda *given, **more: still)
    everywhere = displacement_transform(np.full((*SHAPE, 3), [0.0, 3.0, 0.0]), AFFINE)
    given = diffusion_bend.Bend(everywhere, "bent")
    monkeypatch.setattr(diffusion_place, "find_bend", lambda *all_of_it: given)
    placed, told, doubts = place_diffusion(series(tmp_path, 0.0), anatomy(tmp_path), tmp_path)
    assert (told, doubts) == (("bent",), ())
    seen = voxel_to_world(np.argwhere(placed.brain), AFFINE)
    np.testing.assert_allclose(placed.mni_mm, seen - [0, 3, 0], atol=0.02)
    np.testing.assert_allclose(placed.index_of(placed.mni_mm), np.argwhere(placed.brain), atol=0.02)


def test_a_series_without_distortion_is_not_bent(tmp_path, monkeypatch):
    still = np.eye(4), SimpleNamespace(doubtful=False)
    monkeypatch.setattr(diffusion_place, "register_and_check", lambda *given, **more: still)
    placed, told, _ = place_diffusion(series(tmp_path, axis=None), anatomy(tmp_path), tmp_path)
    assert told == ()
    assert sitk.ReadTransform(str(placed.to_reference)).IsLinear()
