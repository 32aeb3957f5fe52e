"""A patch of one grey among gyri is noticed by its surroundings, on either side, and healthy gyri are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter

from mripipe.core.lesion_region import regional_log_odds

SHAPE = (96, 104, 88)
T1W, T2W = (80.0, 125.0, 25.0), (110.0, 80.0, 240.0)
"""Grey matter, white matter, CSF."""
SHARES = np.array([0.45, 0.40, 0.15])


def brain():
    points = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
    return np.linalg.norm(points / (44.0, 48.0, 40.0), axis=-1) < 1, points


def gyri(seed=3):
    """Return 0, 1, 2 for grey matter, white matter and CSF in folds some mm wide, on each side its own."""
    grain = gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 1.2)
    low, high = np.quantile(grain, [SHARES[1], SHARES[1] + SHARES[0]])
    return np.where(grain < low, 1, np.where(grain < high, 0, 2))


def picture(means, patch=None, fluid=0.3, seed=3):
    """Fold tissue, and fill a patch with what is as bright as grey matter mixed with a share of CSF."""
    image = np.array(means)[gyri(seed)]
    if patch is not None:
        image = np.where(patch, means[0] + fluid * (means[2] - means[0]), image)
    return image + np.random.default_rng(seed + 1).normal(0.0, 4.0, SHAPE)


def evidence(means, patch=None, fluid=0.3):
    seen, _ = brain()
    grey, white, csf = SHARES
    expected = np.repeat(np.array([grey - 0.05, white, csf - 0.05, 0.1])[:, None], seen.sum(), axis=1)
    return seen, regional_log_odds(picture(means, patch, fluid), seen, expected, np.array(means))


@pytest.mark.parametrize("means", [T1W, T2W])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_patch_of_one_grey_is_noticed_and_its_mirrored_place_is_not(means, side):
    _, points = brain()
    far = np.linalg.norm(points - (side * 22.0, 0.0, 0.0), axis=-1)
    seen, odds = evidence(means, far < 11)
    assert odds[far < 5].min() > 1.0
    assert np.mean(odds[(far > 16) & seen] > 0) < 0.01
    assert (odds[far[::-1] < 11] <= 0).all()


@pytest.mark.parametrize("fluid", [0.3, 0.9])
def test_the_border_lies_where_the_patch_ends_however_dark_it_is(fluid):
    _, points = brain()
    far = np.linalg.norm(points - (22.0, 0.0, 0.0), axis=-1)
    _, odds = evidence(T1W, far < 13, fluid)
    radius = (3.0 * (odds > 0).sum() / (4.0 * np.pi)) ** (1.0 / 3.0)
    # Half of a Gaussian about a point of a ball's surface lies outside, and a little more.
    assert 11.0 < radius < 14.0


def test_healthy_gyri_hardly_speak_for_an_infarct():
    seen, odds = evidence(T1W)
    assert np.mean(odds[seen] > 0) < 0.005
    assert (odds[~seen] == 0).all()


def test_nothing_speaks_for_one_at_the_edge_of_a_mask():
    seen, points = brain()
    # Half a centimetre of CSF that a mask takes in on one side.
    skin = seen & (distance_transform_edt(seen) <= 5) & (points[..., 0] > 0)
    _, odds = evidence(T1W, skin)
    assert (odds[skin] <= 0).all()


def test_what_both_sides_show_counts_half():
    _, points = brain()
    one = np.linalg.norm(points - (22.0, 0.0, 0.0), axis=-1) < 11
    _, alone = evidence(T1W, one)
    _, both = evidence(T1W, one | one[::-1])
    middle = np.linalg.norm(points - (22.0, 0.0, 0.0), axis=-1) < 5
    assert both[middle].mean() < 0.7 * alone[middle].mean()
