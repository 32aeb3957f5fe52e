"""Where an atlas lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AtlasFiles:
    """The three files of an atlas: a step that takes them is redone when one of them changes."""

    name: str
    image: Path
    table: Path
    about: Path
    """Its JSON file."""
