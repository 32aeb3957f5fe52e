"""What DICOM headers say of a series, and what is found while a study is taken in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final, Literal

MANUFACTURERS: Final = (
    ("siemens", "Siemens"),
    ("ge medical", "GE"),
    ("general electric", "GE"),
    ("ge healthcare", "GE"),
    ("philips", "Philips"),
    ("toshiba", "Canon"),
    ("canon", "Canon"),
    ("uih", "UIH"),
    ("united imaging", "UIH"),
    ("hitachi", "Hitachi"),
    ("fujifilm", "Hitachi"),
    ("bruker", "Bruker"),
)
"""How a maker's name begins in a header, in lower case, and the name that is written."""

Level = Literal["error", "warning", "note"]


def maker(text: str) -> str | None:
    """Return the maker's one name, or None for one that is not known.

    Examples
    --------
    >>> maker("TOSHIBA_MEC"), maker("GE MEDICAL SYSTEMS"), maker("ACME")
    ('Canon', 'GE', None)

    """
    plain = text.strip().casefold()
    if plain == "ge":
        return "GE"
    return next((name for start, name in MANUFACTURERS if plain.startswith(start)), None)


@dataclass(frozen=True)
class Finding:
    """Something that the user should know; it quotes nothing that tells who was scanned."""

    level: Level
    """``error``: something was not taken in; ``warning``: look at it; ``note``: left out, as it should be."""
    code: str
    """One word for the kind."""
    message: str
    """What, expected, found, and what to do."""
    participant_id: str | None = None
    session_id: str | None = None
    where: str = field(default="", repr=False)
    """File or series as the input names it: shown on the screen, never written, for it may hold a name."""


@dataclass(frozen=True)
class SourceFile:
    """A file of the input, ready to be read."""

    path: Path
    """Where it lies, unpacked."""
    name: str = field(repr=False)
    """Its place in the input, with forward slashes; a file of an archive below the archive's name."""


@dataclass(frozen=True)
class Scanner:
    """The machine."""

    manufacturer: str | None = None
    """One of the names in `MANUFACTURERS`."""
    model: str = ""
    software: str = ""
    field_strength_t: float | None = None
    serial: str = field(default="", repr=False)
    """Never written."""
    station: str = field(default="", repr=False)
    """Never written."""


@dataclass(frozen=True)
class Series:
    """One series of one study, duplicates left out."""

    files: tuple[SourceFile, ...]
    patient_id: str = field(repr=False)
    study_date: date | None = field(repr=False)
    number: int | None
    description: str = field(repr=False)
    """Series description, failing that the protocol's name: free text."""
    image_type: tuple[str, ...] = ()
    scanner: Scanner = Scanner()
    is_mr: bool = True
    acquisition: str = ""
    """``2D`` or ``3D``, as the header says."""
    echo_times_ms: tuple[float, ...] = ()
    repetition_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    has_contrast_agent: bool = False
    coil: str = ""
    faults: tuple[str, ...] = ()
    """Why it is not whole: missing slices, a truncated file."""
    sex: str = field(default="", repr=False)
    age: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)

    @property
    def label(self) -> str:
        """Name it without free text."""
        return f"series {self.number if self.number is not None else '(no number)'}"
