"""A study handed to a scheduler: what is asked for, what was submitted, what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mripipe.model.site import Scheduler

Phase = Literal["waiting", "running", "ended", "unknown"]


@dataclass(frozen=True)
class Request:
    """What one task asks its scheduler for."""

    cpus: int
    memory_mb: int
    """Of the whole task, in 10^6 bytes."""
    minutes: int
    """Longest time that it may run."""


@dataclass(frozen=True)
class Array:
    """One array of tasks, a participant each; task 1 is the first participant."""

    participants: tuple[str, ...]
    """``sub-...``."""
    job: str | None = None
    """The scheduler's number; None before it was submitted."""


@dataclass(frozen=True)
class Batch:
    """What was submitted together."""

    number: int
    """1 for the first batch of an output folder."""
    scheduler: Scheduler
    arrays: tuple[Array, ...]
    group: str | None = None
    """The group stage's job; None before it was submitted."""
    minutes: int = 0
    """Time limit of a task."""
    memory_mb: int = 0

    @property
    def participants(self) -> tuple[str, ...]:
        """Everyone in it, in the order of submission."""
        return tuple(who for array in self.arrays for who in array.participants)


@dataclass(frozen=True)
class Task:
    """Where one task stands."""

    phase: Phase
    state: str = ""
    """The scheduler's own word, such as ``TIMEOUT``; empty where it says nothing."""
    reason: str = ""
    """Why it waits, in the scheduler's words."""
    started: bool = False
    """Whether the task itself noted its start."""
    status: int | None = None
    """The program's exit status; None where the task did not live to note it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one participant."""

    participant_id: str
    state: Literal["done", "failed", "killed", "waiting", "running", "unknown", "to do"]
    why: str = ""
    """One line; empty for one that is done."""
