"""Healthy tissue's intensities, with CSF from the ventricles and sulci full of mixtures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from mripipe.core.healthy import HealthyModel, fit_healthy, mixed_prior


def sample(fluid: float, grey: float, white: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw voxels of pure tissue, and as many mixtures of grey matter and CSF as there is CSF."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(size=3000)
    mixed = fluid + share * (grey - fluid)
    means = np.concatenate([np.full(8000, grey), np.full(8000, white), np.full(1000, fluid), mixed])
    sure = np.repeat(
        [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.02, 0.03, 0.95], [0.5, 0.05, 0.45]],
        [8000, 8000, 1000, 3000],
        axis=0,
    )
    return (means + rng.normal(0.0, 4.0, len(means)))[:, None], sure


@pytest.mark.parametrize(("fluid", "grey", "white"), [(20.0, 70.0, 100.0), (200.0, 110.0, 80.0)])
def test_tissues_are_found_although_sulci_are_mixtures(fluid, grey, white):
    values, priors = sample(fluid, grey, white)
    model = fit_healthy(values, priors, dark_csf=fluid < grey)
    np.testing.assert_allclose(model.means[:, 0], [grey, white, fluid], atol=2.0)
    assert np.sqrt(model.covariances[:, 0, 0]).max() < 7.0


def test_a_fifth_of_white_matter_that_is_infarct_does_not_move_the_tissues():
    values, priors = sample(20.0, 70.0, 100.0)
    values[8000:9600] = 38.0
    model = fit_healthy(values, priors, dark_csf=True)
    np.testing.assert_allclose(model.means[:, 0], [70.0, 100.0, 20.0], atol=2.5)


def test_mixture_is_spread_evenly_between_grey_matter_and_fluid():
    model = HealthyModel(np.array([[70.0], [100.0], [20.0]]), np.full((3, 1, 1), 16.0))
    at = np.array([[10.0], [20.0], [45.0], [68.0], [90.0]])
    wanted = [quad(lambda m, v=v: norm(m, 4.0).pdf(v) / 50.0, 20.0, 70.0)[0] for v in at[:, 0]]
    np.testing.assert_allclose(np.exp(model.log_densities(at)[3]), wanted, rtol=1e-4, atol=1e-9)


def test_priors_of_four_classes_sum_to_one():
    priors = np.array([[0.5, 0.1], [0.1, 0.8], [0.4, 0.1]])
    four = mixed_prior(priors)
    np.testing.assert_allclose(four.sum(axis=0), 1.0)
    assert four[3, 0] > four[3, 1] > 0
