"""Tissue mixture: what intensities grey matter, white matter and CSF have in one brain.

Each tissue is a Gaussian over all sequences at once; where it may be comes from template maps, so the fit is
an expectation-maximisation in which a voxel that no tissue explains loses its weight (Van Leemput et al.
2001, doi:10.1109/42.938237).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

CLASSES = ("gm", "wm", "csf")
ITERATIONS = 12
TYPICAL_DISTANCE = 3.0
"""Mahalanobis distance from which a voxel counts as unexplained."""
LEAST_HEALTHY = 0.5
"""Share of the voxels that at least has a say: where more is suspected, the suspicion is what is wrong."""
LEAST_DEVIATION = 0.02
"""Smallest standard deviation, as a share of white matter's brightness: no tissue is a single grey value."""


@dataclass(frozen=True)
class TissueModel:
    """Mean and covariance of each of `CLASSES`, sequences in the order of the images."""

    means: Floats
    """Shape (3, C)."""
    covariances: Floats
    """Shape (3, C, C)."""


def log_density(values: Floats, mean: Floats, covariance: Floats) -> Floats:
    """Return the log of a Gaussian's density at values (N, C)."""
    # Solving for a million voxels at once takes ten times as long as this product.
    white = (values - mean) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    distance = np.einsum("nc,nc->n", white, white)
    constant = np.linalg.slogdet(covariance)[1] + len(mean) * np.log(2 * np.pi)
    return np.asarray(-0.5 * (distance + constant))


def posterior(logs: Floats, prior: Floats) -> Floats:
    """Return class probabilities (K, N), sum 1, from log densities (K, N) and priors (K, N) above 0."""
    joint = logs + np.log(prior)
    share = np.exp(joint - joint.max(axis=0))
    return np.asarray(share / share.sum(axis=0))


def fit_tissues(values: Floats, priors: Floats) -> TissueModel:
    """Fit the tissues of one brain.

    Parameters
    ----------
    values : array (N, C)
        Intensities of N brain voxels in C sequences.
    priors : array (N, 3)
        Probability of `CLASSES` there by the template, rows sum to 1.

    Returns
    -------
    TissueModel

    """
    means, covariances = first_guess(values, priors)
    floor = np.diag((LEAST_DEVIATION * np.abs(means[1])) ** 2 + 1e-12)
    for _ in range(ITERATIONS):
        logs = np.stack([log_density(values, m, c + floor) for m, c in zip(means, covariances, strict=True)])
        share = posterior(logs, priors.T + 1e-6)
        dim = values.shape[1]
        for k in range(len(CLASSES)):
            constant = np.linalg.slogdet(covariances[k] + floor)[1] + dim * np.log(2 * np.pi)
            distance = np.sqrt(np.maximum(-2.0 * logs[k] - constant, 0.0))
            weight = share[k] * (distance < TYPICAL_DISTANCE)
            total = weight.sum() + 1e-12
            means[k] = weight @ values / total
            centred = values - means[k]
            covariances[k] = (weight[:, None] * centred).T @ centred / total
    return TissueModel(means, covariances + floor)


def voxels_to_fit(left_out: NDArray[np.bool_] | None, region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which voxels of a region (N,) tissues are fitted to: all but those left out.

    All of them where nothing is left out, or more than half would be.

    Examples
    --------
    >>> voxels_to_fit(np.array([True, False, True]), np.array([True, True, False])).tolist()
    [False, True]

    """
    whole = np.ones(np.count_nonzero(region), bool)
    if left_out is None:
        return whole
    counted = ~left_out[region]
    return counted if counted.mean() >= LEAST_HEALTHY else whole


def first_guess(values: Floats, priors: Floats) -> tuple[Floats, Floats]:
    """Return medians (3, C) and robust covariances (3, C, C) of the voxels that the template is surest of."""
    means, covariances = [], []
    for k in range(priors.shape[1]):
        sure = priors[:, k] >= np.quantile(priors[:, k], 0.9)
        middle = np.median(values[sure], axis=0)
        spread = 1.4826 * np.median(np.abs(values[sure] - middle), axis=0) + 1e-6
        means.append(middle)
        covariances.append(np.diag(spread**2))
    return np.array(means), np.array(covariances)
