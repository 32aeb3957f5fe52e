"""The border on T1w, where half infarct, half white matter is as bright as cortex."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mripipe.core.healthy import HealthyModel
from mripipe.core.lesion_partial_volume import partial_volume_log_odds

SHAPE = (56, 60, 52)
POINTS = np.moveaxis(np.indices(SHAPE), 0, -1).astype(float)
WHOLE = np.ones(SHAPE, bool)
GREY, WHITE, CSF, NOISE = 75.0, 100.0, 25.0, 4.0
MODEL = HealthyModel(np.array([[GREY], [WHITE], [CSF]]), np.full((3, 1, 1), NOISE**2))


def depth(side: int) -> np.ndarray:
    """Return how deep in an ellipsoid of 11 mL each voxel lies, in mm."""
    centre = (28.0 + 6.0 * side, 30.0, 25.0)
    radius = np.linalg.norm((POINTS - centre) / (13.0, 16.0, 12.0), axis=-1)
    return (1.0 - radius) * 13.0


def shares(**given: float) -> np.ndarray:
    names = ("grey", "white", "csf", "mixed")
    expected = np.array([given.get(name, 0.01) for name in names])
    return np.broadcast_to((expected / expected.sum())[:, None, None, None], (4, *SHAPE)).copy()


def picture(side: int, *, tissue: float, sick: float, blur_mm: float = 1.2) -> np.ndarray:
    share = gaussian_filter((depth(side) > 0).astype(float), blur_mm)
    rng = np.random.default_rng(side + 5)
    return (tissue + share * (sick - tissue) + rng.normal(0.0, NOISE, SHAPE)).astype(np.float32)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("sick", [45.0, 60.0])
@pytest.mark.parametrize(
    ("tissue", "expected"), [(WHITE, shares(white=0.9, grey=0.1)), (GREY, shares(grey=0.9, white=0.1))]
)
def test_a_border_drawn_too_narrow_is_drawn_half_way(side, sick, tissue, expected):
    truth, drawn = depth(side) > 0, depth(side) > 1.3
    assert drawn.sum() / truth.sum() < 0.8
    image = picture(side, tissue=tissue, sick=sick)
    log_odds, held = partial_volume_log_odds(image, drawn, WHOLE, WHOLE, expected, MODEL)
    new = np.where(held, log_odds > 0, drawn)
    assert new.sum() / truth.sum() == pytest.approx(1.0, abs=0.08)


def test_as_bright_as_cortex_is_infarct_where_white_matter_is_expected_and_cortex_elsewhere():
    drawn = depth(1) > 0
    image = np.where(drawn, 45.0, GREY).astype(np.float32)
    rim = (depth(1) < 0) & (depth(1) > -1.0)
    image[rim] = (45.0 + WHITE) / 2 - 2.0
    means = []
    for expected in (shares(white=1.0), shares(grey=1.0)):
        log_odds, held = partial_volume_log_odds(image, drawn, WHOLE, WHOLE, expected, MODEL)
        assert held[rim].all()
        means.append(np.mean(log_odds[rim]))
    assert means[0] > 0.5
    assert means[1] < -0.5


def test_what_is_like_csf_out_of_view_or_not_looked_at_is_left_alone():
    drawn, image = depth(1) > 0, picture(1, tissue=WHITE, sick=50.0)
    solid, region = POINTS[..., 0] > 28, POINTS[..., 1] > 26
    image[:, :, 30:] = np.nan
    log_odds, held = partial_volume_log_odds(image, drawn, region, solid, shares(white=1.0), MODEL)
    assert held.any()
    assert not held[~(solid & region)].any()
    assert not held[:, :, 30:].any()
    assert not log_odds[~held].any()
    assert np.isfinite(log_odds).all()


@pytest.mark.parametrize("size_mm", [0.0, 1.0])
def test_without_pure_voxels_of_the_infarct_nothing_is_decided(size_mm):
    drawn = np.linalg.norm(POINTS - (30.0, 30.0, 25.0), axis=-1) < size_mm
    image = picture(1, tissue=WHITE, sick=50.0)
    log_odds, held = partial_volume_log_odds(image, drawn, WHOLE, WHOLE, shares(white=1.0), MODEL)
    assert not held.any()
    assert not log_odds.any()


def test_an_infarct_as_bright_as_cortex_does_not_turn_the_line_round():
    drawn = depth(1) > 0
    image = picture(1, tissue=WHITE, sick=GREY + 3.0)
    log_odds, held = partial_volume_log_odds(image, drawn, WHOLE, WHOLE, shares(white=1.0, grey=0.3), MODEL)
    assert np.isfinite(log_odds).all()
    outside = held & (depth(1) < -1.5)
    assert np.mean(log_odds[outside] < 0) > 0.95
