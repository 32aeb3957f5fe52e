"""How well repeated measurements of the same subjects agree: raters, programs, rescans.

The two-way random effects, absolute agreement, single rater coefficient of n subjects and k raters is

    ICC(2,1) = (BMS - EMS) / (BMS + (k - 1) EMS + k (JMS - EMS) / n)

with the mean squares between subjects, between raters (judges) and of the error. The within-subject standard
deviation s_w is the root of the mean variance within a subject; two measurements of an unchanged subject
differ by less than 1.96 sqrt(2) s_w in 95 % of pairs, the minimal detectable change.

References
----------
Shrout & Fleiss 1979, doi:10.1037/0033-2909.86.2.420 (ICC); Bland & Altman 1986,
doi:10.1016/S0140-6736(86)90837-8 (limits of agreement); Bland & Altman 1996, doi:10.1136/bmj.312.7047.1654
(within-subject standard deviation).

"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from mripipe.errors import InputError

_NORMAL_95: Final = 1.96
"""Two-sided 95 % quantile of the normal distribution, as the sources round it."""


@dataclass(frozen=True)
class BlandAltman:
    """Limits of agreement of two measurements, in the unit measured."""

    bias: float
    """Mean of first minus second."""
    lower: float
    """Bias minus 1.96 standard deviations of the differences."""
    upper: float
    """Bias plus 1.96 standard deviations of the differences."""
    sd: float
    """Standard deviation of the differences."""


def icc_2_1(ratings: ArrayLike) -> float:
    """Return the intraclass correlation of one rater's value, agreement asked for and not only consistency.

    Parameters
    ----------
    ratings : array, shape (n_subjects, n_raters)
        One row a subject, one column a rater, none missing.

    Returns
    -------
    float
        At most 1; at or below 0 where subjects differ no more than one subject's ratings do; NaN where all
        ratings are the same number and nothing can be told apart.

    Raises
    ------
    InputError
        If there are fewer than two subjects or raters, or a value is not finite.

    Examples
    --------
    >>> round(icc_2_1([[1, 2], [3, 4], [5, 6]]), 4)
    0.8889

    """
    table = _table(ratings, at_least=2)
    n, k = table.shape
    between, judges, error = _mean_squares(table)
    spread = between + (k - 1) * error + k * (judges - error) / n
    return (between - error) / spread if spread else float("nan")


def icc_interval(ratings: ArrayLike) -> tuple[float, float]:
    """Return the 95 % interval of ICC(2,1); NaN where the ratings hold no error.

    McGraw & Wong 1996, doi:10.1037/1082-989X.1.1.30 (case 2, absolute agreement).

    Parameters
    ----------
    ratings : array, shape (n_subjects, n_raters)
        One row a subject, one column a rater, none missing.

    Raises
    ------
    InputError
        If there are fewer than two subjects or raters, or a value is not finite.

    """
    table = _table(ratings, at_least=2)
    n, k = table.shape
    between, judges, error = _mean_squares(table)
    r = icc_2_1(table)
    if not np.isfinite(r) or error <= 0:
        return float("nan"), float("nan")
    a = k * r / (n * (1 - r))
    b = 1 + k * r * (n - 1) / (n * (1 - r))
    v = (a * judges + b * error) ** 2 / ((a * judges) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1)))
    low, high = stats.f.ppf(0.975, n - 1, v), stats.f.ppf(0.975, v, n - 1)
    spread = k * judges + (k * n - k - n) * error
    lower = n * (between - low * error) / (low * spread + n * between)
    upper = n * (high * between - error) / (spread + n * high * between)
    return float(lower), float(upper)


def bland_altman(first: ArrayLike, second: ArrayLike) -> BlandAltman:
    """Return bias and 95 % limits of agreement of two measurements of the same subjects.

    Parameters
    ----------
    first, second : array, shape (n_subjects,)
        In the same order of subjects and the same unit, none missing.

    Raises
    ------
    InputError
        If the lengths differ, there are fewer than two subjects, or a value is not finite.

    Examples
    --------
    >>> bland_altman([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    BlandAltman(bias=-1.0, lower=-1.0, upper=-1.0, sd=0.0)

    """
    one, other = np.atleast_1d(first), np.atleast_1d(second)
    if one.shape != other.shape:
        raise InputError(
            f"{one.size} first and {other.size} second measurements cannot be paired: expected one of each "
            "a subject"
        )
    pairs = _table(np.stack([one, other], axis=-1), at_least=2)
    differences = pairs[:, 0] - pairs[:, 1]
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    return BlandAltman(bias, bias - _NORMAL_95 * sd, bias + _NORMAL_95 * sd, sd)


def within_subject_sd(ratings: ArrayLike) -> float:
    """Return the standard deviation of a single measurement within a subject, in the unit measured.

    A steady difference between raters counts as error of measurement.

    Parameters
    ----------
    ratings : array, shape (n_subjects, n_raters)
        One row a subject, none missing; one subject is enough.

    Raises
    ------
    InputError
        If there is no subject, fewer than two ratings, or a value is not finite.

    Examples
    --------
    >>> round(within_subject_sd([[10.0, 12.0], [20.0, 22.0]]), 4)
    1.4142

    """
    return sqrt(float(_table(ratings, at_least=1).var(axis=1, ddof=1).mean()))


def minimal_detectable_change(within_sd: float) -> float:
    """Return the difference of two measurements that error alone exceeds in 5 % of pairs.

    Raises
    ------
    InputError
        If the standard deviation is negative or not finite.

    Examples
    --------
    >>> round(minimal_detectable_change(1.0), 4)
    2.7719

    """
    if not 0 <= within_sd < float("inf"):
        raise InputError(f"a within-subject standard deviation of {within_sd}: expected 0 or more")
    return _NORMAL_95 * sqrt(2) * within_sd


def _mean_squares(table: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean squares between subjects, between raters and of the error."""
    n, k = table.shape
    grand = table.mean()
    subjects, raters = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    between = k * float(np.sum((subjects - grand) ** 2)) / (n - 1)
    judges = n * float(np.sum((raters - grand) ** 2)) / (k - 1)
    error = float(np.sum((table - subjects - raters + grand) ** 2)) / ((n - 1) * (k - 1))
    return between, judges, error


def _table(ratings: ArrayLike, *, at_least: int) -> NDArray[np.float64]:
    """Return ratings as numbers, checked."""
    table = np.asarray(ratings, dtype=float)
    if table.ndim != 2 or table.shape[0] < at_least or table.shape[1] < 2:
        raise InputError(
            f"ratings of shape {table.shape}: expected a row a subject and a column a rater, {at_least} rows "
            "and 2 columns or more"
        )
    if not np.isfinite(table).all():
        raise InputError("ratings hold a missing or infinite value; leave out subjects not rated by all")
    return table
