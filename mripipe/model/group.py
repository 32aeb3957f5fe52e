"""What the group stage reads: people, scores, ratings and measurements, each with the file it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Clock = Literal["days_from_infusion", "days_from_onset"]
ScoreStatus = Literal["ok", "conflict", "not_a_number", "out_of_range"]


@dataclass(frozen=True)
class Oddity:
    """Something in a table that a person should look at; nothing is dropped without one."""

    file: str
    """Name of the file."""
    line: int | None
    """Line in the file, counted from 1; None where the whole file is concerned."""
    message: str
    """What, and what was done about it; never quotes a cell that might be free text."""
    participant_id: str | None = None


@dataclass(frozen=True)
class Person:
    """One participant of the study's table."""

    participant_id: str
    age: float | None = None
    """Years; the lowest possible one where the table says ``89+``."""
    age_is_lower_bound: bool = False
    sex: Literal["F", "M"] | None = None


@dataclass(frozen=True)
class Score:
    """One clinical score of one participant."""

    participant_id: str
    name: str
    value: float | None
    """None where there was a cell that could not be used; `status` says why."""
    status: ScoreStatus
    file: str
    line: int
    session_id: str | None = None
    """None for a score that belongs to the participant, not to a visit."""
    window: str | None = None
    """The window the table itself names; None where it comes from the days."""
    days_from_infusion: float | None = None
    days_from_onset: float | None = None


@dataclass(frozen=True)
class Rating:
    """One of several measurements of the same thing: by a rater, a program, a rescan."""

    participant_id: str
    session_id: str | None
    measure: str
    rater: str
    value: float
    file: str
    line: int


@dataclass(frozen=True)
class Measurement:
    """One measured value of a visit, or why there is none."""

    participant_id: str
    session_id: str
    name: str
    """Variable, such as ``lesion_ml``."""
    value: float | None
    unit: str
    status: str
    file: str
    line: int
    days_from_onset: float | None = None
    days_from_infusion: float | None = None
    low_quality: bool = False
    """Whether a quality check of the visit was not passed."""


@dataclass(frozen=True)
class Clinical:
    """Everything that the study's tables say, without what could tell the treatment arm."""

    people: tuple[Person, ...] = ()
    scores: tuple[Score, ...] = ()
    ratings: tuple[Rating, ...] = ()
    oddities: tuple[Oddity, ...] = ()
