"""Join measurements and scores by participant and window, never by the order of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from mripipe.model.group import Clinical, Measurement, Oddity
from mripipe.stats.plan import Plan, Window

DEATH_MRS: Final = 6.0
GOOD_MRS: Final = 2.0
"""Highest modified Rankin Scale of a good outcome: independent."""
DAYS_A_MONTH: Final = 365.25 / 12

Presence = Literal["seen", "missing", "died"]


@dataclass(frozen=True)
class Value:
    """One value of the long table: a measurement or a score, with its window and its source."""

    participant_id: str
    session_id: str | None
    window: str | None
    """None where no window holds it."""
    days_from_infusion: float | None
    days_from_onset: float | None
    kind: Literal["imaging", "score"]
    name: str
    value: float | None
    unit: str
    status: str
    file: str
    line: int
    used: bool = False
    """Whether it stands for its window in the wide table: of two in a window the nearer to the target."""


@dataclass(frozen=True)
class Joined:
    """The study's data in the shapes that analyses need."""

    wide: Any
    """Data frame, a row a participant: ``age``, ``sex``, ``NAME_WINDOW`` (``NAME`` without windows)."""
    visits: Any
    """Data frame, a row a scanned visit: values, ``months``, changes from baseline, baseline covariates."""
    values: tuple[Value, ...]
    """Everything, a value a row."""
    presence: Mapping[str, Mapping[str, Mapping[str, Presence]]]
    """By participant and window, whether the scan and each score are there (``scan``, ``mrs``, ...)."""
    oddities: tuple[Oddity, ...]
    low_quality: int
    """Visits that did not pass a quality check."""


def join(measurements: Sequence[Measurement], clinical: Clinical, plan: Plan) -> Joined:
    """Join everything that was read.

    Parameters
    ----------
    measurements : sequence of Measurement
        Of all visits; those of a person with one scan and no days may have no window.
    clinical : Clinical
        People and scores.
    plan : Plan
        Windows, and whether visits of low quality count.

    """
    oddities: list[Oddity] = []
    values = [*_imaging(measurements, plan, oddities), *_scores(clinical, plan, oddities)]
    values = _choose(values, plan, oddities)
    deaths = _deaths(values)
    values += _carried_deaths(values, deaths, plan, clinical, oddities)
    values.sort(key=lambda v: (v.participant_id, v.kind, v.name, v.window or "", v.file, v.line))
    wide = _wide(values, clinical)
    presence = _presence(values, clinical, plan, deaths)
    low = {(m.participant_id, m.session_id) for m in measurements if m.low_quality}
    visits = _visits(values, wide)
    return Joined(wide, visits, tuple(values), presence, tuple(oddities), len(low))


def window_of(
    session_id: str | None, days: Mapping[str, float | None], windows: Sequence[Window]
) -> Window | None:
    """Return the window of a visit: by its label where the plan lists it, else by its days.

    Of two windows that overlap the one with the nearer target counts.
    """
    label = (session_id or "").removeprefix("ses-")
    listed = [window for window in windows if label and label in window.sessions]
    if listed:
        return listed[0]
    fitting = []
    for window in windows:
        day = days.get(window.clock)
        if day is not None and window.start <= day <= window.end:
            fitting.append((abs(day - window.target), window.start, window))
    if fitting:
        return min(fitting, key=lambda item: item[:2])[2]
    if all(days.get(window.clock) is None for window in windows):
        return next((window for window in windows if label == window.name), None)
    return None


def _imaging(measurements: Iterable[Measurement], plan: Plan, oddities: list[Oddity]) -> list[Value]:
    values, told = [], set()
    for item in measurements:
        days = {"days_from_infusion": item.days_from_infusion, "days_from_onset": item.days_from_onset}
        window = window_of(item.session_id, days, plan.windows)
        visit = (item.participant_id, item.session_id)
        if window is None and item.session_id != NO_SESSION and visit not in told:
            told.add(visit)
            text = f"{item.session_id} falls into no window; it counts in models over days only"
            oddities.append(Oddity(item.file, item.line, text, item.participant_id))
        excluded = item.low_quality and plan.exclude_low_quality
        values.append(
            Value(
                item.participant_id, item.session_id, window.name if window else None,
                item.days_from_infusion, item.days_from_onset, "imaging", item.name,
                None if excluded else item.value, item.unit, "low_quality" if excluded else item.status,
                item.file, item.line,
            )
        )  # fmt: skip
    return values


NO_SESSION: Final = "n/a"
"""Session of a study in which each participant has one scan."""


def _scores(clinical: Clinical, plan: Plan, oddities: list[Oddity]) -> list[Value]:
    values = []
    for score in clinical.scores:
        days = {"days_from_infusion": score.days_from_infusion, "days_from_onset": score.days_from_onset}
        window = plan.window(score.window) if score.window else None
        window = window or window_of(score.session_id, days, plan.windows)
        placed = score.session_id or any(day is not None for day in days.values())
        if window is None and placed:
            text = f"{score.name} falls into no window; it is in the long table only"
            oddities.append(Oddity(score.file, score.line, text, score.participant_id))
        values.append(
            Value(
                score.participant_id,
                score.session_id or (None if placed else NO_SESSION),
                window.name if window else None,
                score.days_from_infusion, score.days_from_onset, "score", score.name, score.value, "score",
                score.status, score.file, score.line,
            )
        )  # fmt: skip
    return values


def _choose(values: list[Value], plan: Plan, oddities: list[Oddity]) -> list[Value]:
    """Mark the value that stands for each participant, variable and window."""
    groups: dict[tuple[str, str, str | None], list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        if value.window is not None or value.session_id == NO_SESSION:
            groups[value.participant_id, value.name, value.window].append(index)
    marked, told = list(values), set()
    for members in groups.values():
        ranked = sorted(members, key=lambda i: _rank(values[i], plan))
        best = values[ranked[0]]
        marked[ranked[0]] = replace(best, used=True)
        for index in ranked[1:]:
            other = values[index]
            key = (other.participant_id, other.session_id, other.window, other.kind)
            if key not in told:
                told.add(key)
                text = f"{other.session_id or 'a row'} lies in window {other.window} too; the other is nearer"
                oddities.append(Oddity(other.file, other.line, text, other.participant_id))
    return marked


def _rank(value: Value, plan: Plan) -> tuple[bool, float, float, str, int]:
    """Order values of one window: those that are there first, then by distance from the target."""
    window = plan.window(value.window or "")
    day = getattr(value, window.clock) if window else None
    distance = abs(day - window.target) if window and day is not None else float("inf")
    return value.value is None, distance, day if day is not None else 0.0, value.file, value.line


def _deaths(values: Iterable[Value]) -> dict[str, float]:
    """Return the first day after infusion on which a participant's mRS was 6."""
    died: dict[str, float] = {}
    for value in values:
        if value.name == "mrs" and value.value == DEATH_MRS:
            day = value.days_from_infusion if value.days_from_infusion is not None else float("inf")
            died[value.participant_id] = min(day, died.get(value.participant_id, float("inf")))
    return died


def _carried_deaths(
    values: Sequence[Value],
    deaths: Mapping[str, float],
    plan: Plan,
    clinical: Clinical,
    oddities: list[Oddity],
) -> list[Value]:
    """Give the dead an mRS of 6 in every later window that has scores; nobody rises from 6."""
    alive = [v for v in values if v.name == "mrs" and v.window and v.participant_id not in deaths]
    scored = {value.window for value in alive if value.value is not None}
    there = {(v.participant_id, v.window) for v in values if v.name == "mrs" and v.value is not None}
    carried = []
    for who, day in sorted(deaths.items()):
        for window in plan.windows:
            later = window.clock == "days_from_infusion" and window.start > day
            if window.name not in scored or (who, window.name) in there or not later:
                continue
            text = f"{who} died before window {window.name}: mRS 6 there"
            oddities.append(Oddity("mrs", None, text, who))
            carried.append(
                Value(
                    who, None, window.name, window.target, None, "score", "mrs", DEATH_MRS, "score",
                    "died", "carried forward", 0, used=True,
                )
            )  # fmt: skip
    return carried


def _wide(values: Iterable[Value], clinical: Clinical) -> pd.DataFrame:
    """Build the table with a row a participant."""
    columns: dict[str, dict[str, float]] = defaultdict(dict)
    for value in values:
        if value.used and value.value is not None:
            name = f"{value.name}_{value.window}" if value.window else value.name
            columns[name][value.participant_id] = value.value
            if value.name == "mrs":
                good = float(value.value <= GOOD_MRS)
                columns[name.replace("mrs", "mrs02", 1)][value.participant_id] = good
    people = {person.participant_id: person for person in clinical.people}
    everyone = sorted(set(people) | {who for column in columns.values() for who in column})
    wide = pd.DataFrame(index=pd.Index(everyone, name="participant_id"))
    wide["age"] = [people[who].age if who in people else None for who in everyone]
    wide["age"] = wide["age"].astype(float)
    wide["sex"] = [people[who].sex if who in people else None for who in everyone]
    extra = {name: pd.Series(columns[name], dtype=float) for name in sorted(columns)}
    return pd.concat([wide, pd.DataFrame(extra, index=wide.index)], axis=1) if extra else wide


def _visits(values: Iterable[Value], wide: pd.DataFrame) -> pd.DataFrame:
    """Build the table with a row a scanned visit."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for value in values:
        if value.kind != "imaging" or value.session_id is None:
            continue
        row = rows.setdefault(
            (value.participant_id, value.session_id),
            {
                "participant_id": value.participant_id,
                "session_id": value.session_id,
                "window": value.window,
                "days_from_infusion": value.days_from_infusion,
                "days_from_onset": value.days_from_onset,
            },
        )
        row[value.name] = np.nan if value.value is None else value.value
    visits = pd.DataFrame([rows[key] for key in sorted(rows)])
    if visits.empty:
        return visits
    clock = "days_from_infusion" if visits["days_from_infusion"].notna().any() else "days_from_onset"
    visits["months"] = visits[clock].astype(float) / DAYS_A_MONTH
    imaging = sorted({value.name for value in values if value.kind == "imaging"})
    baseline = [name for name in wide if name.endswith("_baseline")]
    shared = wide[["age", "sex", *baseline]].reindex(visits["participant_id"])
    shared.index = visits.index
    visits = pd.concat([visits, shared], axis=1)
    # Before the first infusion, and at the baseline visit itself, there is no change to model.
    after = visits["window"] != "baseline"
    changes = {
        f"{name}_change": (visits[name] - visits[f"{name}_baseline"]).where(after)
        for name in imaging
        if f"{name}_baseline" in visits
    }
    return pd.concat([visits, pd.DataFrame(changes)], axis=1)


def _presence(
    values: Iterable[Value], clinical: Clinical, plan: Plan, deaths: Mapping[str, float]
) -> dict[str, dict[str, dict[str, Presence]]]:
    """Say for each participant, window and item whether it is there."""
    items: dict[tuple[str, str], set[str]] = defaultdict(set)
    measured: dict[str, set[str]] = defaultdict(set)
    for value in values:
        if value.window and value.value is not None:
            item = "scan" if value.kind == "imaging" else value.name
            items[value.participant_id, value.window].add(item)
            measured[item].add(value.window)
    everyone = sorted({p.participant_id for p in clinical.people} | {v.participant_id for v in values})
    table: dict[str, dict[str, dict[str, Presence]]] = {}
    for who in everyone:
        table[who] = {}
        for window in plan.windows:
            dead = window.clock == "days_from_infusion" and deaths.get(who, float("inf")) < window.start
            states: dict[str, Presence] = {}
            for item, windows in sorted(measured.items()):
                if window.name in windows:
                    there = item in items[who, window.name]
                    # A score that was carried forward was not taken.
                    states[item] = "died" if dead else "seen" if there else "missing"
            if states:
                table[who][window.name] = states
    return table
