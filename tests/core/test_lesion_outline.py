"""Narrow gaps of an infarct are closed, wide ones are not, and its border stays where it is."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.lesion_outline import closed_outline

SHAPE = (40, 44, 36)
POINTS = np.moveaxis(np.indices(SHAPE), 0, -1).astype(float)
WHOLE = np.ones(SHAPE, bool)


def ramp(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Return a ball's probability, one half at its radius."""
    return np.clip(0.5 + (radius - np.linalg.norm(POINTS - centre, axis=-1)) / 3.0, 0.0, 1.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("width", "closes"), [(2, True), (4, True), (8, False)])
def test_a_sulcus_is_closed_and_a_wide_gap_is_not(axis, width, closes):
    whole = ramp((20.0, 22.0, 18.0), 13.0)
    middle = (20, 22, 18)[axis]
    gap = (POINTS[..., axis] >= middle) & (POINTS[..., axis] < middle + width)
    deep = np.linalg.norm(POINTS - (20.0, 22.0, 18.0), axis=-1) < 9.0
    closed = closed_outline(np.where(gap, 0.0, whole), WHOLE)
    assert closed.dtype == np.float32
    filled = np.mean(closed[gap & deep] >= 0.5)
    assert filled == 1.0 if closes else filled < 0.1


def test_the_border_of_what_has_no_gap_stays_between_voxels_where_it_is():
    whole = ramp((20.3, 21.6, 18.2), 11.0)
    closed = closed_outline(whole, WHOLE)
    edge = np.abs(whole - 0.5) < 0.4
    np.testing.assert_allclose(closed[edge], whole[edge], atol=0.06)
    assert (closed >= 0.5).sum() == pytest.approx((whole >= 0.5).sum(), rel=0.01)


def test_nothing_is_closed_where_no_infarct_may_be():
    whole = ramp((20.0, 22.0, 18.0), 13.0)
    gap = (POINTS[..., 1] >= 21) & (POINTS[..., 1] < 24)
    torn = np.where(gap, 0.0, whole)
    closed = closed_outline(torn, ~gap)
    np.testing.assert_array_equal(closed[gap], 0.0)
    assert np.all(closed >= torn.astype(np.float32))


def test_at_the_grids_edge_nothing_is_added():
    torn = np.zeros(SHAPE)
    torn[:6] = 0.9
    np.testing.assert_array_equal(closed_outline(torn, WHOLE), torn.astype(np.float32))


def test_without_an_infarct_there_is_none():
    assert not closed_outline(np.zeros(SHAPE), WHOLE).any()
