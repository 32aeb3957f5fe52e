"""A study as it lies on disk: participants, their visits and each visit's scans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DIFFUSION_MAPS = ("trace", "ADC")
"""What a scanner makes of a diffusion series by itself, BIDS suffixes."""
FIELD_MAPS = ("epi", "fieldmap", "phasediff")
"""Images of a session's ``fmap`` folder that tell how the field distorts diffusion, BIDS suffixes."""
REFERENCE_SUFFIXES = ("T1w", "T2w", "FLAIR")
"""A visit's reference image is the first of these that it has."""
ACUTE_DAYS = 14.0
"""Until then ADC is low and the trace image bright in an infarct."""


@dataclass(frozen=True)
class Scan:
    """One image of a visit."""

    path: Path
    """The NIfTI file."""
    suffix: str
    """BIDS suffix: ``T1w``, ``T2w``, ``FLAIR``, ``dwi``, ``trace``, ``ADC``, or one of `FIELD_MAPS`."""
    sidecar: Path | None = None
    """JSON sidecar, if there is one."""
    bval: Path | None = None
    """b-values in s/mm^2 (``dwi`` only)."""
    bvec: Path | None = None
    """Gradient directions (``dwi`` only)."""
    preprocessed: bool = False
    """A series that another program has corrected already: it is taken as it is (``dwi`` only)."""


@dataclass(frozen=True)
class Problem:
    """Something missing or inconsistent in a study, in one line that says what to do."""

    level: Literal["error", "warning", "note"]
    """``error``: the visit cannot run; ``warning``: it runs, look at it; ``note``: something is absent."""
    message: str
    """What, where, expected, found, and what to do."""
    participant_id: str | None = None
    """``sub-...``; None when the whole study is concerned."""
    session_id: str | None = None
    """``ses-...``; None when the participant is concerned."""
    path: Path | None = None
    """The file concerned, if one is."""


@dataclass(frozen=True)
class Session:
    """One visit of one participant."""

    participant_id: str
    """``sub-001``."""
    session_id: str
    """``ses-baseline``."""
    scans: tuple[Scan, ...] = ()
    """All images found, sorted by path."""
    days_from_onset: float | None = None
    """Days since stroke onset; None where it is not known."""
    days_from_infusion: float | None = None
    """Days since the first infusion, negative before it; None where it is not known."""
    lesion_mask: Path | None = None
    """Expert lesion mask, if one was given."""
    external_lesion: Path | None = None
    """Another program's lesion probability, used where the segmenter is ``external``."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with this visit."""

    def scan(self, suffix: str) -> Scan | None:
        """Return the first scan of a suffix, or None."""
        return next((scan for scan in self.scans if scan.suffix == suffix), None)

    @property
    def reference(self) -> Scan | None:
        """The reference image: T1w, failing that T2w, failing that FLAIR; None where there is none."""
        found = (self.scan(suffix) for suffix in REFERENCE_SUFFIXES)
        return next((scan for scan in found if scan is not None), None)

    @property
    def is_acute(self) -> bool:
        """Whether the infarct is so young that diffusion shows it first; False where days are not known."""
        return self.days_from_onset is not None and self.days_from_onset < ACUTE_DAYS

    @property
    def can_run(self) -> bool:
        """Whether nothing found so far prevents this visit from being processed."""
        return self.reference is not None and not any(p.level == "error" for p in self.problems)


@dataclass(frozen=True)
class Subject:
    """One participant with all visits, in time order where the days are known, else by label."""

    participant_id: str
    """``sub-001``."""
    sessions: tuple[Session, ...] = ()

    @property
    def label(self) -> str:
        """The participant's label without ``sub-``."""
        return self.participant_id.removeprefix("sub-")


@dataclass(frozen=True)
class Study:
    """A BIDS dataset read for mripipe."""

    root: Path
    """The dataset's folder."""
    subjects: tuple[Subject, ...] = ()
    """Sorted by label."""
    problems: tuple[Problem, ...] = ()
    """What concerns the study as a whole; a visit's own are in the visit."""

    def subject(self, label: str) -> Subject:
        """Return one participant by label, with or without ``sub-``; KeyError where there is none."""
        wanted = label.removeprefix("sub-")
        for subject in self.subjects:
            if subject.label == wanted:
                return subject
        known = ", ".join(subject.label for subject in self.subjects) or "none"
        raise KeyError(f"no participant {wanted!r} in {self.root.name}; found: {known}")
