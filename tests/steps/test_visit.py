"""One visit through all steps: an infarct on either side, axes RAS and PSR."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk


@pytest.fixture(params=["left", "right"])
def visit(request):
    return request.param, request.getfixturevalue(f"{request.param}_visit")


def read(path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def dice(a, b) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def volume_ml(mask, path) -> float:
    return np.count_nonzero(mask) * abs(np.linalg.det(nib.load(path).affine[:3, :3])) / 1000.0


def test_brain_holds_the_infarct(visit):
    _, found = visit
    brain = read(found.prepared.brain_mask) > 0
    assert dice(brain, found.true["brain"]) > 0.96
    assert np.mean(brain[found.true["lesion"]]) > 0.98


def test_infarct_is_found_on_its_side(visit):
    side, found = visit
    lesion = read(found.segmented.final_mask) > 0
    # At 3 mm, and with the template at 2 mm, half of what the pipeline reaches is enough to know it works.
    assert dice(lesion, found.true["lesion"]) > 0.65
    assert found.segmented.side == side
    assert found.result.volumes.side == side
    probability = read(found.segmented.probability)
    assert probability.min() >= 0
    assert probability.max() <= 1


def test_lesion_lies_on_its_side_in_mni(visit):
    side, found = visit
    image = nib.load(found.normalised.mni_lesion_mask)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    x = np.argwhere(np.asarray(image.dataobj) > 0) @ image.affine[0, :3] + image.affine[0, 3]
    assert np.mean(x < 0) == pytest.approx(1.0 if side == "left" else 0.0, abs=0.03)


def test_points_map_both_ways(visit):
    _, found = visit
    turn = np.array([-1.0, -1.0, 1.0])
    for path, start, end in (
        (found.normalised.to_mni, found.mni_mm, found.native_mm),
        (found.normalised.from_mni, found.native_mm, found.mni_mm),
    ):
        transform = sitk.ReadTransform(str(path))
        moved = np.array([transform.TransformPoint(p) for p in (start * turn).tolist()]) * turn
        assert np.median(np.linalg.norm(moved - end, axis=1)) < 5.0
    forward, backward = (
        sitk.ReadTransform(str(p)) for p in (found.normalised.to_mni, found.normalised.from_mni)
    )
    there = [forward.TransformPoint(p) for p in (found.mni_mm * turn).tolist()]
    back = np.array([backward.TransformPoint(p) for p in there]) * turn
    assert np.percentile(np.linalg.norm(back - found.mni_mm, axis=1), 95) < 0.1


def test_numbers_agree_with_each_other_and_with_the_files(visit):
    side, found = visit
    volumes = found.result.volumes
    final = read(found.segmented.final_mask) > 0
    assert volumes.status == "ok"
    assert volumes.lesion_ml == pytest.approx(volume_ml(final, found.segmented.final_mask))
    assert 0 < volumes.lesion_ml_lower < volumes.lesion_ml < volumes.lesion_ml_upper
    assert volumes.mca_ml == pytest.approx(volumes.mca_fraction * volumes.lesion_ml)
    assert volumes.contralateral_ml == 0.0
    # Voxels of 3 mm, a tenth of an edge.
    assert volumes.repeat_sd_ml == pytest.approx(0.03 * volumes.surface_cm2)
    assert 0.7 < volumes.mca_fraction <= 1.0
    assert 5.0 < volumes.mca_territory_percent < 40.0
    assert volumes.n_components >= 1
    brain_ml = volume_ml(found.true["brain"], found.prepared.brain_mask)
    assert volumes.brain_ml == pytest.approx(brain_ml, rel=0.06)
    own = {"ipsi": side, "contra": {"left": "right", "right": "left"}[side]}
    for which, name in own.items():
        truth = volume_ml(found.true[f"ventricle_{name}"], found.prepared.brain_mask)
        assert getattr(volumes, f"ventricle_{which}_ml") == pytest.approx(truth, rel=0.5)


def test_fit_is_judged_and_nothing_is_flagged(visit):
    _, found = visit
    quality = found.result.quality
    assert 0.85 < quality.tissue_dice < 1.0
    assert 0.7 < quality.correlation < 1.0
    assert 0.0 < quality.jacobian_min < 1.0 < quality.jacobian_max
    assert 0.6 < quality.ventricle_dice < 1.0
    assert quality.folded_percent == 0.0
    assert found.result.warnings == ()


def test_territories_share_the_infarct(visit):
    side, found = visit
    loads = {(load.territory, load.side): load for load in found.result.territories}
    assert len(loads) == len(found.result.territories) == 14
    whole = {where: loads.pop(("MCA", where)) for where in ("left", "right")}
    assert whole[side].lesioned_percent == pytest.approx(found.result.volumes.mca_territory_percent)
    mca = {key: load for key, load in loads.items() if key[0].startswith("MCA")}
    for where, load in whole.items():
        parts = [part.lesion_ml for key, part in mca.items() if key[1] == where]
        assert load.lesion_ml == pytest.approx(sum(parts))
    volumes = found.result.volumes
    assert sum(load.lesion_ml for load in mca.values()) == pytest.approx(volumes.mca_ml)
    assert sum(load.lesion_ml for load in loads.values()) <= volumes.lesion_ml
    here = sum(load.lesion_ml for (_, where), load in mca.items() if where == side)
    assert here > 0.95 * volumes.mca_ml
    shares = [load.lesioned_percent for (_, where), load in mca.items() if where == side]
    assert min(shares) <= volumes.mca_territory_percent <= max(shares) <= 100.0


def test_flair_is_laid_over_the_reference(right_visit):
    transform = sitk.ReadTransform(str(right_visit.prepared.beside("FLAIR").to_reference))
    turn = np.array([-1.0, -1.0, 1.0])
    points = right_visit.native_mm
    moved = np.array([transform.TransformPoint(p) for p in (points * turn).tolist()]) * turn
    wanted = points @ right_visit.to_flair[:3, :3].T + right_visit.to_flair[:3, 3]
    assert np.linalg.norm(moved - wanted, axis=1).max() < 1.5


def test_a_visit_without_flair_has_none(left_visit):
    assert left_visit.prepared.coregistered == ()
    assert left_visit.prepared.beside("FLAIR") is None
