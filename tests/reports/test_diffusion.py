"""The report's part on diffusion: what it takes from the results, where tracts are drawn, what is missing."""

import re
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from mripipe.core.grid import Volume, voxel_to_world
from mripipe.core.itk import displacement_transform
from mripipe.errors import InputError
from mripipe.figures.planes import Plane
from mripipe.model.diffusion import DiffusionResult, TractAsymmetry, TractMetrics, TractProfile
from mripipe.model.results import LesionVolumes, SubjectResult, VisitResult
from mripipe.reports.diffusion import profile_figures, ratio_figure
from mripipe.reports.diffusion_pictures import diffusion_galleries, motion_figure
from mripipe.reports.images import read_vectors
from mripipe.reports.subject import render_report
from mripipe.steps.diffusion_bend import bent

LAS = np.array([[-4.0, 0, 0, 98], [0, 4, 0, -134], [0, 0, 4, -72], [0, 0, 0, 1]])
SHAPE = (50, 59, 48)
SHIFT = (5.0, -3.0, 2.0)
"""From reference points to diffusion points, LPS mm."""


def profiles(left, right, lesion=()):
    marked = tuple(number in lesion for number in range(100))
    return tuple(
        TractProfile("CST", side, (value,) * 100, (0.7,) * 100, marked)
        for side, value in (("left", left), ("right", right))
    )


def visit(session, days, rfa, side="left", **changes):
    metrics = tuple(
        TractMetrics("CST", "whole", "ok", "ipsilesional" if s == side else "contralesional", s)
        for s in ("left", "right")
    )
    diffusion = DiffusionResult(
        "ok",
        metrics,
        (TractAsymmetry("CST", "whole", "ok" if rfa else "truncated_by_lesion", rfa),),
        profiles(0.3, 0.6, range(10, 20)),
        **changes,
    )
    row = LesionVolumes("sub-1", session, "ok", days)
    return VisitResult("sub-1", session, row, diffusion=diffusion)


def test_ratios_stand_at_their_days():
    svg = ratio_figure([visit("ses-a", 30, 0.9), visit("ses-b", 90, None), visit("ses-c", 210, 0.6)])
    assert re.findall(r"whole tract, (ses-\w): ([\d.]+)", svg) == [("ses-a", "0.900"), ("ses-c", "0.600")]
    assert "Days from stroke onset" in svg
    assert "Visits in order" in ratio_figure([visit("ses-a", None, 0.9), visit("ses-b", 90, 0.8)])
    assert ratio_figure([visit("ses-a", 30, None)]) == ""


@pytest.mark.parametrize(("side", "first"), [("left", 0.3), ("right", 0.6)])
def test_the_solid_line_is_the_lesions_side(side, first):
    ((name, svg),) = profile_figures([visit("ses-a", 30, 0.9, side)])
    assert name == "corticospinal tract"
    assert "lesion's side" in svg
    solid, dashed = (
        [p for p in re.findall(r"<polyline[^>]*>", svg) if ("dasharray" in p) == dashes and p.count(",") > 90]
        for dashes in (False, True)
    )
    heights = [float(re.search(r"points=\"[\d.]+,([\d.]+)", part[0])[1]) for part in (solid, dashed)]
    assert (heights[0] > heights[1]) == (first == 0.3)
    assert ("ses-a: lesion" in svg) is True


def test_without_one_lesioned_side_the_sides_are_named():
    one, other = visit("ses-a", 30, 0.9, "left"), visit("ses-b", 60, 0.9, "right")
    ((_, svg),) = profile_figures([one, other])
    assert ">left<" in svg
    assert "lesion's side" not in svg


def test_nothing_is_drawn_of_what_is_not_there():
    bare = replace(visit("ses-a", 30, None), diffusion=DiffusionResult("missing_input"))
    assert profile_figures([bare]) == []
    assert motion_figure(bare.diffusion) == ""
    assert motion_figure(None) == ""
    page = render_report(SubjectResult("sub-1", (bare,)), settings={}, versions={})
    assert "White-matter tracts" not in page


def placed(folder):
    """Write a visit whose native space is MNI, and its diffusion beside it; left of the midline is bright."""
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    x, y, z = np.moveaxis(voxel_to_world(index, LAS), -1, 0)
    brain = ((x / 68) ** 2 + ((y + 18) / 85) ** 2 + ((z - 10) / 66) ** 2 < 1).astype(np.float32)
    image = Volume(brain * np.where(np.hypot(x, y + 20) < 12, 20.0, 100.0 + z).astype(np.float32), LAS)
    still = SimpleITK.TranslationTransform(3)
    moved = SimpleITK.Euler3DTransform()
    moved.SetTranslation(SHIFT)
    SimpleITK.WriteTransform(still, str(folder / "still.txt"))
    SimpleITK.WriteTransform(moved, str(folder / "moved.txt"))
    affine = LAS.copy()
    affine[:3, 3] += np.array(SHIFT) * [-1, -1, 1]
    nib.save(nib.Nifti1Image(brain * 0.5, affine), folder / "fa.nii.gz")
    nib.save(nib.Nifti1Image(brain * 80, affine), folder / "b0.nii.gz")
    rows = np.zeros((*SHAPE, 3), np.float32)
    rows[..., 2] = 1.0
    nib.save(nib.Nifti1Image(rows, affine), folder / "direction.nii.gz")
    paths = {name: folder / f"{name}.nii.gz" for name in ("fa", "b0", "direction")}
    seen = visit("ses-a", 30, 0.9, to_reference=folder / "moved.txt", motion=((0.0,) * 6,) * 3, **paths)
    return replace(seen, from_mni=folder / "still.txt"), image, {"brain": Volume(brain, LAS)}


def test_tracts_are_drawn_where_the_atlas_has_them(tmp_path):
    seen, image, masks = placed(tmp_path)
    plane = Plane("axial", 10.0, (0.0, -18.0, 10.0), 200.0, 1.0)
    tracts, b0, sticks = diffusion_galleries(seen, image, masks, [plane])
    assert [g.problem for g in (tracts, b0, sticks)] == [None] * 3
    path = re.search(r'<path d="([^"]*)" class="outline main-tract"', tracts.panels[0])[1]
    points = np.array([float(v) for v in re.findall(r"-?[\d.]+", path)]).reshape(-1, 2) - 100.0
    # The posterior limb of the internal capsule at this height lies at x = +-22.7, y = -12.8.
    assert np.abs(points[:, 0]).mean() == pytest.approx(22.7, abs=2)
    assert (-18.0 - points[:, 1]).mean() == pytest.approx(-12.8, abs=2)
    assert {np.sign(x) for x in points[:, 0]} == {-1.0, 1.0}
    assert "reference-tissue" in b0.panels[0]
    assert len(sticks.panels) == 3


def test_the_image_before_distortion_was_undone_is_drawn_after_the_one_of_now(tmp_path):
    seen, image, masks = placed(tmp_path)
    now = nib.load(tmp_path / "b0.nii.gz")
    before = np.roll(now.get_fdata().astype(np.float32), 3, axis=1)
    nib.save(nib.Nifti1Image(before, now.affine), tmp_path / "before.nii.gz")
    diffusion = replace(seen.diffusion, b0_distorted=tmp_path / "before.nii.gz")
    plane = Plane("axial", 10.0, (0.0, -18.0, 10.0), 200.0, 2.0)
    galleries = diffusion_galleries(replace(seen, diffusion=diffusion), image, masks, [plane])
    assert [g.title for g in galleries][1:3] == [
        "Diffusion, b = 0, on the reference image",
        "The same before distortion by the field was undone",
    ]
    assert galleries[1].outlines == galleries[2].outlines
    assert galleries[1].panels != galleries[2].panels


def test_a_bent_way_is_drawn_with_and_without_its_bend(tmp_path):
    seen, image, masks = placed(tmp_path)
    rigid = SimpleITK.ReadTransform(str(tmp_path / "moved.txt"))
    everywhere = displacement_transform(np.full((*SHAPE, 3), [0.0, 9.0, 0.0]), LAS)
    SimpleITK.WriteTransform(bent(everywhere, rigid), str(tmp_path / "bent.h5"))
    plane = Plane("axial", 10.0, (0.0, -18.0, 10.0), 200.0, 2.0)
    diffusion = replace(seen.diffusion, to_reference=tmp_path / "bent.h5")
    galleries = diffusion_galleries(replace(seen, diffusion=diffusion), image, masks, [plane])
    straight = diffusion_galleries(seen, image, masks, [plane])
    assert [g.title for g in galleries][2] == "The same before distortion by the field was undone"
    assert galleries[2].panels == straight[1].panels
    assert galleries[1].panels != straight[1].panels


def test_a_file_that_cannot_be_read_is_told_in_its_gallery(tmp_path):
    seen, image, masks = placed(tmp_path)
    (tmp_path / "direction.nii.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "still.txt").write_text("nothing")
    plane = Plane("axial", 10.0, (0.0, -18.0, 10.0), 200.0, 2.0)
    tracts, b0, sticks = diffusion_galleries(seen, image, masks, [plane])
    assert "direction.nii.gz: cannot be read" in (tracts.problem or "")
    assert b0.problem is None
    assert "direction.nii.gz: cannot be read" in (sticks.problem or "")
    nib.save(nib.Nifti1Image(np.zeros((*SHAPE, 3), np.float32), LAS), tmp_path / "direction.nii.gz")
    tracts, _, _ = diffusion_galleries(seen, image, masks, [plane])
    assert "still.txt: cannot be read as an ITK transform" in (tracts.problem or "")


def test_directions_need_three_numbers(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="three numbers"):
        read_vectors(tmp_path / "a.nii.gz")
