import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from mripipe.core.contrast_pose import about_origin, refine_pose
from mripipe.core.grid import Volume
from mripipe.core.rigid import motion_matrix
from mripipe.core.smooth_volume import smooth_with_slopes, value_at

TURN = motion_matrix(np.deg2rad([6.0, -4.0, 9.0, 0, 0, 0]))
LAS = np.array([[-2.5, 0, 0, 110.0], [0, 2.5, 0, -10.0], [0, 0, 2.5, 30.0], [0, 0, 0, 1]])
OBLIQUE = TURN @ np.array([[0, 2.0, 0, -60.0], [2.0, 0, 0, 40.0], [0, 0, 3.0, -55.0], [0, 0, 0, 1]])
GRIDS = {"LAS": (LAS, (40, 38, 34)), "oblique": (OBLIQUE, (50, 48, 28))}
PLAIN, WEIGHTED = np.array([1.0, 0.66, 0.5, 0.9]), np.array([0.05, 0.28, 0.235, 0.2])
"""Signal of fluid, grey matter, white matter and infarct."""


class Head:
    """Folded tissue with an infarct on one side, in RAS mm about the grid's middle."""

    STEP_MM = 1.25

    def __init__(self, middle, lesion):
        self.middle = middle
        rng = np.random.default_rng(11)
        place = np.indices((96, 96, 96)) * self.STEP_MM - 60.0
        folds = gaussian_filter(rng.normal(size=place.shape[1:]), 3.2)
        radius = np.sqrt((place[0] / 42) ** 2 + (place[1] / 40) ** 2 + (place[2] / 36) ** 2)
        depth = folds / folds.std() + 6.0 * (0.85 - radius)
        parts = [radius < 1.0, depth > 0.2, depth > 1.1]
        infarct = np.linalg.norm(place - np.array([22.0, 5, 5])[:, None, None, None], axis=0) < 16.0
        parts.append(infarct & (radius < 1.0) & lesion)
        shares = [gaussian_filter(part.astype(float), 0.8) for part in parts]
        self.shares = np.stack(shares)

    def image(self, affine, shape, pose, contrast, seed):
        """Image of the head after it was moved by the pose, with noise and a coil's shading."""
        index = np.argwhere(np.ones(shape, bool))
        shown = index @ affine[:3, :3].T + affine[:3, 3]
        back = np.linalg.inv(pose)
        at = (shown @ back[:3, :3].T + back[:3, 3] - self.middle + 60.0) / self.STEP_MM
        inside, brain, white, infarct = (map_coordinates(s, at.T, order=1) for s in self.shares)
        fluid, grey, white = inside - brain, brain - white, white
        tissue = np.stack([fluid, grey, white]) * (1.0 - infarct)
        value = contrast[:3] @ tissue + contrast[3] * infarct
        value *= np.exp(0.3 * np.sin((shown - self.middle) @ [0.02, 0.03, -0.02]))
        noise = np.random.default_rng(seed).normal(0, 0.006 * contrast.max(), len(value))
        return (1000 * (value + noise)).reshape(shape).astype(np.float32), inside.reshape(shape) > 0.5


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("lesion", [False, True], ids=["healthy", "infarct"])
def test_a_pose_between_contrasts_is_found_far_below_a_voxel(name, lesion):
    affine, shape = GRIDS[name]
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    head = Head(middle, lesion)
    pose = about_origin(motion_matrix(np.array([0.02, -0.015, 0.025, 0.9, -0.7, 1.1])), middle)
    fixed, mask = head.image(affine, shape, np.eye(4), PLAIN, 1)
    moving, _ = head.image(affine, shape, pose, WEIGHTED, 2)
    # Where mutual information leaves it, and further.
    start = about_origin(motion_matrix(np.array([0.004, 0.004, -0.004, 0.4, 0.4, -0.4])), middle) @ pose
    found = refine_pose(Volume(fixed, affine), mask, Volume(moving, affine), start)
    apart = np.linalg.inv(pose) @ found
    assert np.linalg.norm(apart[:3, :3] @ middle + apart[:3, 3] - middle) < 0.25
    assert np.rad2deg(np.arccos(np.clip((np.trace(apart[:3, :3]) - 1) / 2, -1, 1))) < 0.25


def test_where_nothing_can_be_compared_the_start_is_kept():
    affine, shape = GRIDS["LAS"]
    start = motion_matrix(np.array([0.01, 0, 0, 1.0, 2.0, 3.0]))
    image = Volume(np.random.default_rng(0).normal(size=shape).astype(np.float32), affine)
    np.testing.assert_array_equal(refine_pose(image, np.zeros(shape, bool), image, start), start)
    even = Volume(np.ones(shape, np.float32), affine)
    np.testing.assert_allclose(refine_pose(even, np.ones(shape, bool), image, start), start, atol=1e-6)
    np.testing.assert_allclose(refine_pose(image, np.ones(shape, bool), even, start), start, atol=1e-6)


def test_what_does_not_settle_is_not_believed():
    affine, shape = GRIDS["LAS"]
    rng = np.random.default_rng(3)
    one, other = (Volume(rng.normal(size=shape).astype(np.float32), affine) for _ in range(2))
    start = motion_matrix(np.array([0.01, 0, 0, 1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(refine_pose(one, np.ones(shape, bool), other, start), start)


@pytest.mark.parametrize("name", GRIDS)
def test_slopes_are_a_millimetre_along_ras(name):
    affine, shape = GRIDS[name]
    index = np.argwhere(np.ones(shape, bool))
    world = index @ affine[:3, :3].T + affine[:3, 3]
    slope = np.array([3.0, -2.0, 0.5])
    volume = smooth_with_slopes((world @ slope).reshape(shape), affine)
    inner = world.reshape(*shape, 3)[12:-12, 12:-12, 12:-12].reshape(-1, 3) + 0.3
    value, *found = value_at(volume, affine, inner, slopes=True)
    np.testing.assert_allclose(value, inner @ slope, rtol=1e-4, atol=0.05)
    np.testing.assert_allclose(np.stack(found, 1), np.broadcast_to(slope, inner.shape), atol=0.01)
