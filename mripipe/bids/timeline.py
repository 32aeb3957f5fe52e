"""When each visit took place, in days since onset and since the first infusion; dates never leave here."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from mripipe.bids.names import check_label, participant_label, session_label
from mripipe.bids.tables import Row, Table, parse_number, read_table
from mripipe.errors import InputError
from mripipe.model.study import Problem

_DATE_COLUMNS: Final = ("onset_date", "first_infusion_date")
_DAY_COLUMNS: Final = ("days_from_onset", "days_from_infusion")
_NUMBERED = re.compile(r"ses-([A-Za-z]*?)0*(\d+)")

_INTERVAL_TOLERANCE_DAYS: Final = 1.0
"""Onset and infusion keep their distance at every visit; a day may be lost to the time of day."""


@dataclass(frozen=True)
class Days:
    """One visit's place in time; None where it is not known."""

    from_onset: float | None = None
    from_infusion: float | None = None


@dataclass(frozen=True)
class ClinicalDates:
    """A participant's dates, as far as they are known."""

    onset: date | None = field(default=None, repr=False)
    first_infusion: date | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Timeline:
    """What the tables say about one participant's visits."""

    days: Mapping[str, Days]
    """``ses-...`` to its days, for every visit that the sessions table lists."""
    problems: tuple[Problem, ...]


def read_clinical_dates(root: Path) -> tuple[dict[str, ClinicalDates], tuple[Problem, ...]]:
    """Read onset and first infusion from the columns ``onset_date`` and ``first_infusion_date``.

    They may stand in ``participants.tsv`` or in any table of ``phenotype/``; the first date found for a
    participant counts, and another one that contradicts it is a problem.

    Parameters
    ----------
    root : Path
        The dataset.

    Returns
    -------
    tuple
        Dates for each ``sub-...``, and problems, which never quote a date.

    """
    found: dict[str, dict[str, date]] = defaultdict(dict)
    problems: list[Problem] = []
    for path in [root / "participants.tsv", *sorted((root / "phenotype").glob("*.tsv"))]:
        if not path.exists():
            continue
        try:
            table = read_table(path)
        except InputError as error:
            problems.append(Problem("warning", str(error), path=path))
            continue
        problems += [Problem("warning", remark, path=path) for remark in table.remarks]
        problems += _collect_dates(table, path, found)
    columns = zip(_DATE_COLUMNS, ("onset", "first_infusion"), strict=True)
    names = dict(columns)
    dates = {
        who: ClinicalDates(**{names[column]: value for column, value in values.items()})
        for who, values in found.items()
    }
    return dates, tuple(problems)


def read_timeline(folder: Path, participant_id: str, dates: ClinicalDates) -> Timeline:
    """Read ``sub-..._sessions.tsv``: days as given, else from ``acq_time`` and the clinical dates.

    Parameters
    ----------
    folder : Path
        The participant's folder.
    participant_id : str
        ``sub-001``.
    dates : ClinicalDates
        From `read_clinical_dates`.

    Returns
    -------
    Timeline
        A visit that stands twice in the table keeps the days of its first row, and an error.

    """
    path = folder / f"{participant_id}_sessions.tsv"

    def problem(
        level: Literal["error", "warning", "note"], message: str, session_id: str | None = None
    ) -> Problem:
        return Problem(level, message, participant_id, session_id, path)

    if not path.exists():
        return Timeline({}, (problem("note", f"{path.name}: no such file; days are not known"),))
    try:
        table = read_table(path)
    except InputError as error:
        return Timeline({}, (problem("warning", str(error)),))
    problems = [problem("warning", remark) for remark in table.remarks]
    days: dict[str, Days] = {}
    for row in table.rows:
        where = f"{path.name} line {row.line}"
        try:
            session_id = f"ses-{session_label(row.values.get('session_id', ''))}"
        except InputError as error:
            problems.append(problem("error", f"{where}: {error}"))
            continue
        if session_id in days:
            problems.append(
                problem("error", f"{where}: {session_id} is listed twice; leave one row", session_id)
            )
            continue
        days[session_id], remarks = _row_days(row, dates)
        problems += [problem("warning", f"{where}: {remark}", session_id) for remark in remarks]
    return Timeline(days, tuple(problems))


def order_sessions(participant_id: str, days: Mapping[str, Days]) -> tuple[list[str], tuple[Problem, ...]]:
    """Put visits in time order, and say what contradicts it.

    Parameters
    ----------
    participant_id : str
        ``sub-001``.
    days : mapping
        ``ses-...`` to its days, for every visit there is.

    Returns
    -------
    tuple
        Session identifiers by days since onset where all are known, else by days since the first infusion
        where all are known, else by label; and problems.

    """
    by_label = sorted(days)
    key = _time_key(days)
    ordered = sorted(by_label, key=lambda ses: key[ses]) if key else by_label
    messages = [
        (ses, f"{participant_id} {ses}: days since onset not known; visits are ordered by {rule}")
        for rule in (["days since the first infusion"] if key else ["label"])
        for ses in ordered
        if days[ses].from_onset is None
    ]
    messages += [
        (
            ses,
            f"{participant_id} {ses}: {number:g} days since onset, a scan before the stroke; check it",
        )
        for ses in ordered
        if (number := days[ses].from_onset) is not None and number < 0
    ]
    for earlier, later in pairwise(ordered):
        if key and key[earlier] == key[later]:
            messages.append((later, f"{participant_id}: {earlier} and {later} took place on the same day"))
        elif _numbers_contradict(earlier, later):
            messages.append(
                (later, f"{participant_id}: by its days {later} comes after {earlier}, by its name before it")
            )
    messages += _interval_messages(participant_id, ordered, days)
    return ordered, tuple(Problem("warning", text, participant_id, ses) for ses, text in messages)


def check_participants_table(root: Path, participant_ids: Sequence[str]) -> tuple[Problem, ...]:
    """Compare ``participants.tsv`` with the folders there are."""
    path = root / "participants.tsv"
    if not path.exists():
        return (Problem("note", "participants.tsv: no such file; age and sex are not known", path=path),)
    try:
        table = read_table(path)
    except InputError:
        # Reported where the dates are read.
        return ()
    problems = []
    listed: Counter[str] = Counter()
    for row in table.rows:
        try:
            who = row.values.get("participant_id", "")
            listed[f"sub-{check_label(participant_label(who), 'sub')}"] += 1
        except InputError as error:
            problems.append(Problem("error", f"{path.name} line {row.line}: {error}", path=path))
    problems += [
        Problem("warning", f"{path.name}: {who} is listed {count} times; leave one row", who, path=path)
        for who, count in listed.items()
        if count > 1
    ]
    problems += [
        Problem("note", f"{path.name}: {who} is listed but has no folder", who, path=path)
        for who in sorted(set(listed) - set(participant_ids))
    ]
    problems += [
        Problem("note", f"{path.name}: {who} has a folder but is not listed", who, path=path)
        for who in sorted(set(participant_ids) - set(listed))
    ]
    return tuple(problems)


def _collect_dates(table: Table, path: Path, found: dict[str, dict[str, date]]) -> list[Problem]:
    """Add a table's dates to `found`; return what was wrong."""
    problems = []
    columns = [column for column in _DATE_COLUMNS if column in table.columns]
    for row in table.rows:
        who = f"sub-{row.values.get('participant_id', '').removeprefix('sub-')}"
        for column in columns:
            if column not in row.values:
                continue
            where = f"{table.name} line {row.line}: {column}"
            day = _parse_date(row.values[column])
            if day is None:
                problems.append(
                    Problem("warning", f"{where} is not a date written YYYY-MM-DD", who, path=path)
                )
            elif found[who].setdefault(column, day) != day:
                problems.append(
                    Problem("warning", f"{where} contradicts another row; the first is used", who, path=path)
                )
    return problems


def _parse_date(text: str) -> date | None:
    """Read an ISO date or date and time; None for anything else."""
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        return None


def _row_days(row: Row, dates: ClinicalDates) -> tuple[Days, list[str]]:
    """Return one row's days and what was wrong, without quoting a value: it might be a date."""
    remarks = []
    scanned = None
    if "acq_time" in row.values:
        scanned = _parse_date(row.values["acq_time"])
        if scanned is None:
            remarks.append("acq_time is not a date written YYYY-MM-DD")
    numbers: list[float | None] = []
    for column, start in zip(_DAY_COLUMNS, (dates.onset, dates.first_infusion), strict=True):
        number = None
        if column in row.values:
            try:
                number = parse_number(row.values[column])
            except ValueError:
                remarks.append(f"{column} is not a number")
            if "," in row.values[column]:
                remarks.append(f"{column} is written with a comma; read as a decimal point")
        elif scanned is not None and start is not None:
            number = float((scanned - start).days)
        numbers.append(number)
    return Days(*numbers), remarks


def _time_key(days: Mapping[str, Days]) -> dict[str, float]:
    """Return a time for every visit on one clock, or nothing where no clock has them all."""
    for clock in (
        {ses: when.from_onset for ses, when in days.items()},
        {ses: when.from_infusion for ses, when in days.items()},
    ):
        known = {ses: number for ses, number in clock.items() if number is not None}
        if len(known) == len(days):
            return known
    return {}


def _numbers_contradict(earlier: str, later: str) -> bool:
    """Say whether two labels are numbered (``ses-visit1``) against their order."""
    first, second = _NUMBERED.fullmatch(earlier), _NUMBERED.fullmatch(later)
    if first is None or second is None or first[1] != second[1]:
        return False
    return int(first[2]) > int(second[2])


def _interval_messages(
    participant_id: str, ordered: Sequence[str], days: Mapping[str, Days]
) -> list[tuple[str, str]]:
    """Check that onset and first infusion are the same distance apart at every visit."""
    intervals = {
        ses: when.from_onset - when.from_infusion
        for ses in ordered
        if (when := days[ses]).from_onset is not None and when.from_infusion is not None
    }
    if not intervals:
        return []
    first, expected = next(iter(intervals.items()))
    return [
        (
            ses,
            f"{participant_id} {ses}: onset and first infusion are {found:g} days apart, "
            f"at {first} {expected:g}; check the sessions table",
        )
        for ses, found in intervals.items()
        if abs(found - expected) > _INTERVAL_TOLERANCE_DAYS
    ]
