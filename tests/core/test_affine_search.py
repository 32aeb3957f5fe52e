"""Coarse affine: its parameters, its picture of a head, and a pose that is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mripipe.atlases.template import load_template
from mripipe.core import affine_search
from mripipe.core.affine_search import head_picture, in_contrast_of, pose_matrix, search_affine
from mripipe.core.grid import Volume, reorient

STEP = 2


def coarse(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array[::STEP, ::STEP, ::STEP])


def coarse_affine() -> np.ndarray:
    return load_template().affine @ np.diag([STEP, STEP, STEP, 1.0])


def test_pose_turns_about_the_centre_and_carries_it_to_the_start():
    parameters = np.array([1.0, 2.0, 3.0, 0.0, 0.0, np.pi / 2, np.log(2.0), 0.0, np.log(0.5)])
    centre, start = np.array([10.0, 20.0, 30.0]), np.array([-5.0, 0.0, 5.0])
    matrix = pose_matrix(parameters, centre, start)
    np.testing.assert_allclose(matrix @ [10, 20, 30, 1], [-4, 2, 8, 1])
    # A step to the right, doubled, then turned by a quarter about z, points forward.
    np.testing.assert_allclose(matrix @ [11, 20, 30, 1], [-4, 4, 8, 1], atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1.0)


def test_template_takes_on_a_sequences_contrast():
    gm, wm, csf = np.eye(3, dtype=np.float32)[:, :, None, None]
    t1 = np.array([0.6, 0.9, 0.1], np.float32)[:, None, None]
    np.testing.assert_array_equal(in_contrast_of("T1w", t1, gm, wm, csf), t1)
    grey, white, fluid = in_contrast_of("T2w", t1, gm, wm, csf).ravel()
    assert fluid > grey > white
    grey, white, fluid = in_contrast_of("FLAIR", t1, gm, wm, csf).ravel()
    assert grey > white > fluid


def test_picture_is_a_bright_brain_in_a_dark_shell():
    points = np.moveaxis(np.indices((60, 60, 60)), 0, -1) - 29.5
    radius = np.linalg.norm(points, axis=-1)
    mask, wm = radius < 18, (radius < 12).astype(np.float32)
    gm = (mask & (radius >= 12)).astype(np.float32)
    index, brightness = head_picture(gm, wm, mask, sequence="T1w", step=2)
    assert np.all(index % 2 == 0)
    depth = np.linalg.norm(index - 29.5, axis=1)
    assert depth.max() <= 18 + 8 + 1
    assert len(index) == pytest.approx(4 / 3 * np.pi * 26**3 / 8, rel=0.05)
    white, grey, shell = (
        brightness[(depth > a) & (depth < b)].mean() for a, b in ((0, 9), (14, 16), (20, 26))
    )
    assert white > grey > 2 * shell


def test_known_pose_is_found(monkeypatch):
    # A coarser search is quicker, and good enough to tell that the pose is the right way round.
    monkeypatch.setattr(affine_search, "SEARCH_MM", 8.0)
    template = load_template()
    pose = np.eye(4)
    turn = Rotation.from_euler("xyz", (12, -6, 8), degrees=True).as_matrix()
    pose[:3, :3] = turn @ np.diag([0.95, 1.04, 1.0])
    pose[:3, 3] = (20.0, -30.0, 15.0)
    # The template itself, its header moved: no interpolation stands between image and truth.
    noise = np.random.default_rng(0).normal(0.0, 0.03, coarse(template.t1).shape)
    data = np.where(coarse(template.mask), coarse(template.t1) + noise, 0.0).astype(np.float32)
    data, affine = reorient(data, pose @ coarse_affine(), codes="PSR")
    found = search_affine(
        Volume(data, affine),
        coarse(template.gm),
        coarse(template.wm),
        coarse(template.mask),
        coarse_affine(),
        sequence="T1w",
    )
    points = np.argwhere(coarse(template.mask))[::50] @ coarse_affine()[:3, :3].T + coarse_affine()[:3, 3]
    apart = points @ (found - pose)[:3, :3].T + (found - pose)[:3, 3]
    assert np.linalg.norm(apart, axis=1).mean() < 3.0
