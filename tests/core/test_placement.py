"""A sequence's place is judged: right, shifted or turned away, half out of view."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mripipe.core import placement
from mripipe.core.coregistration import register_sequence
from mripipe.core.grid import Volume, reorient
from mripipe.core.phantom import mni_to_native, native_to_mni, render_visit, true_masks, visit_grid
from mripipe.core.placement import check_placement

MOTION = np.eye(4)
MOTION[:3, :3] = Rotation.from_euler("xyz", (2, -3, 2), degrees=True).as_matrix()
MOTION[:3, 3] = (3.0, -2.0, 4.0)
"""Reference mm to moving mm."""


def head(points):
    """Return grey values 0 to 1 at head mm (..., 3), scalp and skull included, and the brain."""
    waves = sum(
        np.sin(points @ np.array(k)) for k in ((0.12, 0.03, 0.06), (-0.05, 0.11, 0.06), (0.05, -0.06, 0.12))
    )
    far = np.linalg.norm(points / (60.0, 75.0, 55.0), axis=-1)
    grey = np.where(far < 1, 0.6 + waves / 8.0, 0.0)
    return np.where((far > 1.08) & (far < 1.2), 0.9, grey), far < 1


def acquire(codes, zooms, motion, contrast, seed):
    size = np.array((170, 200, 160))
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = motion[:3, 3] - size / 2
    shape = tuple(int(mm / zoom) for mm, zoom in zip(size, zooms, strict=True))
    to_head = np.linalg.inv(motion) @ affine
    grey, brain = head(np.moveaxis(np.indices(shape), 0, -1) @ to_head[:3, :3].T + to_head[:3, 3])
    data = np.where(grey > 0, contrast(grey), 0.0) + np.random.default_rng(seed).normal(0.0, 6.0, shape)
    turned, turned_affine = reorient(data.astype(np.float32), affine, codes=codes)
    return Volume(turned, turned_affine), reorient(brain, affine, codes=codes)[0]


@pytest.fixture(scope="module")
def pair():
    """Make a reference with its brain, and a sequence of another contrast, thick slices and other axes."""
    reference, brain = acquire("LAS", (3.0, 3.0, 3.0), np.eye(4), lambda g: 60 + 80 * g, 1)
    moving, _ = acquire("PSR", (3.0, 3.0, 6.0), MOTION, lambda g: 150 - 100 * g, 2)
    return reference, brain, moving


def test_the_right_place_is_not_doubted(pair):
    placed = check_placement(*pair, MOTION, np.eye(4))
    assert placed.gain < -0.02
    assert placed.better is None
    assert placed.in_view > 0.95
    # The furthest point: 5.4 mm of shift, and up to 5 mm by 4 degrees at 75 mm.
    assert 4.0 < placed.moved_mm < 11.0


@pytest.mark.parametrize("away", [(20, 0, 0), (0, -20, 0), (0, 0, 20), (12, -12, 11), (-10, 0, 0)])
def test_a_place_away_fits_worse_than_another(pair, away):
    wrong = MOTION.copy()
    wrong[:3, 3] += away
    placed = check_placement(*pair, wrong, np.eye(4))
    assert placed.gain > 0.02
    # Where it looks better is nearer to the right place.
    assert np.linalg.norm((placed.better - MOTION)[:3, 3]) < np.linalg.norm(away)


def test_a_turned_place_fits_worse_than_another(pair):
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("x", 18, degrees=True).as_matrix()
    assert check_placement(*pair, MOTION @ turn, np.eye(4)).gain > 0.02


def test_the_scanners_own_place_is_tried():
    # Far beyond the shifts that are tried.
    reference, brain = acquire("RAS", (4.0, 4.0, 4.0), np.eye(4), lambda g: 60 + 80 * g, 1)
    moving, _ = acquire("RAS", (4.0, 4.0, 4.0), np.eye(4), lambda g: 150 - 100 * g, 2)
    astray = np.eye(4)
    astray[:3, 3] = (0.0, 48.0, 0.0)
    placed = check_placement(reference, brain, moving, astray, np.eye(4))
    assert placed.gain > 0.1
    assert placed.moved_mm == pytest.approx(48.0)


def test_what_is_out_of_view_is_told(pair):
    reference, brain, moving = pair
    # Axes PSR: the second points up.
    slab = Volume(moving.data[:, :10], moving.affine)
    placed = check_placement(reference, brain, slab, MOTION, np.eye(4))
    assert placed.in_view < 0.5
    assert placed.gain is None


def test_a_registration_that_ran_away_is_begun_anew(pair, monkeypatch):
    reference, brain, moving = pair
    astray = MOTION.copy()
    astray[:3, 3] += (0.0, 14.0, 0.0)
    answers = [astray]

    def runs_away_once(*given, **options):
        return answers.pop() if answers else register_sequence(*given, **options)

    monkeypatch.setattr(placement, "register_sequence", runs_away_once)
    found, placed = placement.register_and_check(reference, brain, moving, np.eye(4))
    np.testing.assert_allclose(found, MOTION, atol=0.6)
    assert placed.better is None


def test_without_a_better_end_the_first_is_kept_and_doubted(pair, monkeypatch):
    astray = MOTION.copy()
    astray[:3, 3] += (0.0, 14.0, 0.0)
    monkeypatch.setattr(placement, "register_sequence", lambda *_, **__: astray)
    found, placed = placement.register_and_check(*pair, np.eye(4))
    np.testing.assert_array_equal(found, astray)
    assert placed.better is not None


def test_a_dead_end_that_no_other_pose_beats_is_left_by_turned_starts(monkeypatch):
    turned = MOTION.copy()
    turned[:3, :3] = Rotation.from_euler("x", 22, degrees=True).as_matrix()
    reference, brain = acquire("LAS", (3.0, 3.0, 3.0), np.eye(4), lambda g: 60 + 80 * g, 1)
    moving, _ = acquire("PSR", (3.0, 3.0, 6.0), turned, lambda g: 150 - 100 * g, 2)
    dead_end = np.eye(4)
    judgements = [placement.Placement(moved_mm=0.0, gain=-0.001, in_view=1.0, better=None)]

    def ends_there(*given, levels, **options):
        if levels == (placement.COARSE, placement.FINE):
            return dead_end
        return register_sequence(*given, levels=levels, **options)

    def sees_nothing_better_once(*given):
        return judgements.pop() if judgements else check_placement(*given)

    monkeypatch.setattr(placement, "register_sequence", ends_there)
    monkeypatch.setattr(placement, "check_placement", sees_nothing_better_once)
    found, placed = placement.register_and_check(reference, brain, moving, np.eye(4))
    np.testing.assert_allclose(found, turned, atol=0.3)
    assert not placed.doubtful


def test_a_pose_is_right_to_a_tenth_of_a_millimetre(phantom_head):
    """By mutual information alone this one lies 0.2 mm astray."""
    fine = visit_grid(phantom_head, 0, "T1w", zooms_mm=(1.2, 1.2, 1.2))
    thick = visit_grid(phantom_head, 0, "T2w", zooms_mm=(1.0, 1.0, 5.0))
    reference, moving = (
        Volume(render_visit(phantom_head, 0, name, grid), grid.affine)
        for name, grid in (("T1w", fine), ("T2w", thick))
    )
    brain = true_masks(phantom_head, 0, fine, labels=("brain",))["brain"]
    found, _ = placement.register_and_check(reference, brain, moving, np.eye(4))
    inside = np.argwhere(brain)[::997] @ fine.affine[:3, :3].T + fine.affine[:3, 3]
    truth = mni_to_native(phantom_head, 0, native_to_mni(phantom_head, 0, inside), sequence="T2w")
    apart = np.linalg.norm(inside @ found[:3, :3].T + found[:3, 3] - truth, axis=1)
    assert apart.max() < 0.12


@pytest.mark.parametrize(("gain", "doubtful"), [(-0.001, True), (0.01, True), (-0.02, False), (None, False)])
def test_a_pose_is_doubted_where_others_fit_about_as_well(gain, doubtful):
    assert placement.Placement(0.0, gain, 1.0, None).doubtful is doubtful
