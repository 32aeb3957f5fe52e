"""Minimal detectable change."""

import math

import numpy as np
import pytest

from mripipe.core.change import REPEAT_MM, minimal_detectable_change_ml


def test_a_balls_border_moved_by_the_error_of_a_repeat():
    # Volume of the shell between two balls, by the closed form, against 1.96 sqrt(2) of it.
    radius = 25.0
    surface = 4 * math.pi * radius**2 / 100.0
    shell = 4 / 3 * math.pi * ((radius + REPEAT_MM / 2) ** 3 - (radius - REPEAT_MM / 2) ** 3) / 1000.0
    assert minimal_detectable_change_ml(surface, surface) == pytest.approx(
        1.96 * math.sqrt(2) * shell, rel=1e-4
    )


def test_one_repeat_in_twenty_differs_by_more():
    rng = np.random.default_rng(3)
    surfaces = np.array([60.0, 140.0])
    differences = np.diff(rng.normal(0.0, REPEAT_MM / 10.0 * surfaces, (40000, 2)), axis=1)
    beyond = np.mean(np.abs(differences) > minimal_detectable_change_ml(*surfaces))
    assert beyond == pytest.approx(0.05, abs=0.005)
