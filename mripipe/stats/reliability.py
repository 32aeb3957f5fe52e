"""Reliability of repeated measurements: every pair of raters, and all of them together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from mripipe.core.reliability import (
    BlandAltman,
    bland_altman,
    icc_2_1,
    icc_interval,
    minimal_detectable_change,
    within_subject_sd,
)
from mripipe.model.group import Rating

MIN_SUBJECTS: Final = 3


@dataclass(frozen=True)
class Reliability:
    """Agreement of raters on one measure, over what all of them measured."""

    measure: str
    raters: tuple[str, ...]
    n: int
    """Visits that all of these raters measured."""
    n_left_out: int
    """Visits that some of them did not measure."""
    icc: float | None = None
    icc_lower: float | None = None
    icc_upper: float | None = None
    within_sd: float | None = None
    minimal_change: float | None = None
    """Minimal detectable change."""
    limits: BlandAltman | None = None
    """Of the first rater minus the second, where there are two."""
    pairs: tuple[tuple[float, float], ...] = ()
    """What two raters measured, for the plot."""
    note: str = ""


def reliabilities(ratings: Iterable[Rating]) -> list[Reliability]:
    """Compute reliability for every measure: all raters together, then each pair of three or more.

    Parameters
    ----------
    ratings : iterable of Rating
        Of one study; a rater who measured a visit twice counts once, the first time.

    """
    tables: dict[str, dict[tuple[str, str], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for rating in ratings:
        visit = (rating.participant_id, rating.session_id or "")
        tables[rating.measure][visit].setdefault(rating.rater, rating.value)
    found = []
    for measure, visits in sorted(tables.items()):
        raters = sorted({name for row in visits.values() for name in row})
        if len(raters) < 2:
            continue
        groups: list[tuple[str, ...]] = [tuple(raters)]
        groups += combinations(raters, 2) if len(raters) > 2 else []
        found += [_reliability(measure, group, list(visits.values())) for group in groups]
    return found


def _reliability(measure: str, raters: tuple[str, ...], visits: Sequence[dict[str, float]]) -> Reliability:
    rows = [[row[name] for name in raters] for row in visits if all(name in row for name in raters)]
    left_out = sum(any(name in row for name in raters) for row in visits) - len(rows)
    pairs = tuple((row[0], row[1]) for row in rows) if len(raters) == 2 else ()
    if len(rows) < MIN_SUBJECTS:
        note = f"{len(rows)} visits were measured by all; {MIN_SUBJECTS} are needed"
        return Reliability(measure, raters, len(rows), left_out, pairs=pairs, note=note)
    table = np.array(rows, float)
    lower, upper = icc_interval(table)
    spread = within_subject_sd(table)
    limits = bland_altman(table[:, 0], table[:, 1]) if len(raters) == 2 else None
    icc = icc_2_1(table)
    return Reliability(
        measure, raters, len(rows), left_out, _known(icc), _known(lower), _known(upper),
        spread, minimal_detectable_change(spread), limits, pairs,
    )  # fmt: skip


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
