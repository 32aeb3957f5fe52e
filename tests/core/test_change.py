"""Minimal detectable change."""

import math

import numpy as np
import pytest

from mripipe.core.change import REPEAT_SHARE, minimal_detectable_change_ml, repeat_deviation_ml


def test_a_balls_border_moved_by_the_error_of_a_repeat():
    # Volume of the shell between two balls, by the closed form.
    radius, moved = 25.0, 2.0 * REPEAT_SHARE
    surface = 4 * math.pi * radius**2 / 100.0
    shell = 4 / 3 * math.pi * ((radius + moved / 2) ** 3 - (radius - moved / 2) ** 3) / 1000.0
    assert repeat_deviation_ml(surface, (2.0, 2.0, 2.0)) == pytest.approx(shell, rel=1e-4)


def test_a_border_in_thick_slices_is_less_sure():
    # Border pieces of a ball look evenly into all directions: the mean square of the edge that each meets.
    rng = np.random.default_rng(4)
    normals = rng.normal(size=(200000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    edges = np.array([0.7, 0.7, 3.0])
    met = np.sqrt(np.mean(((normals * edges) ** 2).sum(axis=1)))
    thick, cube = (repeat_deviation_ml(100.0, voxel) for voxel in (edges, (1.0, 1.0, 1.0)))
    assert thick / cube == pytest.approx(met, 0.01)


def test_one_repeat_in_twenty_differs_by_more():
    rng = np.random.default_rng(3)
    deviations = np.array([0.6, 1.4])
    differences = np.diff(rng.normal(0.0, deviations, (40000, 2)), axis=1)
    beyond = np.mean(np.abs(differences) > minimal_detectable_change_ml(*deviations))
    assert beyond == pytest.approx(0.05, abs=0.005)
