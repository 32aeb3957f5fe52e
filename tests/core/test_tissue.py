"""Tissue mixture: means and spreads that were put in come out, an infarct notwithstanding."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from mripipe.core.tissue import fit_tissues, log_density

MEANS = np.array([[70.0, 90.0], [100.0, 70.0], [25.0, 30.0]])
DEVIATIONS = np.array([[6.0, 7.0], [5.0, 5.0], [5.0, 6.0]])


def brain(*, infarct: float, misplaced: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Return intensities and priors; some voxels are of another tissue than expected, or infarct."""
    rng = np.random.default_rng(1)
    expected = rng.choice(3, size=20000, p=[0.5, 0.4, 0.1])
    actual = np.where(rng.random(20000) < misplaced, rng.choice(3, size=20000), expected)
    values = rng.normal(MEANS[actual], DEVIATIONS[actual])
    sick = rng.random(20000) < infarct
    values[sick] = rng.normal((45.0, 160.0), 5.0, (int(sick.sum()), 2))
    priors = np.full((20000, 3), 0.1)
    priors[np.arange(20000), expected] = 0.8
    return values, priors


@pytest.mark.parametrize("infarct", [0.0, 0.15])
def test_means_and_spreads_come_out(infarct):
    model = fit_tissues(*brain(infarct=infarct))
    np.testing.assert_allclose(model.means, MEANS, atol=1.5)
    # Cut at three deviations, a Gaussian's spread is a little too small; the floor adds a little.
    found = np.sqrt(np.stack([np.diag(c) for c in model.covariances]))
    np.testing.assert_allclose(found, DEVIATIONS, rtol=0.15)


def test_units_of_the_image_do_not_matter():
    values, priors = brain(infarct=0.1)
    one, other = fit_tissues(values, priors), fit_tissues(values * 37.0, priors)
    np.testing.assert_allclose(other.means, one.means * 37.0, rtol=1e-6)


def test_one_sequence_is_enough():
    values, priors = brain(infarct=0.0)
    np.testing.assert_allclose(fit_tissues(values[:, :1], priors).means[:, 0], MEANS[:, 0], atol=2.0)


def test_an_image_without_noise_has_a_spread_all_the_same():
    priors = np.repeat(np.eye(3) * 0.8 + 0.1, 50, axis=0)
    model = fit_tissues(np.repeat(MEANS, 50, axis=0), priors / priors.sum(axis=1, keepdims=True))
    assert np.all(np.linalg.det(model.covariances) > 0)


def test_log_density_is_the_gaussians():
    values = np.random.default_rng(2).normal(size=(50, 2)) * 20 + 60
    covariance = np.array([[30.0, 12.0], [12.0, 45.0]])
    wanted = multivariate_normal(MEANS[0], covariance).logpdf(values)
    np.testing.assert_allclose(log_density(values, MEANS[0], covariance), wanted, rtol=1e-9)
