"""Pictures of one image, ready to be laid out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gallery:
    """Pictures of one image; or, without pictures, why there are none."""

    title: str
    panels: tuple[str, ...] = ()
    """SVG text."""
    outlines: tuple[str, ...] = ()
    """Kinds of outline drawn."""
    problem: str | None = None
    note: str = ""
    """What to look for."""
    large: bool = False
    """Fewer, larger pictures in a row."""
