"""Blanking the face."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from mripipe.core.deface import face_region
from mripipe.errors import InputError, ProcessingError
from mripipe.model.dicom import Series
from mripipe.steps import ingest_deface
from mripipe.steps.ingest_convert import Converted
from mripipe.steps.ingest_deface import deface

STRAIGHT = np.eye(3)
TILT = nib.eulerangles.euler2mat(x=np.deg2rad(25))
"""Head nodding by 25 degrees."""
GRIDS = {
    "RAS": np.diag([3.0, 3, 3, 1]),
    "LAS": np.diag([-3.0, 3, 3, 1]),
    "PSR thick": np.array([[0, 0, 6.0, 0], [-2, 0, 0, 0], [0, 2.5, 0, 0], [0, 0, 0, 1]]),
}
SHAPES = {"RAS": (80, 90, 90), "LAS": (80, 90, 90), "PSR thick": (130, 105, 40)}


def head(name, turn=STRAIGHT):
    """Return a grid's affine, centred, and where its voxels lie in the head's own axes in mm."""
    affine, shape = GRIDS[name].copy(), SHAPES[name]
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) / 2)
    affine[:3] = turn @ affine[:3]
    points = np.moveaxis(np.indices(shape), 0, -1)
    return affine, apply_affine(affine, points) @ turn


def ellipsoid(points, centre, radii):
    return np.sum(((points - centre) / radii) ** 2, axis=-1) < 1


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("turn", [np.eye(3), TILT], ids=["straight", "tilted"])
def test_the_face_goes_and_the_head_stays(name, turn):
    affine, points = head(name, turn)
    brain = ellipsoid(points, (0, 0, 20), (68, 85, 60))
    ahead, down = turn @ [0, 1, 0], turn @ [0, 0, -1]
    face = face_region(brain, affine, anterior=ahead, inferior=down, margin_mm=12)
    assert not (face & ellipsoid(points, (0, 0, 20), (79, 96, 71))).any()
    places = {
        "nose": ((0, 108, -30), True),
        "mouth": ((0, 90, -75), True),
        "left cheek": ((-40, 85, -65), True),
        "vertex": ((0, 0, 90), False),
        "occiput": ((0, -98, 20), False),
        "neck": ((0, -40, -90), False),
        "left ear": ((-80, 0, -10), False),
    }
    for what, (place, gone) in places.items():
        at = np.round(apply_affine(np.linalg.inv(affine), turn @ np.array(place))).astype(int)
        assert face[tuple(at)] == gone, what


@pytest.mark.parametrize("side", [-1, 1])
def test_an_infarct_that_the_brain_mask_left_out_is_kept(side):
    affine, points = head("RAS")
    brain = ellipsoid(points, (0, 0, 20), (68, 85, 60))
    infarct = brain & ellipsoid(points, (side * 30, 70, 0), (25, 25, 25))
    face = face_region(brain & ~infarct, affine, margin_mm=12)
    assert infarct.any()
    assert not (face & infarct).any()
    assert face.any()


def test_what_cannot_be():
    with pytest.raises(ValueError, match="empty"):
        face_region(np.zeros((4, 4, 4), bool), np.eye(4))
    with pytest.raises(ValueError, match="margin_mm is -1"):
        face_region(np.ones((4, 4, 4), bool), np.eye(4), margin_mm=-1)


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Give an image of numbers, and let the brain be found where it is told."""
    affine, points = head("LAS")
    data = (np.arange(points[..., 0].size, dtype=np.uint16) % 5000 + 1).reshape(points.shape[:3])
    image = nib.Nifti1Image(data, affine)
    one = Converted(Series((), "", None, 3, ""), "T1w", image.to_bytes(), {"EchoTime": 1})
    brain = ellipsoid(points, (0, 0, 20), (68, 85, 60))
    told = SimpleNamespace(brain=brain, one=one, data=data)

    def prepare(session, *, folder):
        path = folder / "mask.nii.gz"
        nib.save(nib.Nifti1Image(told.brain.astype(np.uint8), affine), path)
        return SimpleNamespace(brain_mask=path, affine_to_mni=np.eye(4).tolist())

    monkeypatch.setattr(ingest_deface, "prepare_visit", prepare)
    return told


def test_only_the_face_is_changed(found, tmp_path):
    result = deface(found.one, tmp_path / "work")
    data = np.asarray(nib.Nifti1Image.from_bytes(result.image).dataobj)
    changed = data != found.data
    assert 0.05 < changed.mean() < 0.5
    assert not data[changed].any()
    assert not (changed & found.brain).any()
    assert result.image[:352] == found.one.image[:352]
    assert result.sidecar == {"EchoTime": 1, "Defaced": True}
    diffusion = replace(found.one, suffix="dwi")
    assert deface(diffusion, tmp_path / "other") is diffusion


def test_without_a_brain_there_is_no_defacing(found, tmp_path, monkeypatch):
    found.brain[:, :, 40:] = False
    with pytest.raises(InputError, match=r"a brain of \d+ mL was found"):
        deface(found.one, tmp_path / "small")

    def fail(session, *, folder):
        raise ProcessingError("nothing there")

    monkeypatch.setattr(ingest_deface, "prepare_visit", fail)
    with pytest.raises(InputError, match="series 3: no brain found"):
        deface(found.one, tmp_path / "none")
