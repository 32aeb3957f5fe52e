"""A step that gave no result, as a value that can be passed on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """Why a visit, or all visits of a participant, went no further."""

    participant_id: str
    """``sub-...``."""
    session_id: str | None
    """``ses-...``; None where the step concerns the whole participant."""
    step: str
    """Name of the step that failed, for example ``prepare_visit``."""
    message: str
    """One line: what, where, expected, found, and what to do."""
