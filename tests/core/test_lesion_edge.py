"""The border half way between infarct and tissue, for faint and bright infarcts and blurred edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mripipe.core.lesion_edge import BAND_MM, edge_log_odds

SHAPE = (56, 60, 52)
POINTS = np.moveaxis(np.indices(SHAPE), 0, -1).astype(float)
WHOLE = np.ones(SHAPE, bool)


def distance(side: int) -> np.ndarray:
    """Return how deep in an ellipsoid of 11 mL each voxel lies, in mm."""
    centre = (28.0 + 6.0 * side, 30.0, 25.0)
    radius = np.linalg.norm((POINTS - centre) / (13.0, 16.0, 12.0), axis=-1)
    return (1.0 - radius) * 13.0


def pictures(side: int, *, flair: float, t1w: float, blur_mm: float, seed: int = 0) -> np.ndarray:
    """T1w and FLAIR of white matter with patches of grey, and an infarct with a soft edge."""
    rng = np.random.default_rng(seed)
    share = gaussian_filter((distance(side) > 0).astype(float), blur_mm)
    grey = gaussian_filter((gaussian_filter(rng.normal(size=SHAPE), 3.0) > 0.04).astype(float), 0.7)
    tissue = np.stack([100.0 - 25.0 * grey, 80.0 + 15.0 * grey])
    sick = np.array([t1w, flair])[:, None, None, None]
    mixed = tissue + share * (sick - tissue)
    return (mixed + rng.normal(0.0, 4.0, mixed.shape)).astype(np.float32)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("flair", "t1w"), [(118.0, 60.0), (180.0, 35.0)])
@pytest.mark.parametrize("start_mm", [-1.3, 1.3])
def test_a_border_drawn_too_wide_or_too_narrow_is_drawn_half_way(side, flair, t1w, start_mm):
    truth = distance(side) > 0
    drawn = distance(side) > -start_mm
    assert abs(drawn.sum() / truth.sum() - 1.0) > 0.2
    log_odds, held = edge_log_odds(
        pictures(side, flair=flair, t1w=t1w, blur_mm=1.2), drawn, WHOLE, np.ones(SHAPE, bool)
    )
    new = np.where(held, log_odds > 0, drawn)
    assert abs(new.sum() / truth.sum() - 1.0) < 0.07


def test_only_the_border_is_decided():
    drawn = distance(1) > 0
    _, held = edge_log_odds(
        pictures(1, flair=150.0, t1w=50.0, blur_mm=0.8), drawn, WHOLE, np.ones(SHAPE, bool)
    )
    assert held.any()
    assert not held[np.abs(distance(1)) > BAND_MM + 2.0].any()


def test_fluid_what_is_out_of_view_and_what_is_not_looked_at_are_left_alone():
    drawn = distance(1) > 0
    images = pictures(1, flair=150.0, t1w=50.0, blur_mm=0.8)
    solid, region = POINTS[..., 0] > 28, POINTS[..., 1] > 26
    images[1, :, :, 30:] = np.nan
    _, held = edge_log_odds(images, drawn, region, solid)
    assert held.any()
    assert not (held & ~(solid & region)).any()
    assert not held[..., 30:].any()


def test_without_an_infarct_or_one_with_no_depth_nothing_is_said():
    images = pictures(1, flair=150.0, t1w=50.0, blur_mm=0.8)
    thin = np.zeros(SHAPE, bool)
    thin[20, 20:30, 20:30] = True
    for drawn in (np.zeros(SHAPE, bool), thin, WHOLE):
        _, held = edge_log_odds(images, drawn, WHOLE, np.ones(SHAPE, bool))
        assert not held.any()
