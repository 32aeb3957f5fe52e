"""Linear mixed models of repeated visits: random intercept and slope of time for each participant.

Restricted maximum likelihood. Intervals and p values use t with (participants - fixed effects) degrees of
freedom, which keeps the rate of false findings at its level for some dozens of participants where the normal
distribution does not. A random slope that cannot be estimated is dropped, and that is said.

References
----------
Laird & Ware 1982, doi:10.2307/2529876; Lindstrom & Bates 1988, doi:10.2307/2290128

"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from statsmodels.regression.mixed_linear_model import MixedLM

from mripipe.stats.ordinal import Fit

OPTIONS: Final = {"powell": {"xtol": 1e-7, "ftol": 1e-10}}
"""Its defaults stop with the fourth digit of a standard error still moving."""
METHODS: Final = ("powell", "lbfgs", "bfgs")
"""Optimisers, tried in turn until one converges; those that follow the gradient stop early where the spread
between participants is far larger than within them."""


@dataclass(frozen=True)
class MixedFit:
    """A fitted mixed model."""

    fit: Fit
    """Fixed effects, the intercept first."""
    random_sd: NDArray[np.float64]
    """Standard deviations of the random intercept and, where it is there, slope."""
    random_correlation: float | None
    residual_sd: float
    has_slope: bool
    note: str
    """What had to be given up; empty where nothing had."""


def fit_mixed(
    outcome: NDArray[np.float64],
    matrix: NDArray[np.float64],
    groups: Sequence[str],
    time: NDArray[np.float64],
) -> MixedFit:
    """Fit a mixed model with a random intercept, and a random slope of time where it can be estimated.

    Parameters
    ----------
    outcome : array, shape (n_visits,)
    matrix : array, shape (n_visits, n_terms)
        Fixed effects without intercept.
    groups : sequence of str
        The participant of each visit.
    time : array, shape (n_visits,)
        What the random slope goes along.

    """
    people = len(set(groups))
    slope_possible = len(groups) > 2 * people and np.ptp(time) > 0
    notes = [] if slope_possible else ["fewer than two visits a participant and one more: no random slope"]
    tried = [True, False] if slope_possible else [False]
    last = None
    for with_slope in tried:
        last = _fit(outcome, matrix, groups, time, with_slope)
        if last.fit.converged:
            return _noted(last, notes)
        if with_slope:
            notes.append("random slope not estimable: random intercept only")
    assert last is not None
    return _noted(last, notes)


def _noted(found: MixedFit, notes: Sequence[str]) -> MixedFit:
    return MixedFit(
        found.fit,
        found.random_sd,
        found.random_correlation,
        found.residual_sd,
        found.has_slope,
        "; ".join(notes),
    )


def _fit(
    outcome: NDArray[np.float64],
    matrix: NDArray[np.float64],
    groups: Sequence[str],
    time: NDArray[np.float64],
    with_slope: bool,
) -> MixedFit:
    scale, unit = matrix.std(axis=0), float(np.std(outcome)) or 1.0
    clock = float(np.std(time)) or 1.0
    fixed = np.column_stack([np.ones(len(outcome)), matrix / scale])
    random = (
        np.column_stack([np.ones(len(outcome)), time / clock]) if with_slope else np.ones((len(outcome), 1))
    )
    model = MixedLM(outcome / unit, fixed, groups=np.asarray(groups), exog_re=random)
    with warnings.catch_warnings():
        # Convergence and the covariance are looked at below, and reported.
        warnings.simplefilter("ignore")
        result = None
        for method in METHODS:
            # A step to where a matrix is singular ends this optimiser, not the others.
            with suppress(np.linalg.LinAlgError):
                result = model.fit(reml=True, method=method, **OPTIONS.get(method, {}))
            if result is not None and result.converged and np.isfinite(result.bse_fe).all():
                break
        if result is None:
            nothing = np.full((fixed.shape[1],) * 2, np.nan)
            return MixedFit(Fit(nothing[0], nothing, False), np.full(1, np.nan), None, np.nan, with_slope, "")
        spread = np.asarray(result.cov_re)
        width = fixed.shape[1]
        covariance = np.asarray(result.cov_params())[:width, :width]
    sds = np.sqrt(np.clip(np.diag(spread), 0, None)) * unit / np.array([1.0, clock][: len(spread)])
    correlation = None
    if with_slope and (sds > 0).all():
        correlation = float(spread[0, 1] / np.sqrt(spread[0, 0] * spread[1, 1]))
    # A variance at its border leaves a slope that is the intercept again, or none.
    singular = with_slope and (correlation is None or abs(correlation) > 0.999 or sds.min() <= 1e-6 * unit)
    back = np.concatenate([[1.0], scale]) / unit
    freedom = float(max(len(set(groups)) - width, 1))
    good = bool(result.converged and np.isfinite(covariance).all() and not singular)
    fit = Fit(np.asarray(result.fe_params) / back, covariance / np.outer(back, back), good, freedom)
    return MixedFit(fit, sds, correlation, float(np.sqrt(result.scale)) * unit, with_slope, "")
