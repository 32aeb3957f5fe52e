"""Shading left in an image, with and without an infarct in it."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.residual_bias import without_shading

SHAPE = (90, 100, 80)
POINTS = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
RADIUS = np.linalg.norm(POINTS / (42.0, 47.0, 38.0), axis=-1)
BRAIN = RADIUS < 1
GREY = BRAIN & (RADIUS >= 0.8)
FLUID = np.linalg.norm(POINTS, axis=-1) < 8
TRUE = np.select([FLUID, GREY, BRAIN], [25.0, 70.0, 100.0], 0.0)
PRIORS = np.stack([GREY, BRAIN & ~GREY & ~FLUID, FLUID]).astype(np.float32) * 0.9 + 0.1 / 3
INFARCT = np.linalg.norm(POINTS - (20.0, 0.0, 0.0), axis=-1) < 14


@pytest.mark.parametrize("infarct", [False, True])
def test_a_slope_is_taken_out_and_an_infarct_is_not(infarct):
    slope = np.exp(0.2 * POINTS[..., 0] / 42.0)
    true = np.where(INFARCT & BRAIN, 40.0, TRUE) if infarct else TRUE
    noise = np.random.default_rng(0).normal(0.0, 3.0, SHAPE)
    found = without_shading(true * slope + noise, BRAIN, PRIORS)
    white = BRAIN & ~GREY & ~FLUID & ~INFARCT
    sides = [np.median(found[white & (POINTS[..., 0] * side > 15)]) for side in (-1, 1)]
    # Of 0.24 between the sides before; a wider slope is for the first bias correction to take out.
    assert abs(np.log(sides[1] / sides[0])) < 0.12
    if infarct:
        assert np.median(found[INFARCT & BRAIN]) / np.median(found[white]) == pytest.approx(0.4, abs=0.05)


def test_what_was_not_scanned_stays_so():
    image = TRUE.copy()
    image[:, :, :20] = np.nan
    found = without_shading(image, BRAIN & np.isfinite(image), PRIORS)
    assert np.isnan(found[:, :, :20]).all()
    assert np.isfinite(found[BRAIN & np.isfinite(image)]).all()


def test_a_wide_infarct_hardly_brighter_than_tissue_keeps_its_contrast():
    wide = (np.linalg.norm(POINTS - (20.0, 0.0, 0.0), axis=-1) < 28) & BRAIN & ~FLUID
    noise = np.random.default_rng(0).normal(0.0, 5.0, SHAPE)
    image = np.where(wide, 1.12 * TRUE, TRUE) + noise
    white = BRAIN & ~GREY & ~FLUID

    def contrast(found):
        return np.median(found[wide & white]) / np.median(found[white & ~wide]) - 1.0

    whole = contrast(without_shading(image, BRAIN, PRIORS))
    spared = contrast(without_shading(image, BRAIN, PRIORS, left_out=wide))
    assert contrast(image) == pytest.approx(0.12, abs=0.01)
    assert spared == pytest.approx(0.12, abs=0.005)
    assert whole < 0.1
