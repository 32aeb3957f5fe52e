"""Proportional odds for ordered outcomes such as the modified Rankin Scale, and a test of its assumption.

    logit P(Y > j) = x beta - theta_j,  one beta for all cuts j

Brant's test fits each cut by a binary logistic model of its own and asks by a Wald statistic whether the
slopes agree. With some dozens of participants the chi-square distribution finds disagreement twice too often,
so the p value is calibrated: outcomes are drawn from the fitted proportional odds model, and the share of
them that look at least as far from it is the p value (parametric bootstrap).

Intervals and p values use t with (participants - parameters) degrees of freedom instead of the normal
distribution: `scripts/benchmarks/group_simulation.py` measures that they keep their level at 60 participants.

References
----------
McCullagh 1980, doi:10.1111/j.2517-6161.1980.tb01109.x; Brant 1990, doi:10.2307/2532457

"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.miscmodels.ordinal_model import OrderedModel

from mripipe.stats.logistic import fit_logistic, is_separated

CUT_SHARE: Final = 2
"""A cut of Brant's test needs this many participants a parameter on either side, and `CUT_LEAST` at least."""
CUT_LEAST: Final = 8
_STEEP: Final = 6.0
"""Log odds for one standard deviation: far beyond what any score does without separation."""


@dataclass(frozen=True)
class Fit:
    """Coefficients of a model with standard errors."""

    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]
    converged: bool
    freedom: float = float("inf")
    """Of the t distribution that intervals and p values use; infinite for the normal one."""

    @property
    def errors(self) -> NDArray[np.float64]:
        """Standard errors."""
        return np.sqrt(np.diag(self.covariance))


@dataclass(frozen=True)
class Brant:
    """Brant's test of proportional odds."""

    chi2: float
    freedom: int
    p: float
    """From the chi-square distribution, or calibrated where resamples were asked for."""
    cuts: int
    """Cuts with participants enough on either side."""
    by_term: NDArray[np.float64]
    """p of each term alone."""


def fit_ordinal(outcome: NDArray[np.float64], matrix: NDArray[np.float64]) -> tuple[Fit, NDArray[np.float64]]:
    """Fit a proportional odds model by maximum likelihood.

    Parameters
    ----------
    outcome : array, shape (n,)
        Ordered; levels that nobody has are left out.
    matrix : array, shape (n, n_terms)
        Without intercept.

    Returns
    -------
    tuple
        The fit, in which a coefficient above 0 goes with higher outcomes; and the probability of each level
        for each participant, shape (n, levels).

    """
    centre, scale = matrix.mean(axis=0), matrix.std(axis=0)
    _, codes = np.unique(outcome, return_inverse=True)
    with warnings.catch_warnings():
        # What they say is asked for below, and reported.
        warnings.simplefilter("ignore")
        model = OrderedModel(codes, (matrix - centre) / scale, distr="logit")
        result = model.fit(method="bfgs", maxiter=500, gtol=1e-8, disp=False)
        chances = np.asarray(result.predict())
        width = matrix.shape[1]
        covariance = np.asarray(result.cov_params())[:width, :width]
    score = float(np.abs(model.score(result.params)).max()) / len(outcome)
    good = bool(np.isfinite(covariance).all() and score < 1e-4)
    freedom = float(max(len(outcome) - len(result.params), 1))
    fit = Fit(np.asarray(result.params)[:width] / scale, covariance / np.outer(scale, scale), good, freedom)
    return fit, chances


def calibrated_brant(
    outcome: NDArray[np.float64],
    matrix: NDArray[np.float64],
    chances: NDArray[np.float64],
    *,
    resamples: int,
    seed: int,
) -> Brant | None:
    """Test the assumption with a p value that holds for few participants too.

    Parameters
    ----------
    outcome, matrix
        As in `brant_test`.
    chances : array, shape (n, levels)
        Of the fitted model.
    resamples : int
        Outcomes drawn from it.
    seed : int

    """
    found = brant_test(outcome, matrix)
    if found is None:
        return None
    rng = np.random.default_rng(seed)
    levels, edges = np.unique(outcome), np.cumsum(chances, axis=1)[:, :-1]
    as_far = usable = 0
    for _ in range(resamples):
        drawn = levels[(rng.random((len(edges), 1)) > edges).sum(axis=1)]
        other = brant_test(drawn, matrix)
        if other is not None:
            usable += 1
            as_far += other.p <= found.p
    return replace(found, p=(1 + as_far) / (1 + usable))


def brant_test(outcome: NDArray[np.float64], matrix: NDArray[np.float64]) -> Brant | None:
    """Test whether one slope holds for all cuts; None where fewer than two cuts can be fitted.

    Parameters
    ----------
    outcome : array, shape (n,)
        Ordered.
    matrix : array, shape (n, n_terms)
        Without intercept.

    """
    n, width = matrix.shape
    needed = max(CUT_SHARE * (width + 1), CUT_LEAST)
    scaled = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    full = np.column_stack([np.ones(n), scaled])
    slopes, inverses, chances = [], [], []
    for level in np.unique(outcome)[:-1]:
        above = (outcome > level).astype(float)
        if min(above.sum(), n - above.sum()) < needed:
            continue
        try:
            fit, probability = fit_logistic(above, scaled)
        except np.linalg.LinAlgError:
            # On the way to an estimate that does not exist.
            continue
        # The exact test for separation is slow; only slopes this steep can be a sign of it.
        if not np.abs(fit).max() < _STEEP and is_separated(above, scaled):
            continue
        slopes.append(fit[1:])
        chances.append(probability)
        inverses.append(np.linalg.inv(full.T @ (full * (probability * (1 - probability))[:, None])))
    cuts = len(slopes)
    if cuts < 2:
        return None
    covariance = np.zeros((cuts, width, cuts, width))
    for low in range(cuts):
        for high in range(low, cuts):
            # P(above both) is P(above the higher cut).
            shared = chances[high] * (1 - chances[low])
            block = inverses[low] @ (full.T @ (full * shared[:, None])) @ inverses[high]
            covariance[low, :, high] = block[1:, 1:]
            covariance[high, :, low] = block[1:, 1:].T
    beta = np.stack(slopes)
    whole, freedom = _wald(beta, covariance, list(range(width)))
    each = [_wald(beta, covariance, [k]) for k in range(width)]
    by_term = np.array([stats.chi2.sf(value, count) for value, count in each])
    return Brant(whole, freedom, float(stats.chi2.sf(whole, freedom)), cuts, by_term)


def _wald(beta: NDArray[np.float64], covariance: NDArray[np.float64], terms: list[int]) -> tuple[float, int]:
    """Test that some terms' slopes are the same at all cuts."""
    cuts = len(beta)
    contrast = np.zeros((cuts - 1, cuts))
    contrast[:, 0], contrast[:, 1:] = 1, -np.eye(cuts - 1)
    difference = np.concatenate([contrast @ beta[:, k] for k in terms])
    spread = np.block([[contrast @ covariance[:, a, :, b] @ contrast.T for b in terms] for a in terms])
    return float(difference @ np.linalg.pinv(spread) @ difference), len(difference)
