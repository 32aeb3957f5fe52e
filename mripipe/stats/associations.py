"""Rank correlations, plain and partial, with bootstrap intervals.

Spearman's coefficient is the correlation of ranks; partial for a set of variables it is

    r = -P_xy / sqrt(P_xx P_yy),  P the inverse of the correlation matrix of all ranks.

The interval resamples participants, ranks anew in each resample, and takes the bootstrap's standard error on
Fisher's z scale with a t quantile: at 60 participants and fewer that covers better than percentiles do.

References
----------
Spearman 1904, doi:10.2307/1412159; Efron & Tibshirani 1993, An introduction to the bootstrap,
doi:10.1007/978-1-4899-4541-9

"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mripipe.stats.effects import Effect
from mripipe.stats.plan import Association, Plan

MIN_PARTICIPANTS: Final = 10
"""Beyond the variables adjusted for: below this a rank correlation says nothing."""

_CHUNK: Final = 200
"""Resamples ranked together: bounds the memory."""


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation; NaN where a variable has one value only."""

    r: float
    lower: float
    upper: float
    p: float
    degenerate: int
    """Resamples in which a variable had one value only; left out of the interval."""


def rank_correlation(columns: NDArray[np.float64], *, resamples: int, seed: int) -> RankCorrelation:
    """Correlate the ranks of the first two columns, partial for the others.

    Parameters
    ----------
    columns : array, shape (n_participants, 2 + n_adjust)
        None missing.
    resamples : int
        Of the bootstrap.
    seed : int
        Same seed, same interval.

    Returns
    -------
    RankCorrelation
        95 % interval; p from t with n - 2 - n_adjust degrees of freedom.

    """
    n, width = columns.shape
    freedom = n - width
    r = float(_partial(_ranks(columns[None]))[0])
    if not np.isfinite(r):
        return RankCorrelation(*(float("nan"),) * 4, degenerate=0)
    rng = np.random.default_rng(seed)
    drawn = []
    for start in range(0, resamples, _CHUNK):
        who = rng.integers(0, n, (min(_CHUNK, resamples - start), n))
        drawn.append(_partial(_ranks(columns[who])))
    sample = np.concatenate(drawn)
    usable = sample[np.isfinite(sample)]
    limit = 1 - 1e-9
    spread = float(np.std(np.arctanh(np.clip(usable, -limit, limit)), ddof=1)) if usable.size > 1 else np.nan
    half = float(stats.t.ppf(0.975, freedom)) * spread
    z = np.arctanh(np.clip(r, -limit, limit))
    t = r * np.sqrt(freedom / max(1 - r * r, 1e-300))
    p = float(2 * stats.t.sf(abs(t), freedom))
    lower, upper = float(np.tanh(z - half)), float(np.tanh(z + half))
    return RankCorrelation(r, lower, upper, p, int(sample.size - usable.size))


def associate(association: Association, table: pd.DataFrame, plan: Plan) -> Effect:
    """Compute one association of a plan; what cannot be computed says why.

    Parameters
    ----------
    association : Association
        Names of columns.
    table : data frame
        A row a participant.
    plan : Plan
        Resamples and seed.

    """
    names = list(dict.fromkeys((association.x, association.y, *association.adjust)))
    about: dict[str, Any] = {
        "analysis": f"{association.y} with {association.x}",
        "kind": "partial_spearman" if association.adjust else "spearman",
        "term": association.x,
        "family": association.family,
        "planned": association.planned,
        "formula": f"{association.y} ~ {' + '.join([association.x, *association.adjust])}",
        "scale": "rank correlation, -1 to 1",
    }
    absent = [name for name in names if name not in table]
    if absent:
        note = f"not measured in this study: {', '.join(absent)}"
        return Effect(**about, status="not_available", note=note)
    numbers = pd.DataFrame({name: as_numbers(table[name]) for name in names})
    complete = numbers.dropna()
    lost = {name: int(numbers[name].isna().sum()) for name in names}
    about |= {
        "n": len(complete),
        "n_rows": len(complete),
        "n_missing": len(numbers) - len(complete),
        "missing": "; ".join(f"{name}: {count}" for name, count in lost.items() if count),
    }
    needed = MIN_PARTICIPANTS + len(association.adjust)
    if len(complete) < needed:
        note = f"{len(complete)} participants have all values; {needed} are needed"
        return Effect(**about, status="too_few", note=note)
    seed = _seed(plan.seed, about["formula"])
    found = rank_correlation(complete.to_numpy(float), resamples=plan.bootstrap, seed=seed)
    if not np.isfinite(found.r):
        note = "a variable has one value only, or is told by those adjusted for"
        return Effect(**about, status="not_available", note=note)
    note = f"{found.degenerate} resamples had one value only" if found.degenerate else ""
    return Effect(**about, estimate=found.r, lower=found.lower, upper=found.upper, p=found.p, note=note)


def as_numbers(column: pd.Series) -> pd.Series:
    """Return a column as numbers; text with two levels becomes 0 and 1 in their order."""
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float).replace([np.inf, -np.inf], np.nan)
    levels = sorted(column.dropna().unique())
    return column.map({level: float(i) for i, level in enumerate(levels)}).astype(float)


def _seed(seed: int, text: str) -> int:
    """Give each analysis a seed of its own that does not depend on which others are run."""
    return seed ^ zlib.crc32(text.encode())


def _ranks(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank within each resample; shape (resamples, n, width)."""
    return np.asarray(stats.rankdata(columns, axis=1), float)


def _partial(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the partial correlation of the first two columns of each resample; NaN where there is none."""
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    scale = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    flat = (scale <= 0).any(axis=(1, 2))
    unit = centred / np.where(scale > 0, scale, 1)
    correlation = np.swapaxes(unit, 1, 2) @ unit
    width = correlation.shape[-1]
    if width == 2:
        return np.where(flat, np.nan, np.clip(correlation[:, 0, 1], -1, 1))
    # A collinear set has no partial correlation; the bound is far above rounding.
    lost = flat | (np.linalg.det(correlation) < 1e-10)
    correlation[lost] = np.eye(width)
    inverse = np.linalg.inv(correlation)
    partial = -inverse[:, 0, 1] / np.sqrt(inverse[:, 0, 0] * inverse[:, 1, 1])
    return np.where(lost, np.nan, partial)


def associations(wanted: Sequence[Association], table: pd.DataFrame, plan: Plan) -> list[Effect]:
    """Compute all associations of a list, without q values."""
    return [associate(association, table, plan) for association in wanted]
