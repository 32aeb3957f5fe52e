"""One row of a table of results, and the correction of its p for multiple testing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scipy.stats import false_discovery_control

EffectStatus = Literal["ok", "too_few", "separation", "not_converged", "assumption_in_doubt", "not_available"]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """An estimate with all that is needed to judge it; None is written as ``n/a``."""

    analysis: str
    """Name of the model, or the two variables of an association."""
    kind: str
    """``spearman``, ``partial_spearman``, ``ordinal``, ``logistic``, ``mixed``, ``prediction``."""
    term: str
    family: str
    planned: bool
    formula: str
    n: int = 0
    """Participants."""
    n_rows: int = 0
    """Rows: visits in a mixed model, else participants."""
    n_missing: int = 0
    """Rows left out because a variable is missing."""
    missing: str = ""
    """Which, as ``variable: rows``."""
    estimate: float | None = None
    lower: float | None = None
    """95 % interval."""
    upper: float | None = None
    p: float | None = None
    q: float | None = None
    """Benjamini-Hochberg, within the family; None for terms that are adjustment."""
    scale: str = ""
    """What the estimate is, with its unit."""
    ratio: float | None = None
    """Odds ratio for one more unit."""
    ratio_lower: float | None = None
    ratio_upper: float | None = None
    per_sd: float | None = None
    """Estimate for one standard deviation more of the term."""
    per_sd_lower: float | None = None
    per_sd_upper: float | None = None
    tested: bool = True
    """Whether the analysis is about this term, or it is adjustment."""
    status: EffectStatus = "ok"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was looked at before a model is believed."""

    analysis: str
    check: str
    """``proportional_odds``, ``convergence``, ``separation``, ``events_per_term``, ``random_effects``, ..."""
    value: float | None = None
    p: float | None = None
    verdict: Literal["pass", "warning", "fail", "not_possible"] = "pass"
    note: str = ""


def with_q(effects: Sequence[Effect]) -> list[Effect]:
    """Add Benjamini-Hochberg q values within each family; planned and exploratory tests never share one.

    References
    ----------
    Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x

    """
    families: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for index, effect in enumerate(effects):
        if effect.tested and effect.p is not None:
            families[effect.family, effect.planned].append(index)
    corrected = list(effects)
    for members in families.values():
        adjusted = false_discovery_control([effects[i].p for i in members], method="bh")
        for index, q in zip(members, adjusted, strict=True):
            corrected[index] = replace(effects[index], q=float(q))
    return corrected


def with_ratio(effect: Effect) -> Effect:
    """Add the odds ratio of a log odds estimate; one that no number can hold stays missing."""
    ratios = [_exp(value) for value in (effect.estimate, effect.lower, effect.upper)]
    return replace(effect, ratio=ratios[0], ratio_lower=ratios[1], ratio_upper=ratios[2])


def _exp(value: float | None) -> float | None:
    return None if value is None or value > math.log(1e12) else math.exp(value)
