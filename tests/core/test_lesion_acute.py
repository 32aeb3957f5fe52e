"""Acute infarct in diffusion: bright on the trace image with a low ADC, on either side."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.lesion import tissue_priors
from mripipe.core.lesion_acute import acute_log_odds

SHAPE = (61, 66, 56)
POINTS = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
RADIUS = np.linalg.norm(POINTS / (26.0, 29.0, 24.0), axis=-1)
BRAIN = RADIUS < 1.0
VENTRICLES = np.linalg.norm((np.abs(POINTS) - (5.0, 0.0, 0.0)) / (3.5, 9.0, 5.0), axis=-1) < 1
FLUID = VENTRICLES | (BRAIN & (RADIUS > 0.95))
WHITE = (RADIUS < 0.75) & ~FLUID
GREY = BRAIN & ~WHITE & ~FLUID
ALL = np.ones(SHAPE, bool)


def ball(side: int, radius: float = 4.0) -> np.ndarray:
    return BRAIN & ~FLUID & (np.linalg.norm(POINTS - (16.0 * side, 3.0, 2.0), axis=-1) < radius)


def diffusion(lesion: np.ndarray, *, trace: float = 200.0, adc: float = 0.45) -> np.ndarray:
    rng = np.random.default_rng(2)
    levels = {"trace": (110.0, 95.0, 40.0, trace), "ADC": (0.85, 0.75, 3.0, adc)}
    out = []
    for (grey, white, fluid, sick), noise in zip(levels.values(), (5.0, 0.05), strict=True):
        image = np.select([lesion, FLUID, WHITE, GREY], [sick, fluid, white, grey], 0.0)
        out.append((image + rng.normal(0.0, noise, SHAPE)).astype(np.float32))
    return np.stack(out)


def log_odds(pictures: np.ndarray, *kinds: str, territory: np.ndarray = ALL) -> np.ndarray:
    priors = tissue_priors(*(m.astype(np.float32) for m in (GREY, WHITE, FLUID)))
    return acute_log_odds(pictures, kinds, BRAIN, priors, territory)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("kinds", [("trace", "ADC"), ("trace",), ("ADC",)])
def test_a_fresh_infarct_stands_out_on_either_side(side, kinds):
    pictures = diffusion(ball(side))[[("trace", "ADC").index(kind) for kind in kinds]]
    odds = log_odds(pictures, *kinds)
    assert np.mean(odds[ball(side)] > 0) > 0.9
    rest = BRAIN & ~ball(side, 6.0)
    assert np.mean(odds[rest] > 0) < 0.03
    assert not odds[~BRAIN].any()


@pytest.mark.parametrize(("trace", "adc"), [(200.0, 0.8), (200.0, 1.4), (100.0, 0.8)])
def test_t2_shine_through_and_old_infarcts_do_not(trace, adc):
    odds = log_odds(diffusion(ball(1), trace=trace, adc=adc), "trace", "ADC")
    assert odds[ball(1, 3.0)].mean() < -1.0


def test_what_both_sides_show_speaks_less_and_so_does_another_territory():
    alone = log_odds(diffusion(ball(1)), "trace", "ADC")
    wide = ball(1, 9.0)
    one_side, both = (log_odds(diffusion(mask), "trace", "ADC") for mask in (wide, wide | ball(-1, 9.0)))
    outside = log_odds(diffusion(ball(1)), "trace", "ADC", territory=~ball(1, 8.0))
    core = ball(1, 2.5)
    assert both[core].mean() < one_side[core].mean() - 1.0
    assert outside[core].mean() == pytest.approx(alone[core].mean() - 0.5, abs=0.05)
