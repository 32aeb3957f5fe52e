"""What imaging adds to a prediction, measured on participants that the model has not seen.

Repeated stratified cross-validation of two logistic models, with and without the added terms, on the same
folds. The difference is given with the corrected interval for resampled tests, whose variance allows for the
overlap of the training sets:  (1 / J + n_test / n_train) s^2  with J = folds x repeats.

References
----------
Nadeau & Bengio 2003, doi:10.1023/A:1024068626366

"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mripipe.stats.logistic import fit_logistic, is_separated

_EDGE = 1e-6
"""Predicted probabilities stay this far from 0 and 1, so that a logarithm exists."""


@dataclass(frozen=True)
class Scores:
    """Quality of predictions for unseen participants, one value a fold."""

    auc: NDArray[np.float64]
    brier: NDArray[np.float64]
    log_loss: NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Two models on the same folds."""

    without: Scores
    with_added: Scores
    separated_folds: int
    """Folds in which a model could not be fitted; they count for neither."""
    n_folds: int
    test_share: float
    """Participants tested over participants trained on, in a fold."""


def compare_predictions(
    outcome: NDArray[np.float64],
    base: NDArray[np.float64],
    added: NDArray[np.float64],
    *,
    folds: int,
    repeats: int,
    seed: int,
) -> Comparison:
    """Cross-validate a logistic model with and without added terms.

    Parameters
    ----------
    outcome : array, shape (n,)
        0 or 1, at least `folds` of each.
    base : array, shape (n, n_base)
        Terms of both models.
    added : array, shape (n, n_added)
        Terms of the second model alone.
    folds, repeats : int
        Of the cross-validation.
    seed : int
        Of the folds.

    """
    whole = np.column_stack([base, added])
    results: list[tuple[list[float], list[float]]] = []
    lost = 0
    for test in _folds(outcome, folds, repeats, seed):
        pair = [_score_fold(outcome, matrix, test) for matrix in (base, whole)]
        if pair[0] is None or pair[1] is None:
            lost += 1
        else:
            results.append((pair[0], pair[1]))
    table = np.array(results).reshape(len(results), 2, 3)
    without, with_added = (Scores(*table[:, i].T) for i in (0, 1))
    return Comparison(without, with_added, lost, folds * repeats, 1 / (folds - 1))


def corrected_interval(
    differences: NDArray[np.float64], test_share: float
) -> tuple[float, float, float, float]:
    """Return mean, 95 % interval and p of the folds' differences, corrected for overlapping training sets."""
    count, mean = len(differences), float(differences.mean())
    spread = float(np.sqrt((1 / count + test_share) * differences.var(ddof=1)))
    half = float(stats.t.ppf(0.975, count - 1)) * spread
    p = float(2 * stats.t.sf(abs(mean) / spread, count - 1)) if spread > 0 else 1.0
    return mean, mean - half, mean + half, p


def auc(outcome: NDArray[np.float64], chance: NDArray[np.float64]) -> float:
    """Return the share of pairs that are ordered rightly, ties counting half (Mann-Whitney).

    Examples
    --------
    >>> auc(np.array([0.0, 1, 0, 1]), np.array([0.1, 0.9, 0.9, 0.8]))
    0.625

    """
    positive = outcome > 0
    n_positive = int(positive.sum())
    ranks = stats.rankdata(chance)[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(ranks / (n_positive * (len(outcome) - n_positive)))


def _folds(outcome: NDArray[np.float64], folds: int, repeats: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Yield test sets: each outcome spread evenly over the folds of a repeat."""
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        assigned = np.empty(len(outcome), int)
        for level in (0, 1):
            members = rng.permutation(np.flatnonzero(outcome == level))
            assigned[members] = (np.arange(len(members)) + rng.integers(folds)) % folds
        for fold in range(folds):
            yield assigned == fold


def _score_fold(
    outcome: NDArray[np.float64], matrix: NDArray[np.float64], test: NDArray[np.bool_]
) -> list[float] | None:
    """Fit on the rest and score the test set; None where the rest is separated."""
    train = ~test
    centre, scale = matrix[train].mean(axis=0), matrix[train].std(axis=0)
    if (scale <= 0).any() or len(np.unique(outcome[test])) < 2:
        return None
    scaled = (matrix - centre) / scale
    if is_separated(outcome[train], scaled[train]):
        return None
    coefficients, _ = fit_logistic(outcome[train], scaled[train])
    linear = coefficients[0] + scaled[test] @ coefficients[1:]
    chance = np.clip(1 / (1 + np.exp(-np.clip(linear, -700, 700))), _EDGE, 1 - _EDGE)
    truth = outcome[test]
    loss = -float(np.mean(truth * np.log(chance) + (1 - truth) * np.log(1 - chance)))
    return [auc(truth, chance), float(np.mean((chance - truth) ** 2)), loss]
