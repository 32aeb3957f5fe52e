"""Read tab-separated tables; the only way that a table gets in, so the allocation firewall stands here."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mripipe.errors import InputError

MISSING: Final = frozenset({"", "n/a", "na", "nan", "none", "null", "."})
"""What stands for a missing value, in lower case."""

_ALLOCATION_STEMS: Final = (
    "treat",
    "alloc",
    "random",
    "placebo",
    "blind",
    "intervention",
    "assign",
    "verum",
    "sham",
)
_ALLOCATION_WORDS: Final = frozenset(
    {
        "group",
        "groups",
        "grp",
        "arm",
        "arms",
        "trt",
        "tx",
        "rx",
        "cohort",
        "condition",
        "drug",
        "dose",
        "product",
    }
    | {"rand", "kit", "control", "active", "cell", "cells"}
)
_ALLOCATION_ENDS: Final = ("group", "arm", "grp")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    line: int
    """Line in the file, counted from 1 (the header's)."""
    values: dict[str, str]
    """Column name to text; a missing value has no entry."""


@dataclass(frozen=True)
class Table:
    """A table as read: no allocation column, no missing value."""

    name: str
    """File name."""
    columns: tuple[str, ...]
    """Names in lower case, in file order."""
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()
    """What was odd about the file, one line each."""


def is_allocation_column(name: str) -> bool:
    """Say whether a column could tell the treatment arm, going by its name.

    Too many rather than too few: the readers of this trial's images are blinded.

    Examples
    --------
    >>> [is_allocation_column(name) for name in ("Group", "studyArm", "arm_1", "RandomisationNo")]
    [True, True, True, True]
    >>> [is_allocation_column(name) for name in ("age", "fma_ue", "days_from_infusion")]
    [False, False, False]

    """
    words = [word.lower() for word in _WORD.findall(name)]
    return any(
        word in _ALLOCATION_WORDS
        or word.endswith(_ALLOCATION_ENDS)
        or any(stem in word for stem in _ALLOCATION_STEMS)
        for word in [*words, "".join(words)]
    )


def parse_number(text: str) -> float:
    """Read a number written with a decimal point or comma; ValueError for anything else.

    Examples
    --------
    >>> parse_number("45,5"), parse_number("-2")
    (45.5, -2.0)

    """
    plain = text.strip().replace("\N{MINUS SIGN}", "-")
    if _NUMBER.fullmatch(plain) is None or not plain.isascii():
        raise ValueError("not a number")
    return float(plain.replace(",", "."))


def read_table(path: Path) -> Table:
    """Read a TSV file, without the columns that could tell the treatment arm.

    A byte-order mark, any line ending, quotes around a cell, blank lines and rows that are too short are
    taken in stride.

    Raises
    ------
    InputError
        If the file cannot be read, is not UTF-8 text, is empty, or is separated by something else than tabs.

    """
    lines = _lines(path)
    header = [cell.lower() for cell in _cells(lines[0][1])]
    if len(header) == 1 and re.search("[,;]", header[0]):
        raise InputError(
            f"{path.name}: expected columns separated by tabs, found commas or semicolons; convert it"
        )
    # On the spelling in the file: capitals part the words of a name.
    hidden = {name.lower() for name in _cells(lines[0][1]) if is_allocation_column(name)}
    remarks = [f"{path.name}: column {name!r} stands twice; the first is used" for name in _repeated(header)]
    rows = []
    for line, text in lines[1:]:
        cells = _cells(text)
        if any(cells[len(header) :]):
            remarks.append(f"{path.name} line {line}: more cells than columns; the last are left out")
        values: dict[str, str] = {}
        for name, cell in zip(header, cells, strict=False):
            if name not in hidden and cell.lower() not in MISSING:
                values.setdefault(name, cell)
        rows.append(Row(line, values))
    columns = tuple(dict.fromkeys(name for name in header if name not in hidden))
    return Table(path.name, columns, tuple(rows), tuple(remarks))


def read_key(path: Path) -> dict[str, str]:
    """Read the key that tells each participant's arm: the one door in the firewall, for unblinding alone.

    Parameters
    ----------
    path : Path
        TSV with ``participant_id`` and one more column.

    Returns
    -------
    dict of str to str
        ``sub-...`` to arm.

    Raises
    ------
    InputError
        If the file cannot be read, has other columns, or tells two arms of one participant.

    """
    lines = _lines(path)
    header = [cell.lower() for cell in _cells(lines[0][1])]
    if len(header) != 2 or "participant_id" not in header:
        raise InputError(
            f"{path.name}: expected two columns separated by tabs, participant_id and the arm; "
            f"found {len(header)}"
        )
    who_at = header.index("participant_id")
    arms: dict[str, str] = {}
    for line, text in lines[1:]:
        cells = _cells(text)
        if len(cells) != 2 or any(cell.lower() in MISSING for cell in cells):
            raise InputError(f"{path.name} line {line}: expected a participant and an arm; complete the key")
        who = f"sub-{cells[who_at].removeprefix('sub-')}"
        if arms.setdefault(who, cells[1 - who_at]) != cells[1 - who_at]:
            raise InputError(f"{path.name} line {line}: {who} has another arm above; correct the key")
    return arms


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank, with their numbers."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: not UTF-8 text; save it as UTF-8 with tabs") from error
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read: {error.strerror or error}") from error
    # Not splitlines: that would also split at characters that may stand inside a cell.
    lines = [(n, line) for n, line in enumerate(re.split("\r\n|\n|\r", text), start=1) if line.strip()]
    if not lines:
        raise InputError(f"{path.name}: an empty table; expected a line of column names")
    return lines


def _cells(line: str) -> list[str]:
    """Split a line at its tabs."""
    return [cell.strip().strip('"').strip() for cell in line.split("\t")]


def _repeated(names: list[str]) -> list[str]:
    """Return the names that stand more than once."""
    return [name for name, count in Counter(names).items() if count > 1 and not is_allocation_column(name)]
