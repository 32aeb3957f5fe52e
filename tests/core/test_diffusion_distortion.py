"""Distortion by the field: a known one is found from a reversed pair and undone, in any storage."""

import numpy as np
import pytest

from mripipe.core import diffusion_resample
from mripipe.core.diffusion_distortion import ReversedPair, estimate_field
from mripipe.core.diffusion_motion import SeriesMotion, still
from mripipe.core.diffusion_resample import FieldWarp, resample_series
from mripipe.core.grid import Volume
from mripipe.core.rigid import motion_matrix

SHAPE = (36, 42, 28)
ZOOMS = np.array([3.0, 3.0, 4.0])
NOISE = 12.0


def grid(flips=(1, 1, 1), turn=(0.0, 0.0, 0.0), shape=SHAPE, zooms=ZOOMS):
    """Affine of a grid about the origin; axes turned in degrees and flipped."""
    affine = np.eye(4)
    affine[:3, :3] = motion_matrix(np.array([*np.deg2rad(turn), 0, 0, 0]))[:3, :3] @ np.diag(
        np.array(flips) * zooms
    )
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


RAS, LAS, OBLIQUE = grid(), grid((-1, 1, 1)), grid((-1, -1, 1), (8.0, -6.0, 10.0))


def places(affine, shape=SHAPE):
    return np.argwhere(np.ones(shape, bool)) @ affine[:3, :3].T + affine[:3, 3]


def head(points):
    """Signal (M,) at RAS mm of a head that is not the same on both sides."""
    x, y, z = points.T
    radius = np.sqrt((x / 40) ** 2 + (y / 48) ** 2 + (z / 42) ** 2)
    inside = 1 / (1 + np.exp((radius - 1) * 14))
    fluid = np.zeros(len(points))
    for cx, cy, cz in np.random.default_rng(3).uniform(-34, 34, (60, 3)):
        away = ((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / 6.0**2
        fluid = np.maximum(fluid, np.exp(-away))
    return inside * (600 + 700 * fluid)


def field(points, mm=7.0):
    """Displacement in mm (M,): a hill at the front, a hollow on the left."""
    away = [((points - c) ** 2).sum(axis=1) / (2 * 16.0**2) for c in ([6.0, 26, -16], [-24.0, -10, 4])]
    return mm * (np.exp(-away[0]) - 0.6 * np.exp(-away[1]))


def slope(points, way):
    return (field(points + 0.05 * way) - field(points - 0.05 * way)) / 0.1


def observe(affine, axis, share, pose=None, shape=SHAPE, seed=0, way=None, noise=NOISE):
    """Image of the head whose field displaces it by ``share`` times the field, along an axis or ``way``."""
    pose = np.eye(4) if pose is None else pose
    own = affine[:3, axis] / np.linalg.norm(affine[:3, axis])
    way = own if way is None else way
    shown, back = places(affine, shape), np.linalg.inv(pose)
    points = shown
    for _ in range(60):
        points = (shown - share * field(points)[:, None] * way) @ back[:3, :3].T + back[:3, 3]
    thinned = head(points) / (1 + share * slope(points, back[:3, :3] @ way))
    noisy = thinned + np.random.default_rng(seed).normal(0, noise, len(points))
    return Volume(noisy.reshape(shape).astype(np.float32), affine)


def errors(found, affine, sign=1.0):
    points = places(affine)
    inside = (head(points) > 300).reshape(SHAPE)
    return np.abs(found.displacement_mm - sign * field(points).reshape(SHAPE))[inside]


@pytest.mark.parametrize(
    ("affine", "axis"), [(RAS, 1), (LAS, 0), (OBLIQUE, 1)], ids=["RAS j", "LAS i", "oblique j"]
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_field_is_found_with_its_sign(affine, axis, sign):
    pair = ReversedPair(observe(affine, axis, sign), observe(affine, axis, -sign, seed=1), axis, axis)
    apart = errors(estimate_field(pair), affine, sign)
    assert np.median(apart) < 0.3
    assert np.percentile(apart, 95) < 1.0


def test_no_field_is_found_where_there_is_none():
    found = estimate_field(ReversedPair(observe(RAS, 1, 0.0), observe(RAS, 1, 0.0, seed=1), 1, 1))
    inside = head(places(RAS)).reshape(SHAPE) > 300
    assert np.median(np.abs(found.displacement_mm[inside])) < 0.1
    assert np.abs(found.displacement_mm[inside]).max() < 0.6
    np.testing.assert_allclose(found.pose, np.eye(4), atol=0.1)


def test_images_of_another_grid_pose_gain_and_readout():
    pose = motion_matrix(np.array([*np.deg2rad([2.0, 3.0, -1.5]), 2.0, 0.0, -1.5]))
    other = grid((1, -1, 1), shape=(50, 34, 40), zooms=np.array([2.5, 3.5, 3.0]))
    first = observe(LAS, 1, 1.0)
    # Its second axis counts backwards, and the field displaces it the other way by 1.4 times as much.
    second = observe(other, 1, 1.4, pose, (50, 34, 40), seed=1)
    found = estimate_field(ReversedPair(first, Volume(2.5 * second.data, other), 1, 1, 1.4))
    apart = errors(found, LAS)
    assert np.median(apart) < 0.5
    inside = places(LAS)[head(places(LAS)) > 300]
    there, right = (inside @ m[:3, :3].T + m[:3, 3] for m in (found.pose, pose))
    # Along the phase encoding a motion is part of the field.
    assert np.abs(there - right)[:, [0, 2]].max() < 0.6
    assert np.abs(there - right)[:, 1].mean() < 0.8


def test_an_image_of_nothing_is_not_displaced():
    flat = Volume(np.zeros((9, 9, 9), np.float32), np.diag([3.0, 3, 3, 1]))
    found = estimate_field(ReversedPair(flat, flat, 1, 1))
    assert np.abs(found.displacement_mm).max() == 0.0


def true_warp(affine, axis, shares, poses=None):
    displacement = field(places(affine)).reshape(SHAPE).astype(np.float32)
    poses = np.tile(np.eye(4), (len(shares), 1, 1)) if poses is None else poses
    return FieldWarp(displacement, axis, np.array(shares), poses)


@pytest.mark.parametrize(("affine", "axis"), [(LAS, 0), (OBLIQUE, 1)], ids=["LAS i", "oblique j"])
def test_images_are_unwarped_and_their_signal_is_restored(affine, axis):
    pose = motion_matrix(np.array([0.02, 0.03, -0.02, 2.0, 1.0, -1.0]))
    data = np.stack(
        [observe(affine, axis, share, p, noise=0.0).data for share, p in ((1.0, None), (-0.7, pose))], -1
    )
    truth = head(places(affine)).reshape(SHAPE)
    mask = truth > 100
    warp = true_warp(affine, axis, [1.0, -0.7], np.stack([np.eye(4), pose]))
    fixed = resample_series(data, affine, still(2), mask, warp)
    for k in range(2):
        before, after = (np.abs(d[..., k] - truth)[truth > 500].mean() for d in (data, fixed))
        assert after < 0.35 * before
        # Signal was neither made nor lost, all in all and where most was pressed together.
        assert fixed[..., k].sum() == pytest.approx(truth.sum(), rel=0.01)
    steep = mask & (np.abs(slope(places(affine), affine[:3, axis] / ZOOMS[axis])) > 0.15).reshape(SHAPE)
    assert fixed[steep].mean() == pytest.approx(truth[steep].mean(), rel=0.02)


def test_motion_eddy_currents_and_field_are_one_interpolation(monkeypatch):
    calls = []
    real = diffusion_resample.map_coordinates
    monkeypatch.setattr(
        diffusion_resample, "map_coordinates", lambda *a, **kw: calls.append(kw["order"]) or real(*a, **kw)
    )
    way = RAS[:3, 1] / ZOOMS[1]
    step = motion_matrix(np.array([0.03, -0.02, 0.02, 1.5, -2.0, 1.0]))
    bend = np.eye(4)
    bend[1, :3] += [0.01, 0.02, -0.01]
    # Rendered by what the module says of where a point is found: field, then motion, then eddy currents.
    back = np.linalg.inv(bend @ step)
    shown = places(RAS) @ back[:3, :3].T + back[:3, 3]
    points = shown
    for _ in range(60):
        points = shown - field(points)[:, None] * way
    signal = head(points) / (1 + slope(points, way)) / np.linalg.det(bend[:3, :3])
    data = np.stack([head(places(RAS)), signal], axis=1).reshape(*SHAPE, 2).astype(np.float32)
    motion = SeriesMotion(np.stack([np.eye(4), step]), np.zeros(2), np.stack([np.eye(4), bend]), np.zeros(2))
    truth = data[..., 0]
    fixed = resample_series(data, RAS, motion, truth > 100, true_warp(RAS, 1, [0.0, 1.0]))
    assert calls == [3, 3]
    assert np.abs(fixed[..., 1] - truth)[truth > 500].mean() < 0.02 * truth.max()
    assert np.abs(data[..., 1] - truth)[truth > 500].mean() > 0.06 * truth.max()
