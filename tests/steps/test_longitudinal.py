"""All visits of a participant in one within-subject space, from files to files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mripipe.core import serial
from mripipe.core.grid import reorient
from mripipe.errors import ProcessingError
from mripipe.model.settings import RegistrationSettings
from mripipe.model.stages import PreparedVisit, SegmentedVisit
from mripipe.model.study import Session
from mripipe.steps.load import save_image
from mripipe.steps.longitudinal import align_visits

ZOOMS = (3.0, 3.0, 3.0)
FAST = RegistrationSettings(level="fast")


def rows(matrix):
    return tuple(tuple(float(value) for value in row) for row in matrix)


POSES = []
for angles, shift in (((4, -3, 6), (5, 2, -3)), ((-5, 4, 1), (-2, 6, 4))):
    POSES.append(np.eye(4))
    POSES[-1][:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    POSES[-1][:3, 3] = shift


def draw(points):
    """Return a head's intensity, brain and cavity at points (N, 3) of the head at rest."""
    radius = np.sqrt(np.sum((points / [50.0, 60.0, 46.0]) ** 2, axis=1))
    waves = sum(np.sin(points @ k) for k in ([0.2, 0.05, 0.1], [-0.1, 0.2, 0.1], [0.1, -0.1, 0.2]))
    image = (100.0 + 15.0 * waves) / (1.0 + np.exp((radius - 1.0) * 30.0))
    image += 60.0 * np.exp(-(((radius - 1.3) / 0.06) ** 2))
    cavity = np.linalg.norm(points - [25.0, 5.0, 8.0], axis=1) < 15.0
    return np.where(cavity, 20.0, image), radius < 1.0, cavity


@pytest.fixture(scope="module")
def visits(tmp_path_factory) -> tuple[SegmentedVisit, ...]:
    folder = tmp_path_factory.mktemp("visits")
    made = []
    for number, (codes, offset) in enumerate((("LAS", (2.0, -1.0, 1.0)), ("PSR", (-1.0, 2.0, 2.0)))):
        shape = (50, 56, 48)
        affine = np.diag([*ZOOMS, 1.0])
        affine[:3, 3] = [-75.0, -84.0, -72.0]
        to_head = np.linalg.inv(POSES[number]) @ affine
        points = np.indices(shape).reshape(3, -1).T @ to_head[:3, :3].T + to_head[:3, 3]
        paths = {name: folder / f"{number}_{name}.nii.gz" for name in ("preproc", "brain", "lesion")}
        noise = np.random.default_rng(number).normal(0.0, 3.0, shape)
        for (name, path), part in zip(paths.items(), draw(points), strict=True):
            array = part.reshape(shape) + (noise if name == "preproc" else 0)
            data, turned = reorient(array.astype(np.float32), affine, codes=codes)
            save_image(path, data, turned)
        # The head at rest stands in for MNI here: a first guess some millimetres off.
        coarse = POSES[number] @ np.diag([1.05, 0.97, 1.02, 1.0])
        coarse[:3, 3] += offset
        prepared = PreparedVisit(
            Session("sub-001", f"ses-{number}"),
            reference_suffix="T1w",
            preproc=paths["preproc"],
            brain_mask=paths["brain"],
            affine_to_mni=rows(coarse),
            rough_warp=folder / "not_needed_here.nii.gz",
        )
        lesion = paths["lesion"]
        volumes = (14.0, 10.0, 20.0, 2.0, 14.0, None)
        made.append(
            SegmentedVisit(
                prepared, "auto", "right", lesion, lesion, None, lesion, *volumes, lesion, lesion, lesion
            )
        )
    return tuple(made)


@pytest.fixture
def no_engine(monkeypatch):
    monkeypatch.setattr(serial, "register_affine", lambda fixed, moving, start, **_: start)


def test_visits_meet_in_a_template(visits, tmp_path):
    found = align_visits(visits, settings=FAST, folder=tmp_path)
    assert found.session_ids == ("ses-0", "ses-1")
    first, second = (np.array(matrix) for matrix in found.to_visit)
    truth = POSES[1] @ np.linalg.inv(POSES[0])
    brain = nib.load(visits[0].prepared.brain_mask)
    points = np.argwhere(np.asarray(brain.dataobj) > 0)[::50] @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    apart = second @ np.linalg.inv(first) - truth
    errors = np.linalg.norm(points @ apart[:3, :3].T + apart[:3, 3], axis=1)
    assert errors.mean() < 0.2
    assert found.template == tmp_path / "template.nii.gz"
    template = nib.load(found.template)
    assert nib.aff2axcodes(template.affine) == ("R", "A", "S")
    assert template.get_data_dtype() == np.float32
    np.testing.assert_allclose(template.header.get_zooms(), ZOOMS)


def test_way_to_mni_lies_between_the_visits(visits, tmp_path, no_engine):
    found = align_visits(visits, settings=FAST, folder=tmp_path)
    ways = [
        np.linalg.inv(t) @ np.array(v.prepared.affine_to_mni)
        for t, v in zip(found.to_visit, visits, strict=True)
    ]
    # Affines this near each other have nearly the same mean entry by entry.
    np.testing.assert_allclose(found.affine_to_mni, np.mean(ways, axis=0), atol=0.1)


def test_order_of_visits_changes_no_byte(visits, tmp_path, no_engine):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    there = align_visits(visits, settings=FAST, folder=folders[0])
    back = align_visits(visits[::-1], settings=FAST, folder=folders[1])
    assert back.session_ids == there.session_ids[::-1]
    assert back.to_visit == there.to_visit[::-1]
    assert back.affine_to_mni == there.affine_to_mni
    assert back.template.read_bytes() == there.template.read_bytes()


def test_single_visit_is_its_own_space(visits, tmp_path):
    found = align_visits(visits[:1], settings=FAST, folder=tmp_path)
    np.testing.assert_array_equal(found.to_visit[0], np.eye(4))
    assert found.template is None
    assert found.affine_to_mni == visits[0].prepared.affine_to_mni
    assert list(tmp_path.iterdir()) == []


def test_no_lesion_is_nothing_to_leave_out(visits, tmp_path, no_engine):
    mask = nib.load(visits[0].final_mask)
    empty = save_image(tmp_path / "none.nii.gz", np.zeros(mask.shape), mask.affine, dtype=np.uint8)
    healthy = (replace(visits[0], final_mask=empty), visits[1])
    assert align_visits(healthy, settings=FAST, folder=tmp_path).template is not None


def test_template_shows_the_preferred_sequence_alone(visits, tmp_path, no_engine):
    other = replace(visits[1], prepared=replace(visits[1].prepared, reference_suffix="FLAIR"))
    mixed = align_visits((other, visits[0]), settings=FAST, folder=tmp_path)
    brain = nib.load(visits[0].prepared.brain_mask)
    scan = np.asarray(nib.load(visits[0].prepared.preproc).dataobj)[np.asarray(brain.dataobj) > 0]
    template = np.asarray(nib.load(mixed.template).dataobj)
    # One image, interpolated: its brightest voxel stays below the scan's own, in units of the brain's median.
    whole = np.asarray(nib.load(visits[0].prepared.preproc).dataobj)
    assert template.max() <= whole.max() / np.median(scan) + 1e-5
    other_folder = tmp_path / "both"
    other_folder.mkdir()
    both = align_visits(visits, settings=FAST, folder=other_folder)
    assert not np.array_equal(template, np.asarray(nib.load(both.template).dataobj))


def test_empty_brain_is_refused_by_name(visits, tmp_path):
    mask = nib.load(visits[0].prepared.brain_mask)
    path = save_image(tmp_path / "brain.nii.gz", np.zeros(mask.shape), mask.affine, dtype=np.uint8)
    broken = replace(visits[0], prepared=replace(visits[0].prepared, brain_mask=Path(path)))
    with pytest.raises(ProcessingError, match="sub-001 ses-0: no brain"):
        align_visits((broken, visits[1]), settings=FAST, folder=tmp_path)


def test_different_sequences_are_told(visits, tmp_path, no_engine):
    other = replace(visits[1], prepared=replace(visits[1].prepared, reference_suffix="FLAIR"))
    (warning,) = align_visits((other, visits[0]), settings=FAST, folder=tmp_path).warnings
    assert "ses-0 T1w, ses-1 FLAIR" in warning
    assert align_visits(visits, settings=FAST, folder=tmp_path).warnings == ()
