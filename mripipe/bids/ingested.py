"""A raw BIDS dataset as it is written: names, tables that only grow, and the fixed files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mripipe.bids.names import Entities, format_name, participant_label, session_label
from mripipe.errors import InputError

BIDS_VERSION: Final = "1.10.0"
MISSING: Final = "n/a"

README: Final = """Taken in from DICOM by mripipe ingest.

Identities and dates were taken out; days count from stroke onset and from the first infusion.
code/ingest/series.tsv says what became of every series, code/ingest/compliance.tsv how the scans
agree with the protocol.
"""
PARTICIPANTS_JSON: Final = {
    "age": {"Description": "Age at the first visit taken in; 89+ from 89 on", "Units": "year"},
    "sex": {
        "Description": "Sex as recorded at the scanner",
        "Levels": {"F": "female", "M": "male", "O": "other"},
    },
}
SESSIONS_JSON: Final = {
    "days_from_onset": {"Description": "Days from stroke onset to the scan", "Units": "day"},
    "days_from_infusion": {
        "Description": "Days from the first infusion to the scan, negative before it",
        "Units": "day",
    },
}


@dataclass(frozen=True)
class RawPaths:
    """Where the files of a raw dataset lie; nothing is created."""

    root: Path

    @property
    def participants(self) -> Path:
        """``participants.tsv``."""
        return self.root / "participants.tsv"

    @property
    def series(self) -> Path:
        """``code/ingest/series.tsv``: what became of every series."""
        return self.root / "code" / "ingest" / "series.tsv"

    @property
    def compliance(self) -> Path:
        """``code/ingest/compliance.tsv``: agreement with the protocol."""
        return self.root / "code" / "ingest" / "compliance.tsv"

    @property
    def log(self) -> Path:
        """``code/ingest/ingest.jsonl``: findings of the last run."""
        return self.root / "code" / "ingest" / "ingest.jsonl"

    def fixed_files(self) -> dict[Path, bytes]:
        """Return the files whose content does not come from the input."""
        description = {
            "Name": "Serial MRI taken in by mripipe ingest",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "raw",
            "License": "n/a",
            "Authors": ["n/a"],
            "GeneratedBy": [{"Name": "mripipe ingest"}],
        }
        return {
            self.root / "dataset_description.json": json_bytes(description),
            self.root / "README": README.encode(),
            self.root / "participants.json": json_bytes(PARTICIPANTS_JSON),
            self.root / "sessions.json": json_bytes(SESSIONS_JSON),
        }

    def visit(self, participant_id: str, session_id: str) -> Path:
        """``sub-001/ses-month6``."""
        sub, ses = participant_label(participant_id), session_label(session_id)
        return self.root / f"sub-{sub}" / f"ses-{ses}"

    def sessions(self, participant_id: str) -> Path:
        """``sub-001/sub-001_sessions.tsv``."""
        label = participant_label(participant_id)
        return self.root / f"sub-{label}" / f"sub-{label}_sessions.tsv"

    def scan(self, participant_id: str, session_id: str, suffix: str, extension: str) -> Path:
        """``sub-001/ses-month6/anat/sub-001_ses-month6_T1w.nii.gz``, or a file that belongs to it."""
        sub, ses = participant_label(participant_id), session_label(session_id)
        name = format_name(Entities(sub=sub, ses=ses, suffix=suffix, extension=extension))
        return self.visit(sub, ses) / ("dwi" if suffix == "dwi" else "anat") / name


def json_bytes(document: Any) -> bytes:
    """Write a JSON document, readable and always the same."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def table_bytes(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Write a table; what a row lacks, and None, is ``n/a``."""
    lines = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read back a table that this module wrote; nothing where there is none."""
    if not path.is_file():
        return []
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=False)) for line in lines]


def grown_table(path: Path, key: str, columns: Sequence[str], row: Mapping[str, Any]) -> bytes | None:
    """Return a table with one more row; None where it has a row of that key already.

    Rows and columns that are there are kept byte for byte: a new row is ``n/a`` in columns that it does not
    know. Where there is no table, it begins with `columns`.

    Raises
    ------
    InputError
        The table has no column `key`, or cannot be read.

    """
    if not path.is_file():
        return table_bytes(columns, [row])
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: cannot be read as UTF-8 text; correct it") from error
    lines = text.splitlines()
    header = lines[0].split("\t") if lines else []
    if key not in header:
        raise InputError(f"{path.name}: no column {key}; correct it or move the file away")
    at = header.index(key)
    if any(line.split("\t")[at : at + 1] == [str(row[key])] for line in lines[1:]):
        return None
    end = "\r\n" if "\r\n" in text else "\n"
    added = "\t".join(_cell(row.get(column)) for column in header)
    return (text + ("" if text.endswith("\n") else end) + added + end).encode()


def _cell(value: Any) -> str:
    """Write one cell, without what would break the table."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split())
