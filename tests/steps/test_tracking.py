"""Tracts followed in a visit's own diffusion: files, values, and what stops it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from mripipe.atlases.tracts import load_tracts
from mripipe.core.gradients import directions_to_fsl
from mripipe.core.itk import affine_transform
from mripipe.core.phantom_diffusion import even_gradients
from mripipe.core.tract_course import tract_at
from mripipe.model.diffusion import DiffusionResult, DiffusionVisit, TractAsymmetry, TractMetrics
from mripipe.steps import tracking
from mripipe.steps.load import save_image
from mripipe.steps.tracked import SIDES, TRACKED_NAMES, with_tracked, without_tracking
from mripipe.steps.tracking import track_visit
from mripipe.steps.transforms import write_transform

AFFINE = np.array([[3.0, 0, 0, -54.0], [0, 3.0, 0, -60.0], [0, 0, 3.0, -60.0], [0, 0, 0, 1.0]])
SHAPE = (37, 34, 50)
FA = {"left": 0.5, "right": 0.7}
POINTS = np.argwhere(np.ones(SHAPE, bool)) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
WAY_POINTS = ("rostral_pons", "posterior_limb_internal_capsule", "subcortical")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tracking, "track_way", partial(tracking.track_way, n_seeds=1600))


def visit(folder, n_directions=30, shift_mm=0.0):
    """Write a series whose fibres run along both corticospinal tracts, `shift_mm` before MNI."""
    folder.mkdir(exist_ok=True)
    table = even_gradients(n_directions)
    course = load_tracts().course("CST")
    direction, fa = np.zeros((len(POINTS), 3)), np.full(len(POINTS), 0.05)
    for side in SIDES:
        at = tract_at(course, POINTS - [0.0, shift_mm, 0.0], side=side)
        inside = at.probability > 0.3
        direction[inside], fa[inside] = at.tangent[inside], FA[side]
    cosine = direction @ table.directions.T
    fibre = 0.3e-3 + 1.4e-3 * cosine**2
    d = np.where(fa[:, None] > 0.1, fibre, 0.8e-3)
    data = 1000.0 * np.exp(-table.b_values * d)

    def save(name, values):
        return save_image(folder / f"{name}.nii.gz", values.reshape(*SHAPE, *values.shape[1:]), AFFINE)

    bval, bvec = folder / "a.bval", folder / "a.bvec"
    bval.write_text(" ".join(f"{b:g}" for b in table.b_values))
    np.savetxt(bvec, directions_to_fsl(table.directions, AFFINE), fmt="%.6f")
    return DiffusionVisit(
        "sub-1",
        "ses-1",
        series=save("series", data),
        bval=bval,
        bvec=bvec,
        b0=save("b0", data[:, 0] + POINTS[:, 2]),
        mask=save_image(folder / "mask.nii.gz", np.ones(SHAPE, bool), AFFINE, dtype=np.uint8),
        fa=save("fa", fa),
        md=save("md", np.full(len(POINTS), 0.7e-3)),
        ad=save("ad", np.full(len(POINTS), 1.2e-3)),
        rd=save("rd", np.full(len(POINTS), 0.45e-3)),
        direction=save("direction", direction),
        n_directions=n_directions,
    )


def anatomy(folder, lesion, shift_mm=0.0):
    still = write_transform(affine_transform(np.eye(4)), folder / "still.h5")
    shift = np.eye(4)
    shift[1, 3] = -shift_mm
    there = write_transform(affine_transform(shift), folder / "there.h5")
    back = write_transform(affine_transform(np.linalg.inv(shift)), folder / "back.h5")
    picture = save_image(folder / "t1.nii.gz", (POINTS[:, 1] + 200.0).reshape(SHAPE), AFFINE)
    brain = save_image(folder / "brain.nii.gz", np.ones(SHAPE), AFFINE, dtype=np.uint8)
    drawn = save_image(folder / "lesion.nii.gz", lesion, AFFINE, dtype=np.uint8)
    prepared = SimpleNamespace(preproc=picture, brain_mask=brain)
    segmented = SimpleNamespace(prepared=prepared, final_mask=drawn, contralateral_mask=None)
    return still, SimpleNamespace(segmented=segmented, from_mni=there, to_mni=back)


def atlas(still, share=0.1, coverage=1.0, status="ok", hemispheres=True):
    """Rows of the atlas's tract, the lesion on the left."""
    near = {"left": "ipsilesional", "right": "contralesional"} if hemispheres else {}
    rows = tuple(
        TractMetrics(
            "CST", part, "ok", near.get(side), side, coverage=coverage,
            lesion_fraction=share if side == "left" else 0.0,
        )
        for side in SIDES
        for part in ("whole", *WAY_POINTS)
    )  # fmt: skip
    return DiffusionResult(
        status, rows, (TractAsymmetry("CST", "whole", "ok" if hemispheres else "no_lesion_found"),),
        to_reference=still,
    )  # fmt: skip


def followed(folder, lesion=None, n_directions=30, shift_mm=0.0, **options):
    drawn = np.zeros(len(POINTS), bool) if lesion is None else lesion
    diffusion = visit(folder, n_directions, shift_mm)
    still, normalised = anatomy(folder, drawn.reshape(SHAPE), shift_mm)
    tracts = atlas(still, **options)
    return tracts, track_visit(diffusion, tracts, normalised, folder=folder)


def by_side(rows):
    return {row.side: row for row in rows}


BESIDE = np.all(abs(POINTS - [-50.0, 0.0, 20.0]) < 6.0, axis=1)
ACROSS = np.all(abs(POINTS - [-22.0, -13.0, 10.0]) < [20.0, 40.0, 9.0], axis=1)


def test_both_sides_are_followed_and_compared(tmp_path):
    # The brain lies 6 mm before MNI: the way-points have to come along.
    _, found = followed(tmp_path / "a", BESIDE, shift_mm=6.0)
    rows, files = by_side(found.metrics), by_side(found.tracts)
    course = load_tracts().course("CST")
    for side in SIDES:
        assert (rows[side].tract, rows[side].status) == ("CST_tracked", "ok")
        assert rows[side].fa == pytest.approx(FA[side], abs=0.03)
        assert rows[side].md == pytest.approx(0.7, abs=1e-4)
        assert rows[side].fa_with_lesion is None
        lines = nib.streamlines.load(files[side].streamlines).streamlines
        assert len(lines) == files[side].n_streamlines >= 50
        whole = np.concatenate(list(lines)) - [0.0, 6.0, 0.0]
        assert (tract_at(course, whole, side=side).probability > 0.01).mean() > 0.9
        assert all(line[0, 2] < line[-1, 2] for line in lines)
        density = nib.load(files[side].density)
        values = np.asarray(density.dataobj)
        np.testing.assert_allclose(density.affine, AFFINE)
        assert 0.2 < values.max() <= 1.0
        sign = -1.0 if side == "left" else 1.0
        assert (POINTS[values.ravel() > 0][:, 0] * sign > -1.5).all()
    (pair,) = found.asymmetry
    assert (pair.tract, pair.status) == ("CST_tracked", "ok")
    assert pair.rfa == pytest.approx(rows["left"].fa / rows["right"].fa)
    assert pair.rmd == pytest.approx(1.0, abs=1e-4)
    assert "order 6" in found.step


def test_the_same_visit_gives_the_same_bytes(tmp_path):
    first, again = (followed(tmp_path / name, BESIDE)[1] for name in "ab")
    for one, other in zip(first.tracts, again.tracts, strict=True):
        assert one.streamlines.read_bytes() == other.streamlines.read_bytes()
        assert one.density.read_bytes() == other.density.read_bytes()
    assert first.metrics == again.metrics


def test_a_tract_that_the_lesion_cuts_keeps_the_atlas(tmp_path):
    tracts, found = followed(tmp_path / "a", ACROSS, share=0.3)
    rows, files = by_side(found.metrics), by_side(found.tracts)
    assert (rows["left"].status, rows["left"].fa) == ("truncated_by_lesion", None)
    assert (files["left"].streamlines, files["left"].density) == (None, None)
    assert rows["right"].status == "ok"
    (pair,) = found.asymmetry
    assert (pair.status, pair.rfa) == ("truncated_by_lesion", None)
    whole = with_tracked(tracts, found)
    assert whole.metrics[: len(tracts.metrics)] == tracts.metrics
    assert whole.steps[-1] == found.step


def test_no_streamline_without_a_lesion_is_low_quality(tmp_path):
    # What cuts the tract is not called a lesion of it.
    _, found = followed(tmp_path / "a", ACROSS, share=0.0)
    assert by_side(found.metrics)["left"].status == "low_quality"


def test_few_directions_are_not_followed(tmp_path):
    _, found = followed(tmp_path / "a", BESIDE, n_directions=12)
    assert {row.status for row in found.metrics} == {"low_quality"}
    assert {row.status for row in found.asymmetry} == {"low_quality"}
    assert {row.n_streamlines for row in found.tracts} == {None}
    assert "too few directions" in found.step


def test_a_way_point_out_of_view_is_not_covered(tmp_path):
    _, found = followed(tmp_path / "a", BESIDE, coverage=0.3)
    assert {row.status for row in found.metrics} == {"not_covered"}
    assert {row.coverage for row in found.metrics} == {0.3}
    assert found.asymmetry[0].status == "not_covered"


def test_without_a_lesion_there_is_nothing_to_compare(tmp_path):
    _, found = followed(tmp_path / "a", hemispheres=False, share=0.0)
    assert {row.status for row in found.metrics} == {"ok"}
    assert {row.hemisphere for row in found.metrics} == {None}
    assert (found.asymmetry[0].status, found.asymmetry[0].rfa) == ("no_lesion_found", None)


def test_diffusion_without_a_place_is_refused(tmp_path):
    tracts, _ = followed(tmp_path / "a", n_directions=12)
    with pytest.raises(ValueError, match="no place in its anatomy"):
        track_visit(visit(tmp_path / "a", 12), replace(tracts, to_reference=None), None, folder=tmp_path)


def test_rows_of_a_visit_that_was_not_followed():
    plain = DiffusionResult("ok", steps=("denoised",), warnings=("motion",))
    found = without_tracking(plain, "failed", "tracking was left out: memory")
    assert {row.tract for row in found.metrics} == set(TRACKED_NAMES)
    assert by_side(found.metrics).keys() == set(SIDES)
    assert {row.status for row in (*found.metrics, *found.asymmetry, *found.tracked)} == {"failed"}
    assert found.steps == ("denoised",)
    assert found.warnings == ("motion", "tracking was left out: memory")
    assert without_tracking(plain, "missing_input", None).warnings == ("motion",)
