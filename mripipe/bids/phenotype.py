"""Clinical tables of a study: participants, and every score by participant and visit.

Real tables are dirty. What is odd is named with file and line and either read with care (a decimal comma, an
age of ``89+``, a repeated row) or not used (a contradiction, a value out of range); a cell is never quoted,
for it might say something about the treatment. Tables come in through `mripipe.bids.tables.read_table`, which
drops the columns that could tell the arm. Two more walls stand here: a table whose file name could tell it is
not opened, and a column of unknown meaning with a handful of values, or with text, is not used.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from mripipe.bids.names import participant_label, session_label
from mripipe.bids.tables import Row, Table, is_allocation_column, parse_number, read_table
from mripipe.bids.timeline import ClinicalDates, Days, read_clinical_dates, read_timeline
from mripipe.errors import InputError
from mripipe.model.group import Clinical, Oddity, Person, Rating, Score, ScoreStatus

SCORE_RANGES: Final[dict[str, tuple[float, float]]] = {
    "mrs": (0, 6),
    "nihss": (0, 42),
    "barthel": (0, 100),
    "fma": (0, 226),
    "fma_ue": (0, 66),
    "fma_le": (0, 34),
    "fma_motor": (0, 100),
    "moca": (0, 30),
    "mmse": (0, 30),
    "arat": (0, 57),
    "eq_vas": (0, 100),
}
"""Known scores and their lowest and highest value."""

WHOLE_NUMBERS: Final = frozenset({"mrs", "nihss", "moca", "mmse", "arat"})
RATER_COLUMNS: Final = ("rater", "reader", "segmenter", "method", "repeat")
"""A table with one of these holds repeated measurements, not scores."""

FEW_VALUES: Final = 3
"""A column of unknown meaning with this many different values or fewer might be a code for the arm."""

_KEYS: Final = frozenset(
    {"participant_id", "session_id", "age", "sex", "window", "days_from_onset", "days_from_infusion"}
    | {"acq_time", "onset_date", "first_infusion_date", "filename"}
)
_CLOCKS: Final = ("days_from_infusion", "days_from_onset")
_TOP_CODED = re.compile(r"(\d+)\s*\+|[>≥]=?\s*(\d+)")
_NAMED_DAY = re.compile(r"(?P<score>.+?)_(?:d|day)?(?P<day>\d{1,3})(?:d|days?)?")
_SEX: Final[dict[str, Literal["F", "M"]]] = {
    "f": "F", "female": "F", "w": "F", "woman": "F", "m": "M", "male": "M", "man": "M",
}  # fmt: skip


@dataclass
class _Reading:
    """What has been read so far."""

    known: frozenset[str]
    wanted: frozenset[str]
    days: Mapping[tuple[str, str], Days]
    scores: list[Score] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)

    def note(self, file: str, line: int | None, message: str, who: str | None = None) -> None:
        self.oddities.append(Oddity(file, line, message, who))


def read_clinical(root: Path, *, measured: Collection[str] = (), wanted: Collection[str] = ()) -> Clinical:
    """Read ``participants.tsv``, the sessions tables and every table of ``phenotype/``.

    Parameters
    ----------
    root : Path
        The dataset.
    measured : collection of str
        Participants with images (``sub-001``); they are known even where the table does not list them.
    wanted : collection of str
        Names of columns that are wanted although their meaning is not known, say by the plan.

    Returns
    -------
    Clinical
        Sorted by participant; nothing in it comes from a column or table that could tell the treatment arm.

    """
    oddities: list[Oddity] = []
    table = _read(root / "participants.tsv", oddities)
    people = _read_people(table, oddities) if table is not None else {}
    for who in sorted(set(measured) - set(people)) if table is not None else sorted(measured):
        if table is not None:
            oddities.append(
                Oddity(table.name, None, f"{who} has images but no row; age and sex are not known", who)
            )
        people[who] = Person(who)
    days = _read_days(root, oddities)
    reading = _Reading(frozenset(people), frozenset(wanted), days, oddities=oddities)
    if table is not None:
        _read_scores(table, reading)
    for who in sorted(people):
        path = root / who / f"{who}_sessions.tsv"
        if path.exists() and (own := _read(path, [])) is not None:
            _read_scores(own, reading, participant=who)
    hidden = 0
    for path in sorted((root / "phenotype").glob("*.tsv")):
        if is_allocation_column(path.stem):
            hidden += 1
        elif (own := _read(path, oddities)) is not None:
            _read_scores(own, reading)
    if hidden:
        text = f"{hidden} of its tables could tell the treatment arm by name and was not opened"
        oddities.append(Oddity("phenotype", None, text))
    scores = _settle_repeats(_apply_day_names(reading.scores), reading)
    return Clinical(
        tuple(people[who] for who in sorted(people)), scores, tuple(reading.ratings), tuple(oddities)
    )


def _read(path: Path, oddities: list[Oddity]) -> Table | None:
    """Read one table; note what is odd about it as a whole."""
    if not path.exists():
        oddities.append(Oddity(path.name, None, "no such file"))
        return None
    try:
        table = read_table(path)
    except InputError as error:
        oddities.append(Oddity(path.name, None, str(error)))
        return None
    oddities += [Oddity(table.name, None, remark) for remark in table.remarks]
    if path.read_bytes()[:3] == b"\xef\xbb\xbf":
        oddities.append(Oddity(table.name, None, "starts with a byte-order mark; taken in stride"))
    return table


def _identity(row: Row, file: str, oddities: list[Oddity]) -> str | None:
    try:
        return f"sub-{participant_label(row.values.get('participant_id', ''))}"
    except InputError:
        oddities.append(Oddity(file, row.line, "participant_id is not a BIDS label; the row is not used"))
        return None


def _read_people(table: Table, oddities: list[Oddity]) -> dict[str, Person]:
    """Read age and sex; a participant who stands twice keeps the first row, and loses what contradicts it."""
    people: dict[str, Person] = {}
    for row in table.rows:
        who = _identity(row, table.name, oddities)
        if who is None:
            continue
        person = _read_person(who, row, table.name, oddities)
        first = people.setdefault(who, person)
        if first is person:
            continue
        agree = first == person
        oddities.append(
            Oddity(
                table.name,
                row.line,
                f"{who} is listed before; "
                + ("the row says the same" if agree else "what contradicts the first row is not used"),
                who,
            )
        )
        if not agree:
            age = first.age if first.age == person.age else None
            sex = first.sex if first.sex == person.sex else None
            people[who] = Person(who, age, first.age_is_lower_bound and age is not None, sex)
    return people


def _read_person(who: str, row: Row, file: str, oddities: list[Oddity]) -> Person:
    age, bound = None, False
    if "age" in row.values:
        text = row.values["age"]
        top = _TOP_CODED.fullmatch(text)
        try:
            age, bound = (float(top[1] or top[2]), True) if top else (parse_number(text), False)
        except ValueError:
            oddities.append(Oddity(file, row.line, "age is not a number; not used", who))
        if bound:
            oddities.append(Oddity(file, row.line, f"age is top-coded; {age:g} is used, a lower bound", who))
        elif "," in text and age is not None:
            oddities.append(Oddity(file, row.line, "age has a decimal comma; read as a point", who))
        if age is not None and not 0 <= age <= 120:
            oddities.append(Oddity(file, row.line, "age lies outside 0 to 120; not used", who))
            age, bound = None, False
    sex = None
    if "sex" in row.values:
        sex = _SEX.get(row.values["sex"].lower())
        if sex is None:
            oddities.append(Oddity(file, row.line, "sex is neither F nor M; not used", who))
    return Person(who, age, bound, sex)


def _read_days(root: Path, oddities: list[Oddity]) -> dict[tuple[str, str], Days]:
    """Return every visit's days from the sessions tables."""
    dates, problems = read_clinical_dates(root)
    days: dict[tuple[str, str], Days] = {}
    for path in sorted(root.glob("sub-*/sub-*_sessions.tsv")):
        who = path.parent.name
        timeline = read_timeline(path.parent, who, dates.get(who, ClinicalDates()))
        problems += timeline.problems
        days |= {(who, session): value for session, value in timeline.days.items()}
    # Files that are not opened here are not named here either.
    shown = [p for p in problems if p.path is None or not is_allocation_column(p.path.stem)]
    seen = {oddity.message for oddity in oddities}
    for problem in shown:
        file = problem.path.name if problem.path else "sessions"
        if problem.message not in seen:
            oddities.append(Oddity(file, None, problem.message, problem.participant_id))
            seen.add(problem.message)
    return days


def _read_scores(table: Table, reading: _Reading, *, participant: str | None = None) -> None:
    """Add a table's scores, or its ratings where it names raters."""
    rater = next((name for name in RATER_COLUMNS if name in table.columns), None)
    columns = [name for name in table.columns if name not in _KEYS and name != rater]
    taken = [name for name in columns if _is_score(table, name, reading)]
    unused = len(columns) - len(taken)
    if unused:
        text = (
            f"{unused} columns hold text or a code of unknown meaning, are not in the plan and are not used"
        )
        reading.note(table.name, None, text.replace("1 columns hold", "1 column holds"), participant)
    for row in table.rows:
        who = participant or _identity(row, table.name, reading.oddities)
        if who is None:
            continue
        if who not in reading.known:
            reading.note(table.name, row.line, f"{who} is in no participants table; the row is not used", who)
            continue
        session = _session(row, table.name, reading, who)
        if rater is not None:
            _add_ratings(row, table.name, who, session, rater, taken, reading)
        else:
            _add_scores(row, table.name, who, session, taken, reading)


def _is_score(table: Table, name: str, reading: _Reading) -> bool:
    """Say whether a column may be used: a known or wanted score, or numbers too various to be a code."""
    base = _NAMED_DAY.fullmatch(name)
    if name in SCORE_RANGES or name in reading.wanted or (base and base["score"] in SCORE_RANGES):
        return True
    texts = [row.values[name] for row in table.rows if name in row.values]
    numbers = {number for text in texts if (number := _number(text)) is not None}
    return len(numbers) > FEW_VALUES and len(texts) < 2 * sum(_number(text) is not None for text in texts)


def _number(text: str) -> float | None:
    try:
        return parse_number(text)
    except ValueError:
        return None


def _session(row: Row, file: str, reading: _Reading, who: str) -> str | None:
    if "session_id" not in row.values:
        return None
    try:
        return f"ses-{session_label(row.values['session_id'])}"
    except InputError:
        reading.note(file, row.line, "session_id is not a BIDS label; read as of no visit", who)
        return None


def _add_ratings(
    row: Row,
    file: str,
    who: str,
    session: str | None,
    rater: str,
    columns: Iterable[str],
    reading: _Reading,
) -> None:
    if rater not in row.values:
        reading.note(file, row.line, f"no {rater}; the row is not used", who)
        return
    for name in columns:
        if name not in row.values:
            continue
        value = _number(row.values[name])
        if value is None:
            reading.note(file, row.line, f"{name} is not a number; not used", who)
            continue
        reading.ratings.append(Rating(who, session, name, row.values[rater], value, file, row.line))


def _add_scores(
    row: Row, file: str, who: str, session: str | None, columns: Iterable[str], reading: _Reading
) -> None:
    days = reading.days.get((who, session or ""), Days())
    own = {name: _number(row.values[name]) for name in _CLOCKS if name in row.values}
    for name in columns:
        if name not in row.values:
            continue
        value, status = _value(name, row, file, who, reading)
        reading.scores.append(
            Score(
                who, name, value, status, file, row.line, session, row.values.get("window"),
                own.get("days_from_infusion", days.from_infusion),
                own.get("days_from_onset", days.from_onset),
            )
        )  # fmt: skip


def _value(name: str, row: Row, file: str, who: str, reading: _Reading) -> tuple[float | None, ScoreStatus]:
    """Read one cell; note what is odd about it."""
    text = row.values[name]
    value = _number(text)
    if value is None:
        reading.note(file, row.line, f"{name} is not a number; not used", who)
        return None, "not_a_number"
    if "," in text:
        reading.note(file, row.line, f"{name} has a decimal comma; read as a point", who)
    base = _NAMED_DAY.fullmatch(name)
    score = base["score"] if name not in SCORE_RANGES and base else name
    low, high = SCORE_RANGES.get(score, (float("-inf"), float("inf")))
    if not low <= value <= high:
        reading.note(file, row.line, f"{name} lies outside {low:g} to {high:g}; not used", who)
        return None, "out_of_range"
    if score in WHOLE_NUMBERS and value != round(value):
        reading.note(file, row.line, f"{name} is not a whole number; not used", who)
        return None, "out_of_range"
    return value, "ok"


def _apply_day_names(scores: Iterable[Score]) -> list[Score]:
    """Turn a participant's ``mrs_90d`` into ``mrs`` on day 90 after the first infusion."""
    named = []
    for score in scores:
        base = _NAMED_DAY.fullmatch(score.name)
        if score.name not in SCORE_RANGES and base and base["score"] in SCORE_RANGES:
            day = float(base["day"])
            score = replace(score, name=base["score"], days_from_infusion=day, days_from_onset=None)
        named.append(score)
    return named


def _settle_repeats(scores: Iterable[Score], reading: _Reading) -> tuple[Score, ...]:
    """Leave one score for each participant, visit and day: a contradiction leaves none that can be used."""
    groups: dict[tuple[object, ...], list[Score]] = defaultdict(list)
    for score in scores:
        when = score.session_id or (score.window, score.days_from_infusion, score.days_from_onset)
        groups[score.participant_id, score.name, when].append(score)
    settled = []
    for group in groups.values():
        first, usable = group[0], [score for score in group if score.status == "ok"]
        chosen = usable[0] if usable else first
        contradicts = len({score.value for score in usable}) > 1
        for other in group[1:]:
            outcome = "the values contradict each other and none is used" if contradicts else "one is used"
            text = f"{first.name} stands before, in {first.file} line {first.line}; {outcome}"
            reading.note(other.file, other.line, text, first.participant_id)
        settled.append(replace(chosen, value=None, status="conflict") if contradicts else chosen)
    return tuple(sorted(settled, key=lambda s: (s.participant_id, s.name, s.file, s.line)))
