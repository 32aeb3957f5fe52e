"""Label tables: which number in a label map is which region."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mripipe.errors import InputError

DELIMITERS = {".tsv": "\t", ".csv": ",", ".txt": "|"}
"""Column separator of each kind of file that is read."""

COLUMNS = ("index", "name", "abbreviation", "side")
"""Columns of the tables that are written; the first three as in BIDS."""


@dataclass(frozen=True)
class AtlasLabel:
    """One line of a label table."""

    index: int
    """Value in the label map."""
    name: str
    """Full name."""
    abbreviation: str = "n/a"
    """Short name."""
    side: str = "n/a"
    """``left``, ``right``, ``midline`` or ``n/a``."""


def read_label_table(path: Path) -> tuple[AtlasLabel, ...]:
    """Read a label table.

    Parameters
    ----------
    path : Path
        Tab-separated with a header (BIDS: index, name, abbreviation); comma-separated with such a header, or
        without one as index, name; or ``.txt`` with lines ``index|abbreviation|name|...``, or with a name a
        line, of the first, second, ... volume.

    Returns
    -------
    tuple of AtlasLabel
        In the order of the indices, without the background 0. Sides only where the table has that column.

    Raises
    ------
    InputError
        If the file cannot be read as one of these, or a number is listed twice.

    """
    path = Path(path)
    rows = _read_rows(path)
    if path.suffix.lower() == ".txt" and _only_names(rows):
        rows = [(line, [str(number), "", row[0]]) for number, (line, row) in enumerate(rows, 1)]
    columns = _columns(rows, path)
    labels: dict[int, AtlasLabel] = {}
    for line, row in rows if columns is None else rows[1:]:
        label = _label(row, columns or _unnamed_columns(row, path, line), path, line)
        if label.index in labels:
            raise InputError(
                f"{path}, line {line}: label {label.index} is listed twice "
                f"('{labels[label.index].name}', '{label.name}'); give every label one line"
            )
        labels[label.index] = label
    labels.pop(0, None)
    if not labels:
        raise InputError(f"{path}: expected a line for each label, found none; give index and name")
    return tuple(labels[index] for index in sorted(labels))


def format_label_table(labels: Sequence[AtlasLabel]) -> str:
    """Tab-separated text of a label table, the inverse of `read_label_table` for ``.tsv``."""
    lines = [COLUMNS, *((str(row.index), row.name, row.abbreviation, row.side) for row in labels)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    delimiter = DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        raise InputError(
            f"{path}: expected a label table ending in {', '.join(DELIMITERS)}, found '{path.suffix}'; "
            "write it as tab-separated index and name with a header, ending in .tsv"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: the label table cannot be read ({error}); give a UTF-8 text file"
        ) from error
    rows = csv.reader(text.splitlines(), delimiter=delimiter)
    cells = [(number, [" ".join(cell.split()) for cell in row]) for number, row in enumerate(rows, 1)]
    return [(number, row) for number, row in cells if any(row)]


def _only_names(rows: Sequence[tuple[int, list[str]]]) -> bool:
    return len(rows) > 1 and all(len(row) == 1 and not _is_integer(row[0]) for _, row in rows)


def _columns(rows: Sequence[tuple[int, list[str]]], path: Path) -> dict[str, int] | None:
    """Column numbers from the header; None without a header."""
    if not rows or _is_integer(rows[0][1][0]):
        return None
    header = [cell.lower() for cell in rows[0][1]]
    if "index" not in header or "name" not in header:
        raise InputError(
            f"{path}: expected a header with index and name, or lines that start with the label's number, "
            f"found '{rows[0][1][0][:40]}'; add the header"
        )
    return {column: header.index(column) for column in COLUMNS if column in header}


def _unnamed_columns(row: Sequence[str], path: Path, line: int) -> dict[str, int]:
    if path.suffix.lower() == ".txt" and len(row) >= 3:
        return {"index": 0, "abbreviation": 1, "name": 2}
    if path.suffix.lower() != ".txt" and len(row) == 2:
        return {"index": 0, "name": 1}
    expected = "index|abbreviation|name" if path.suffix.lower() == ".txt" else "index and name"
    raise InputError(
        f"{path}, line {line}: expected {expected}, found {len(row)} columns; "
        "add a header that names the columns"
    )


def _label(row: Sequence[str], columns: dict[str, int], path: Path, line: int) -> AtlasLabel:
    cells = {column: row[number] if number < len(row) else "" for column, number in columns.items()}
    if not _is_integer(cells["index"]) or int(cells["index"]) < 0 or not cells["name"].isprintable():
        raise InputError(
            f"{path}, line {line}: expected a label's number and its name, found {cells['index'][:40]!r} and "
            f"{cells['name'][:40]!r}; correct the line"
        )
    if not cells["name"]:
        raise InputError(f"{path}, line {line}: label {cells['index']} has no name; give it one")
    return AtlasLabel(
        int(cells["index"]), cells["name"], cells.get("abbreviation") or "n/a", cells.get("side") or "n/a"
    )


def _is_integer(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()
