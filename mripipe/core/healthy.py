"""What a healthy brain's voxels look like: grey matter, white matter, CSF and grey matter mixed with CSF.

CSF is taken from the ventricles, the one place where it is pure: over the sulci most voxels are mixtures, and
a Gaussian fitted there ends up halfway to grey matter. The mixture is a line between the two means, any share
of either being as likely (compare Shattuck et al. 2001, doi:10.1006/nimg.2000.0730).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mripipe.core.tissue import LEAST_DEVIATION, TYPICAL_DISTANCE, first_guess, log_density, posterior

Floats = NDArray[np.floating]

ITERATIONS = 15
LEAST_MIXED = 0.05
"""Some mixture is possible anywhere."""
SURE_SHARE = 0.9
"""Of the priors' 99th percentile: deep inside the template's ventricles."""


@dataclass(frozen=True)
class HealthyModel:
    """Intensities of healthy tissue in C sequences."""

    means: Floats
    """Grey matter, white matter, CSF; shape (3, C)."""
    covariances: Floats
    """Shape (3, C, C)."""

    def part(self, sequences: list[int]) -> HealthyModel:
        """Return the model of some of the sequences."""
        return HealthyModel(
            self.means[:, sequences], np.stack([c[np.ix_(sequences, sequences)] for c in self.covariances])
        )

    def log_densities(self, values: Floats) -> Floats:
        """Return log densities (4, N) at values (N, C): grey, white, CSF, grey mixed with CSF."""
        pure = [log_density(values, m, c) for m, c in zip(self.means, self.covariances, strict=True)]
        between = (self.covariances[0] + self.covariances[2]) / 2.0
        return np.stack([*pure, _log_line(values, self.means[2], self.means[0], between)])


def mixed_prior(priors: Floats) -> Floats:
    """Return priors (4, ...) with grey mixed with CSF as fourth class, from those of the three (3, ...)."""
    mixed = 2.0 * np.minimum(priors[0], priors[2]) + LEAST_MIXED
    four = np.concatenate([priors, mixed[None]])
    return np.asarray(four / four.sum(axis=0))


def fit_healthy(values: Floats, priors: Floats, *, dark_csf: bool) -> HealthyModel:
    """Fit one brain.

    Parameters
    ----------
    values : array (N, C)
        Intensities of N brain voxels in C sequences, the reference first.
    priors : array (N, 3)
        Probability of grey matter, white matter and CSF there by the template, rows sum to 1.
    dark_csf : bool
        CSF is darker than grey matter on the reference (T1w, FLAIR), else brighter (T2w).

    Returns
    -------
    HealthyModel

    """
    means, covariances = first_guess(values, priors)
    least = np.diag((LEAST_DEVIATION * np.abs(means[1])) ** 2 + 1e-12)
    fluid, spread = _ventricular(values, priors[:, 2], means[0, 0], 1.0 if dark_csf else -1.0)
    means[2], covariances[2] = fluid, np.diag(spread**2)
    expected = mixed_prior(priors.T + 1e-3)
    for _ in range(ITERATIONS):
        model = HealthyModel(means.copy(), covariances + least)
        logs = model.log_densities(values)
        share = posterior(logs, expected)
        for k in range(2):
            constant = log_density(means[k : k + 1], means[k], model.covariances[k])[0]
            typical = 2.0 * (constant - logs[k]) < TYPICAL_DISTANCE**2
            weight = share[k] * typical
            total = weight.sum() + 1e-9
            means[k] = weight @ values / total
            centred = values - means[k]
            covariances[k] = (weight[:, None] * centred).T @ centred / total
    return HealthyModel(means, covariances + least)


def _ventricular(values: Floats, csf: Floats, grey: float, sign: float) -> tuple[Floats, Floats]:
    """Return median and robust deviation of what is nearer to CSF than to grey matter in the ventricles."""
    sure = values[csf >= SURE_SHARE * np.quantile(csf, 0.99)]
    first = sign * sure[:, 0]
    middle = np.quantile(first, 0.25)
    for _ in range(10):
        near = first < (middle + sign * grey) / 2.0
        middle = np.median(first[near]) if near.any() else middle
    fluid = sure[near] if near.any() else sure
    centre = np.median(fluid, axis=0)
    return centre, 1.4826 * np.median(np.abs(fluid - centre), axis=0)


def _log_line(values: Floats, start: Floats, end: Floats, covariance: Floats) -> Floats:
    """Return the log density of points spread evenly between two means and blurred by a Gaussian."""
    along = np.linalg.solve(covariance, end - start)
    squared = max(float(along @ (end - start)), 1e-12)
    place, width = (values - start) @ along / squared, 1.0 / np.sqrt(squared)
    reached = ndtr((1.0 - place) / width) - ndtr(-place / width)
    across = log_density(values, start, covariance) + 0.5 * squared * place**2
    return np.asarray(across + np.log(np.sqrt(2.0 * np.pi) * width) + np.log(np.maximum(reached, 1e-12)))
