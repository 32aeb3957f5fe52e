"""Visits of one head brought into the space halfway between them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter
from scipy.spatial.transform import Rotation

import mripipe.core.serial as serial
from mripipe.core.grid import Volume, reorient
from mripipe.core.halfway import mean_image
from mripipe.core.rigid import mean_affine, motion_matrix, motion_vector, rigid_part
from mripipe.core.serial import SerialVisit, align_rigidly

SHAPE = (60, 64, 56)


def pose(seed: int, *, degrees: float = 6.0, millimetres: float = 6.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(rng.uniform(-degrees, degrees, 3))).as_matrix()
    matrix[:3, 3] = rng.uniform(-millimetres, millimetres, 3)
    return matrix


def draw(points: np.ndarray, *, cavity_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a head's intensity, brain and cavity at points (..., 3) of the head at rest, smooth in space."""
    radius = np.sqrt(np.sum((points / [48.0, 56.0, 44.0]) ** 2, axis=-1))
    folds = sum(
        np.sin(points @ np.array(k) + phase)
        for k, phase in (((0.21, 0.05, 0.1), 0.3), ((-0.08, 0.19, 0.11), 1.1), ((0.07, -0.12, 0.2), 2.0))
    )
    brain = radius <= 1.0
    cavity = np.linalg.norm(points - [-25.0, 5.0, 8.0], axis=-1) <= cavity_mm
    image = (100.0 + 12.0 * folds) / (1.0 + np.exp((radius - 1.0) * 30.0))
    image += 60.0 * np.exp(-(((radius - 1.25) / 0.06) ** 2))
    return np.where(cavity, 15.0, image), brain, cavity & brain


def visit(
    native_from_head: np.ndarray,
    start: np.ndarray,
    *,
    cavity_mm: float = 14.0,
    zooms: tuple[float, float, float] = (2.5, 2.5, 2.5),
    codes: str = "RAS",
    seed: int = 0,
    sequence: str = "T1w",
) -> SerialVisit:
    shape = np.ceil(np.array(SHAPE) * 2.5 / zooms).astype(int)
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = -(shape - 1) * zooms / 2.0
    index = np.indices(tuple(shape)).reshape(3, -1).T
    to_head = np.linalg.inv(native_from_head) @ affine
    image, brain, cavity = (
        part.reshape(shape) for part in draw(index @ to_head[:3, :3].T + to_head[:3, 3], cavity_mm=cavity_mm)
    )
    noise = np.random.default_rng(seed).normal(0.0, 3.0, tuple(shape))
    data, turned = reorient((image + noise).astype(np.float32), affine, codes=codes)
    masks = [reorient(mask, affine, codes=codes)[0] for mask in (brain, cavity)]
    return SerialVisit(Volume(data, turned), *masks, start, sequence)


def surface_error_mm(
    visits: list[SerialVisit], found: tuple[np.ndarray, ...], truth: list[np.ndarray]
) -> float:
    """Return the largest mean error over the brain's surface of all pairs."""
    errors = []
    for i, j in permutations(range(len(visits)), 2):
        brain, affine = visits[i].brain, visits[i].image.affine
        rim = np.argwhere(brain & ~binary_erosion(brain))
        points = np.c_[rim @ affine[:3, :3].T + affine[:3, 3], np.ones(len(rim))].T
        apart = found[j] @ np.linalg.inv(found[i]) @ points - truth[j] @ np.linalg.inv(truth[i]) @ points
        errors.append(float(np.linalg.norm(apart, axis=0).mean()))
    return max(errors)


def three_visits() -> tuple[list[SerialVisit], list[np.ndarray]]:
    truth = [pose(seed, degrees=9.0) for seed in (1, 2, 3)]
    starts = [t @ pose(10 + k, degrees=2.0, millimetres=3.0) for k, t in enumerate(truth)]
    visits = [
        visit(truth[0], starts[0], cavity_mm=12.0, seed=1),
        visit(truth[1], starts[1], cavity_mm=16.0, codes="LAS", seed=2),
        visit(truth[2], starts[2], cavity_mm=19.0, codes="PSR", zooms=(2.0, 2.0, 3.0), seed=3),
    ]
    return visits, truth


def test_visits_fit_each_other_with_a_growing_lesion_on_other_grids():
    visits, truth = three_visits()
    found = align_rigidly(visits, refine=True)
    assert surface_error_mm(visits, tuple(v.start for v in visits), truth) > 2.0
    assert surface_error_mm(visits, found, truth) < 0.2
    for matrix in found:
        np.testing.assert_allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix[:3, :3]) > 0


def test_space_is_halfway_between_the_first_guesses():
    visits, _ = three_visits()
    found = align_rigidly(visits, refine=False)
    moves = [motion_vector(np.linalg.inv(v.start) @ t) for v, t in zip(visits, found, strict=True)]
    assert min(np.linalg.norm(move) for move in moves) > 0.5
    # Zero to first order: moves of a few degrees commute that well.
    np.testing.assert_allclose(np.mean(moves, axis=0), 0.0, atol=0.1)


@pytest.fixture
def exact_register(monkeypatch):
    """Stand in for the engine: the true motion, with an error that depends on what is fixed."""
    calls = []

    def register(fixed, moving, start, *, fixed_mask, model, iterations):
        seed = int(np.abs(fixed.data).sum()) + 7 * int(np.abs(moving.data).sum())
        calls.append((fixed, moving, fixed_mask, model, iterations))
        return start @ pose(seed % 2**32, degrees=0.2, millimetres=0.2)

    monkeypatch.setattr(serial, "register_affine", register)
    return calls


def test_order_of_visits_changes_no_byte(exact_register):
    visits, _ = three_visits()
    visits.append(visits[0])
    expected = align_rigidly(visits, refine=True)
    order = [2, 3, 1, 0]
    found = align_rigidly([visits[k] for k in order], refine=True)
    # The first and the last are one visit twice: they may trade places.
    same = [expected[k].tobytes() for k in order if k in (1, 2)]
    assert same == [m.tobytes() for m, k in zip(found, order, strict=True) if k in (1, 2)]


def test_lesions_of_both_visits_and_their_surroundings_are_left_out(exact_register):
    here, there = pose(4), pose(5)
    first = visit(here, here, cavity_mm=0.0, codes="LPS")
    second = visit(there, there, cavity_mm=15.0, zooms=(2.0, 2.0, 3.0))
    hidden = visit(here, here, cavity_mm=15.0, codes="LPS").lesion
    align_rigidly([first, second], refine=True)
    by_shape = {call[0].shape: call[2] for call in exact_register}
    region = by_shape[serial._cut_out(first).image.shape]
    cut = serial._cut_out(SerialVisit(first.image, first.brain, hidden, here, "T1w"))
    assert not (region & cut.lesion).any()
    around = binary_dilation(cut.lesion) & ~cut.lesion
    # Sampled on two grids the outlines differ by less than a voxel.
    assert (region & around).sum() < 0.25 * around.sum()
    # All the rest of the brain is compared, with a rim.
    assert (region & cut.brain).sum() > 0.9 * (cut.brain & ~binary_dilation(cut.lesion, iterations=2)).sum()
    assert (region & ~cut.brain).any()


def test_directions_that_disagree_count_less(exact_register, monkeypatch):
    truth = np.eye(4)
    visits = [visit(truth, truth, seed=seed) for seed in range(3)]
    wrong = float(visits[2].image.data.sum())

    def register(fixed, moving, start, **_):
        # The third visit fits nothing: both directions are off, and not each other's inverse.
        off = wrong in (float(fixed.data.sum()), float(moving.data.sum()))
        return motion_matrix(np.array([0, 0, 0, 8.0 * (fixed.data.sum() < moving.data.sum()), 0, 0]) * off)

    monkeypatch.setattr(serial, "_cut_out", lambda v: v)
    monkeypatch.setattr(serial, "register_affine", register)
    found = align_rigidly(visits, refine=True)
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)


def test_visits_of_different_sequence_are_compared_by_their_edges(exact_register):
    first, second = visit(pose(1), pose(1)), visit(pose(2), pose(2), sequence="T2w")
    align_rigidly([first, second], refine=True)
    for fixed, moving, _, model, _ in exact_register:
        assert model == "rigid"
        # The gradient of a smooth region is far from its intensity of about 100.
        assert max(np.median(fixed.data), np.median(moving.data)) < 20.0


@pytest.mark.parametrize(
    ("voxel_mm", "expected"), [(1.0, "60x20x0"), (2.0, "60x20"), (3.0, "60"), (0.5, "60x20x0x0")]
)
def test_comparison_begins_at_about_4_mm_and_refines_to_2(exact_register, voxel_mm, expected):
    truth = np.eye(4)
    drawn = visit(truth, truth)
    scaled = Volume(drawn.image.data, drawn.image.affine @ np.diag([voxel_mm / 2.5] * 3 + [1.0]))
    align_rigidly([SerialVisit(scaled, drawn.brain, drawn.lesion, truth, "T1w")] * 2, refine=True)
    assert {call[4] for call in exact_register} == {expected}


def test_single_visit_keeps_its_first_guess():
    start = pose(1)
    (found,) = align_rigidly([visit(pose(2), start)], refine=True)
    np.testing.assert_allclose(found, start, atol=1e-12)


def test_rigid_part_forgets_scale_and_shear_and_keeps_the_centre():
    centre = np.array([3.0, -18.0, 8.0])
    turn = pose(6, degrees=40.0)
    stretched = turn @ np.array([[1.1, 0.02, 0, 0], [0.02, 0.9, 0, 0], [0, 0, 1.2, 0], [0, 0, 0, 1.0]])
    found = rigid_part(stretched, centre)
    np.testing.assert_allclose(found[:3, :3], turn[:3, :3], atol=1e-12)
    np.testing.assert_allclose(found @ [*centre, 1.0], stretched @ [*centre, 1.0], atol=1e-12)


def test_motion_vector_halves_and_inverts():
    matrix = pose(7, degrees=30.0, millimetres=20.0)
    half = motion_matrix(motion_vector(matrix) / 2.0)
    np.testing.assert_allclose(half @ half, matrix, atol=1e-12)
    np.testing.assert_allclose(motion_matrix(-motion_vector(matrix)), np.linalg.inv(matrix), atol=1e-12)


def test_mean_affine_does_not_shrink():
    turns = [np.eye(4), np.eye(4)]
    for turn, degrees in zip(turns, (-20, 20), strict=True):
        turn[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    np.testing.assert_allclose(mean_affine(turns), np.eye(4), atol=1e-12)


def test_mean_image_brings_visits_together_whatever_their_grid_and_gain():
    poses = [pose(1), pose(2)]
    visits = [
        visit(poses[0], poses[0], cavity_mm=0.0, codes="LAS", seed=1),
        visit(poses[1], poses[1], cavity_mm=0.0, codes="PSR", zooms=(2.0, 2.5, 3.0), seed=2),
    ]
    images = [visits[0].image, Volume(visits[1].image.data * 7.0, visits[1].image.affine)]
    mean = mean_image(images, [v.brain for v in visits], poses)
    np.testing.assert_allclose(mean.affine[:3, :3], np.diag([2.0, 2.0, 2.0]))
    index = np.indices(mean.shape).reshape(3, -1).T
    truth, brain, _ = draw(index @ mean.affine[:3, :3].T + mean.affine[:3, 3], cavity_mm=0.0)
    inside = binary_erosion(brain.reshape(mean.shape), iterations=3)
    assert abs(np.median(mean.data[brain.reshape(mean.shape)]) - 1.0) < 0.03
    wanted = gaussian_filter(truth.reshape(mean.shape), 0.5)[inside]
    assert np.corrcoef(mean.data[inside], wanted)[0, 1] > 0.97


def test_mean_image_counts_only_visits_that_were_scanned_there():
    whole = visit(np.eye(4), np.eye(4), cavity_mm=0.0)
    low = np.s_[:, :, : SHAPE[2] // 2]
    cut = Volume(whole.image.data[low], whole.image.affine)
    mean = mean_image([whole.image, cut], [whole.brain, whole.brain[low]], [np.eye(4), np.eye(4)])
    alone = mean_image([whole.image], [whole.brain], [np.eye(4)])
    top = np.s_[:, :, -15:]
    assert mean.shape == alone.shape
    np.testing.assert_array_equal(mean.data[top], alone.data[top])
    # Nobody scanned the margin beyond the field of view.
    assert mean.data.min() > -0.5
    assert np.isfinite(mean.data).all()
