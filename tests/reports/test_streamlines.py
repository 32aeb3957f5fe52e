"""The picture of a tract that was followed: in the reference image's space, or why there is none."""

import re
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from nibabel.streamlines.tck import TckFile
from nibabel.streamlines.tractogram import Tractogram

from mripipe.core.grid import Volume
from mripipe.errors import InputError
from mripipe.figures.planes import Plane
from mripipe.model.diffusion import DiffusionResult, TrackedTract
from mripipe.model.results import LesionVolumes, VisitResult
from mripipe.reports.streamline_pictures import draw_streamlines

AFFINE = np.array([[-4.0, 0, 0, 78.0], [0, 4.0, 0, -98.0], [0, 0, 4.0, -66.0], [0, 0, 0, 1.0]])
SHAPE = (40, 40, 36)
SHIFT = (0.0, 0.0, 12.0)
"""From the reference image to diffusion, mm upwards."""


def followed(folder):
    moved = SimpleITK.TranslationTransform(3)
    moved.SetOffset(SHIFT)
    SimpleITK.WriteTransform(moved, str(folder / "moved.txt"))
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.float32), AFFINE), folder / "fa.nii.gz")
    tracked = []
    for side, sign in (("left", -1.0), ("right", 1.0)):
        lines = [
            np.linspace([sign * x, -20.0, -30.0], [sign * (x + 10), -15.0, 50.0], 60).astype(np.float32)
            for x in (18.0, 20.0, 22.0)
        ]
        TckFile(Tractogram(lines, affine_to_rasmm=np.eye(4))).save(folder / f"{side}.tck")
        tracked.append(TrackedTract("CST", side, "ok", 3, folder / f"{side}.tck"))
    diffusion = DiffusionResult(
        "ok", fa=folder / "fa.nii.gz", to_reference=folder / "moved.txt", tracked=tuple(tracked)
    )
    volumes = LesionVolumes("sub-001", "ses-a", status="ok")
    lesion = np.zeros(SHAPE, np.float32)
    lesion[25:34, 15:25, 15:25] = 1.0
    return VisitResult("sub-001", "ses-a", volumes, diffusion=diffusion), {"lesion": Volume(lesion, AFFINE)}


PLANE = Plane("axial", 10.0, (0.0, -18.0, 0.0), 200.0, 2.0)


def draw(seen, masks):
    image = Volume(np.ones(SHAPE, np.float32), AFFINE)
    return draw_streamlines(seen, seen.diffusion, image, masks, [PLANE])


def test_streamlines_lie_in_the_reference_images_space_on_their_sides(tmp_path):
    gallery = draw(*followed(tmp_path))
    assert gallery.problem is None
    assert gallery.outlines == ("streamlines", "lesion")
    assert "Left: 3 streamlines; right: 3 streamlines" in gallery.note
    coronal, left, right = gallery.panels
    assert "coronal" in coronal
    assert "L hemisphere" in left
    assert "R hemisphere" in right
    path = re.search(r'<path d="([^"]*)" class="outline streamlines"', coronal)[1]
    lines = [
        np.array([float(v) for v in re.findall(r"-?[\d.]+", part)]).reshape(-1, 2)
        for part in path.split("M")[1:]
    ]
    assert len(lines) == 6
    starts = np.array([line[0] for line in lines])
    assert sorted(np.sign(starts[:, 0] - 100.0)) == [-1, -1, -1, 1, 1, 1]
    # 30 mm below the middle in diffusion, 12 more in the reference image.
    np.testing.assert_allclose(starts[:, 1], 100.0 + 42.0, atol=0.1)


def test_a_side_that_was_not_followed_is_told(tmp_path):
    seen, masks = followed(tmp_path)
    _, right = seen.diffusion.tracked
    cut = TrackedTract("CST", "left", "truncated_by_lesion", 4)
    one = replace(seen, diffusion=replace(seen.diffusion, tracked=(cut, right)))
    gallery = draw(one, masks)
    assert len(gallery.panels) == 2
    assert "Left: not followed (truncated by lesion)" in gallery.note
    neither = replace(seen, diffusion=replace(seen.diffusion, tracked=(cut, replace(cut, side="right"))))
    assert draw(neither, masks).problem.startswith("Left: not followed (truncated by lesion); right: not")
    assert draw(replace(seen, diffusion=replace(seen.diffusion, tracked=())), masks) is None


def test_streamlines_that_cannot_be_read_are_named(tmp_path):
    seen, masks = followed(tmp_path)
    (tmp_path / "left.tck").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"left.tck: cannot be read for the report"):
        draw(seen, masks)
    (tmp_path / "left.tck").unlink()
    with pytest.raises(InputError, match=r"left.tck: cannot be read for the report"):
        draw(seen, masks)
