"""What the group's page shows: pictures and tables, ready to be laid out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """A figure with the numbers behind it."""

    name: str
    """File name without ending."""
    title: str
    svg: str
    header: tuple[str, ...]
    """Columns of the numbers."""
    rows: tuple[tuple[object, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    sort: str = ""
    """What the table is sorted by; the text where it is empty."""
    kind: str = ""
    """``num``, ``chip STATUS`` or nothing."""
    link: str = ""


@dataclass(frozen=True)
class PageTable:
    """A table; its head says the units."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    file: str = ""
    """Where the whole table lies, relative to the page."""


@dataclass(frozen=True)
class GroupPage:
    """The whole page."""

    title: str
    facts: tuple[str, ...]
    """One line each, shown on top."""
    people: PageTable
    visits: PageTable
    warnings: tuple[str, ...]
    pictures: tuple[Picture, ...]
    tables: tuple[PageTable, ...]
    methods: tuple[str, ...]
    """Paragraphs."""
    references: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    unblinded: bool = False
