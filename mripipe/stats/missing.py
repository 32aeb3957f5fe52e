"""Who is missing at which visit, and what they looked like at baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pandas as pd
from scipy import stats

from mripipe.stats.join import Joined
from mripipe.stats.plan import Plan

BASELINE: Final = ("age", "nihss", "mrs", "lesion_ml", "lesion_mni_ml")
"""What those seen and those missing are compared by."""
MIN_EACH: Final = 5
"""Participants on either side below which no p value is given."""


@dataclass(frozen=True)
class Attendance:
    """How many were seen at a window."""

    window: str
    item: str
    """``scan`` or a score."""
    seen: int
    missing: int
    died: int


@dataclass(frozen=True)
class Comparison:
    """Baseline of those seen and those not seen at a window; medians with quartiles."""

    window: str
    item: str
    variable: str
    n_seen: int
    median_seen: float | None
    lower_seen: float | None
    """First quartile."""
    upper_seen: float | None
    """Third quartile."""
    n_missing: int
    median_missing: float | None
    lower_missing: float | None
    upper_missing: float | None
    p: float | None
    """Mann-Whitney; None where either side is too small."""


def attendance(joined: Joined, plan: Plan) -> list[Attendance]:
    """Count who is there, missing and dead for every window and item."""
    rows = []
    for window in plan.windows:
        states = [table[window.name] for table in joined.presence.values() if window.name in table]
        for item in sorted({name for state in states for name in state}):
            found = [state[item] for state in states]
            counts = [found.count(name) for name in ("seen", "missing", "died")]
            rows.append(Attendance(window.name, item, *counts))
    return rows


def compare_missing(joined: Joined, plan: Plan) -> list[Comparison]:
    """Compare at baseline those missing or dead at a later window with those seen."""
    first = min(plan.windows, key=lambda window: window.target).name if plan.windows else ""
    variables = [
        name
        for base in BASELINE
        if (name := f"{base}_{first}" if f"{base}_{first}" in joined.wide else base) in joined.wide
    ]
    rows = []
    for entry in attendance(joined, plan):
        if entry.window == first or entry.item not in ("scan", "mrs") or not entry.missing + entry.died:
            continue
        seen = [
            joined.presence[who].get(entry.window, {}).get(entry.item) == "seen" for who in joined.wide.index
        ]
        for name in variables:
            here, away = joined.wide[name][seen].dropna(), joined.wide[name][[not s for s in seen]].dropna()
            rows.append(_compare(entry, name, here, away))
    return rows


def _compare(entry: Attendance, name: str, here: pd.Series, away: pd.Series) -> Comparison:
    enough = min(len(here), len(away)) >= MIN_EACH
    p = float(stats.mannwhitneyu(here, away).pvalue) if enough else None
    return Comparison(
        entry.window, entry.item, name,
        len(here), _quantile(here, 0.5), _quantile(here, 0.25), _quantile(here, 0.75),
        len(away), _quantile(away, 0.5), _quantile(away, 0.25), _quantile(away, 0.75), p,
    )  # fmt: skip


def _quantile(values: pd.Series, share: float) -> float | None:
    return None if values.empty else float(values.quantile(share))


@dataclass(frozen=True)
class Outlier:
    """A value far from the others, to be looked at before it is believed or removed; it stays in."""

    participant_id: str
    session_id: str | None
    variable: str
    value: float
    robust_z: float
    """Distance from the median in robust standard deviations, 1.4826 x the median absolute deviation."""
    reason: str


OUTLIER_Z: Final = 3.5
"""Iglewicz & Hoaglin 1993, How to detect and handle outliers."""


def outliers(joined: Joined) -> list[Outlier]:
    """List values of imaging that lie far from the others, and changes from baseline that do."""
    visits = joined.visits
    found: list[Outlier] = []
    if visits.empty:
        return found
    imaging = {value.name for value in joined.values if value.kind == "imaging"}
    names = [name for name in visits if name in imaging or name.endswith("_change")]
    for name in names:
        column = visits[name].dropna()
        if len(column) < 2 * MIN_EACH:
            continue
        spread = 1.4826 * float((column - column.median()).abs().median())
        if spread <= 0:
            continue
        z = (column - column.median()) / spread
        for index in z.index[z.abs() > OUTLIER_Z]:
            row = visits.loc[index]
            what = "change from baseline" if name.endswith("_change") else "value"
            found.append(
                Outlier(
                    row["participant_id"], row["session_id"], name, float(column[index]), float(z[index]),
                    f"{what} {abs(z[index]):.1f} robust standard deviations from the median",
                )
            )  # fmt: skip
    return sorted(found, key=lambda item: (-abs(item.robust_z), item.participant_id, item.variable))
