import numpy as np
import pytest

from mripipe.core.diffusion_denoise import denoise
from mripipe.core.diffusion_mask import diffusion_mask
from mripipe.core.diffusion_motion import (
    SeriesMotion,
    estimate_motion,
    motion_numbers,
    turned_table,
)
from mripipe.core.diffusion_resample import resample_series
from mripipe.core.diffusion_slices import find_dropped_slices
from mripipe.core.gradient_axes import check_axes
from mripipe.core.gradients import GradientTable
from mripipe.core.phantom_diffusion import even_gradients
from mripipe.core.rigid import motion_matrix

AFFINE = np.array([[-3.0, 0, 0, 45.0], [0, 3.0, 0, -48.0], [0, 0, 3.0, -42.0], [0, 0, 0, 1.0]])
SHAPE = (31, 33, 29)


def table(n=20):
    even = even_gradients(n)
    return GradientTable(even.b_values, even.directions)


def head(points, gradients):
    """Signal (M, N) of a head of two tissues and a bundle at RAS mm (M, 3)."""
    x, y, z = points.T
    radius = np.sqrt((x / 33) ** 2 + (y / 38) ** 2 + (z / 32) ** 2)
    inside = 1 / (1 + np.exp((radius - 1) * 30))
    fluid = 1 / (1 + np.exp((np.hypot((x - 6) / 10, (y + 4) / 14) ** 2 + (z / 12) ** 2 - 1) * 3))
    for cx, cy, cz in np.random.default_rng(9).uniform(-26, 26, (60, 3)):
        fluid = np.maximum(fluid, np.exp(-(((x - cx) / 5) ** 2) - ((y - cy) / 5) ** 2 - ((z - cz) / 5) ** 2))
    bundle = 0.3 * np.exp(-(((np.abs(x) - 14) / 6) ** 2) - (y / 8) ** 2) * (1 - fluid)
    out = np.empty((len(points), gradients.b_values.size))
    for k, (b, g) in enumerate(zip(gradients.b_values, gradients.directions, strict=True)):
        tissue = 700 * np.exp(-b * 0.8e-3) * (1 - fluid - bundle)
        along = 500 * bundle * np.exp(-b * (0.3e-3 + 1.2e-3 * g[2] ** 2))
        out[:, k] = inside * (tissue + along + 1500 * fluid * np.exp(-b * 3e-3))
    return out


def grid_points():
    return np.argwhere(np.ones(SHAPE, bool)) @ AFFINE[:3, :3].T + AFFINE[:3, 3]


def scan(gradients, steps, sigma=6.0, bends=None):
    """Series of a head that moves by a matrix a volume; the gradients stay with the scanner.

    ``bends`` (N, 4, 4) displace it after that, with the signal that is pressed together.
    """
    rng = np.random.default_rng(1)
    data = np.empty((*SHAPE, len(steps)), np.float32)
    for k, step in enumerate(steps):
        back = np.linalg.inv(step)
        unbent = np.eye(4) if bends is None else np.linalg.inv(bends[k])
        shown = grid_points() @ unbent[:3, :3].T + unbent[:3, 3]
        points = shown @ back[:3, :3].T + back[:3, 3]
        own = gradients.take([k])
        if own.b_values[0]:
            own = own.turned(back[None, :3, :3])
        data[..., k] = (head(points, own)[:, 0] * np.linalg.det(unbent)).reshape(SHAPE)
    return data + rng.normal(0, sigma, data.shape).astype(np.float32)


@pytest.fixture(scope="module")
def moved():
    rng = np.random.default_rng(2)
    gradients = table()
    steps = [np.eye(4)] + [
        motion_matrix(np.concatenate([np.deg2rad(rng.uniform(-2, 2, 3)), rng.uniform(-2, 2, 3)]))
        for _ in range(20)
    ]
    data = scan(gradients, steps)
    mask = diffusion_mask(data[..., 1:].mean(axis=3), np.full(3, 3.0))
    return data, gradients, np.array(steps), mask


def test_the_mask_holds_the_head_and_little_more(moved):
    _, _, _, mask = moved
    x, y, z = grid_points().T
    radius = np.sqrt((x / 33) ** 2 + (y / 38) ** 2 + (z / 32) ** 2).reshape(SHAPE)
    assert mask[radius < 0.9].all()
    assert not mask[radius > 1.35].any()


def test_no_signal_means_no_mask():
    assert diffusion_mask(np.zeros((9, 9, 9)), np.ones(3)).all()


def test_motion_is_recovered(moved):
    data, gradients, steps, mask = moved
    found = estimate_motion(data, AFFINE, gradients, mask)
    relative = found.matrices @ np.linalg.inv(steps)
    # The volumes against each other, then against b = 0.
    apart = relative[1:] @ np.linalg.inv(relative[1])
    assert np.linalg.norm(apart[:, :3, 3], axis=1).max() < 0.3
    angles = np.arccos(np.clip((np.trace(apart[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert np.rad2deg(angles).max() < 0.5
    assert np.linalg.norm(relative[1:, :3, 3], axis=1).max() < 0.3
    corrected = resample_series(data, AFFINE, found, mask)
    still = scan(gradients, [np.eye(4)] * 21, sigma=0.0)
    inner = mask & (still[..., 1] > 100)
    before, after = (np.abs(d[inner] - still[inner])[:, 1:].mean() for d in (data, corrected))
    assert after < 0.6 * before


def eddy_currents(gradients, axis):
    """Displacement along an array axis, linear in space and in the gradient."""
    linear = np.array([[0.02, -0.01, 0.012], [0.008, 0.025, -0.01], [-0.01, 0.006, 0.02]])
    bends = np.tile(np.eye(4), (gradients.b_values.size, 1, 1))
    bends[:, axis, :3] += gradients.directions @ linear
    return bends


def test_eddy_currents_are_found_apart_from_motion():
    # The array's first axis runs from right to left here.
    axis = 0
    rng = np.random.default_rng(4)
    # Directions of half a sphere: their eddy currents have something in common.
    gradients = table(24)
    steps = np.stack(
        [np.eye(4)]
        + [
            motion_matrix(np.concatenate([np.deg2rad(rng.uniform(-1, 1, 3)), rng.uniform(-1, 1, 3)]))
            for _ in range(24)
        ]
    )
    bends = eddy_currents(gradients, axis)
    data = scan(gradients, steps, bends=bends)
    mask = diffusion_mask(data[..., 1:].mean(axis=3), np.full(3, 3.0))
    found = estimate_motion(data, AFFINE, gradients, mask, eddy_axis=axis)
    linear = found.eddy[:, axis, :3] - np.eye(3)[axis]
    true = bends[:, axis, :3] - np.eye(3)[axis]
    assert np.abs(true).max() > 0.02
    assert np.median(np.abs(linear - true)[1:]) < 0.003
    assert np.abs(linear - true).max() < 0.009
    np.testing.assert_array_equal(found.eddy[0], np.eye(4))
    assert found.eddy_mm.max() == pytest.approx(1.2, abs=0.6)
    inside = grid_points()[mask.ravel()]
    there, right = (
        np.einsum("nij,pj->npi", m[:, :3, :3], inside) + m[:, None, :3, 3]
        for m in (found.whole, bends @ steps)
    )
    assert np.median(np.linalg.norm(there - right, axis=2)) < 0.25
    turns = found.matrices[:, :3, :3] @ np.transpose(steps[:, :3, :3], (0, 2, 1))
    angles = np.arccos(np.clip((np.trace(turns, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert np.median(np.rad2deg(angles)) < 0.3
    assert np.rad2deg(angles).max() < 0.8
    corrected = resample_series(data, AFFINE, found, mask)
    unmoved = scan(gradients, [np.eye(4)] * 25, sigma=0.0)
    inner = mask & (unmoved[..., 1] > 100)
    without = resample_series(data, AFFINE, estimate_motion(data, AFFINE, gradients, mask), mask)
    error = [np.abs(d[inner] - unmoved[inner])[:, 1:].mean() for d in (without, corrected)]
    assert error[1] < 0.9 * error[0]


def test_without_eddy_currents_none_are_found(moved):
    data, gradients, _, mask = moved
    assert estimate_motion(data, AFFINE, gradients, mask, eddy_axis=1).eddy_mm.max() < 0.4


def test_motion_makes_no_slice_fall_out(moved):
    data, gradients, _, mask = moved
    for axis in range(3):
        assert not find_dropped_slices(data, gradients, mask, axis=axis).any()


def test_directions_turn_with_the_head():
    quarter = motion_matrix(np.array([0, 0, np.pi / 2, 0, 0, 0.0]))
    motion = SeriesMotion(np.stack([np.eye(4), quarter]), np.array([0.0, 50.0]))
    gradients = GradientTable(np.array([0.0, 1000.0]), np.array([[0, 0, 0], [0, 1.0, 0]]))
    # The head turned from x to y: a gradient along the scanner's y is along the head's x.
    np.testing.assert_allclose(turned_table(gradients, motion).directions[1], [1, 0, 0], atol=1e-12)


def test_motion_is_told_in_mm_and_degrees():
    step = motion_matrix(np.array([np.deg2rad(3.0), 0, 0, 0, 0, 0]))
    step[:3, 3] += [1.0, -2.0, 0.5]
    rows = motion_numbers(SeriesMotion(np.stack([step]), np.zeros(1)), np.zeros(3))
    np.testing.assert_allclose(rows[0], [1.0, -2.0, 0.5, 3.0, 0, 0], atol=1e-3)


def test_denoising_comes_nearer_to_the_truth_and_knows_the_noise():
    gradients = table()
    clean = scan(gradients, [np.eye(4)] * 21, sigma=0.0)
    noisy = clean + np.random.default_rng(3).normal(0, 25, clean.shape).astype(np.float32)
    mask = clean[..., 1] > 50
    found = denoise(noisy, mask)
    assert found.sigma == pytest.approx(25.0, rel=0.1)
    error = [np.sqrt(np.mean((d - clean)[mask] ** 2)) for d in (noisy, found.data)]
    assert error[1] < 0.6 * error[0]
    np.testing.assert_array_equal(found.data[0, 0, 0], noisy[0, 0, 0])


def test_an_image_smaller_than_a_neighbourhood_stays_as_it_is():
    data = np.ones((4, 4, 4, 7), np.float32)
    assert denoise(data, np.ones((4, 4, 4), bool)).data is data


def bundles(affine):
    """Rings in three planes, so that every flip and order of the axes breaks one."""
    index = np.argwhere(np.ones((40, 40, 40), bool))
    p = index @ affine[:3, :3].T + affine[:3, 3]
    p = p - p.mean(axis=0)
    directions, fa = np.zeros((len(p), 3)), np.zeros(len(p))
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        radius = np.hypot(p[:, a], p[:, b])
        ring = (np.abs(radius - 20 - 4 * a) < 6) & (np.abs(p[:, c] - 8 * a + 8) < 5)
        way = np.zeros_like(p)
        way[:, a], way[:, b] = -p[:, b], p[:, a]
        directions[ring] = way[ring] / np.maximum(radius[ring], 1e-9)[:, None]
        fa[ring] = 0.7
    return directions.reshape(40, 40, 40, 3), fa.reshape(40, 40, 40)


LAS, RAS = np.diag([-2.0, 2, 2, 1]), np.diag([2.0, 2, 2, 1])


@pytest.mark.parametrize("affine", [LAS, RAS], ids=["LAS", "RAS"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_is_named_and_a_right_table_is_not(affine, axis):
    directions, fa = bundles(affine)
    assert check_axes(directions, fa, affine).name is None
    wrong = directions.copy()
    wrong[..., axis] *= -1
    assert check_axes(wrong, fa, affine).name == f"{'xyz'[axis]} flipped"


def test_too_little_white_matter_says_nothing():
    assert check_axes(np.zeros((5, 5, 5, 3)), np.zeros((5, 5, 5)), RAS).name is None
