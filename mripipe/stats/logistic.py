"""Logistic regression, and whether its maximum exists.

Where a combination of the terms tells the outcome of everyone (separation), the likelihood has no maximum and
every program's coefficients are where it happened to stop. A linear program finds out exactly: the largest
sum of margins that no participant contradicts is 0 unless there is separation.

References
----------
Albert & Anderson 1984, doi:10.1093/biomet/71.1.1; Konis 2007, Linear programming algorithms for detecting
separated data in binary logistic regression models, University of Oxford

"""

from __future__ import annotations

import warnings

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.special import expit


def is_separated(outcome: NDArray[np.float64], matrix: NDArray[np.float64]) -> bool:
    """Say whether the outcome is separated, wholly or partly, by the terms.

    Parameters
    ----------
    outcome : array, shape (n,)
        0 or 1.
    matrix : array, shape (n, n_terms)
        Without intercept, of comparable scale.

    """
    signed = np.where(outcome > 0, 1.0, -1.0)[:, None] * np.column_stack([np.ones(len(matrix)), matrix])
    # Margins are not negative for anyone, coefficients bounded: only separation makes their sum positive.
    found = linprog(
        -signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=(-1, 1), method="highs"
    )
    return bool(found.status == 0 and -found.fun > 1e-7)


def fit_logistic(
    outcome: NDArray[np.float64], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a logistic model that is not separated.

    Returns
    -------
    tuple
        Coefficients, the intercept first, and each participant's probability.

    """
    coefficients = np.asarray(_fit(outcome, matrix).params)
    return coefficients, np.asarray(expit(coefficients[0] + matrix @ coefficients[1:]))


def logistic_covariance(
    outcome: NDArray[np.float64], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Fit, and return coefficients, their covariance and whether it converged; the intercept first."""
    scale = matrix.std(axis=0)
    result = _fit(outcome, matrix / scale)
    back = np.concatenate([[1.0], scale])
    covariance = np.asarray(result.cov_params()) / np.outer(back, back)
    return np.asarray(result.params) / back, covariance, bool(result.mle_retvals["converged"])


def _fit(
    outcome: NDArray[np.float64], matrix: NDArray[np.float64]
) -> sm.discrete.discrete_model.LogitResults:
    with warnings.catch_warnings():
        # Convergence is asked for by the caller.
        warnings.simplefilter("ignore")
        design = np.column_stack([np.ones(len(matrix)), matrix])
        return sm.Logit(outcome, design, check_rank=False).fit(disp=False, maxiter=100)
