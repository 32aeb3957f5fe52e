"""The mapping table: whose scan of which day is which visit. It holds identities and stays with the site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

from mripipe.bids.names import participant_label, session_label
from mripipe.bids.tables import Row, parse_number, read_table
from mripipe.errors import InputError, RequestError
from mripipe.model.dicom import Series

KEYS: Final = ("patient_id", "study_date", "folder")
"""Columns that a series is looked up by; those that are filled in must all agree."""
DATES: Final = ("study_date", "onset_date", "first_infusion_date")
DAYS: Final = ("days_from_onset", "days_from_infusion")


@dataclass(frozen=True)
class KeyRow:
    """One row: what to look for, and the visit that it is."""

    line: int
    participant_id: str
    """``sub-001``."""
    session_id: str
    """``ses-month6``."""
    patient_id: str | None = field(repr=False)
    folder: str | None = field(repr=False)
    """Folder, archive or file in the input, with forward slashes."""
    dates: Mapping[str, date] = field(repr=False)
    """Columns of `DATES` to days."""
    days: Mapping[str, float]
    """Columns of `DAYS` to days, where the table gives them."""
    age: str | None = None
    sex: str | None = None

    def fits(self, series: Series) -> bool:
        """Say whether this row names the study that a series is of."""
        if self.patient_id is not None and self.patient_id != series.patient_id.strip():
            return False
        day = self.dates.get("study_date")
        # In a row with a folder the date may stand in for one that was taken out of the headers.
        missing_ok = self.folder is not None and series.study_date is None
        if day is not None and day != series.study_date and not missing_ok:
            return False
        return self.folder is None or all(_below(file.name, self.folder) for file in series.files)

    def days_at(self, scanned: date | None) -> dict[str, float]:
        """Return the visit's days since onset and first infusion, as far as they are known.

        A number in the table wins over dates.
        """
        scanned = scanned or self.dates.get("study_date")
        days = dict(self.days)
        for column, start in zip(DAYS, ("onset_date", "first_infusion_date"), strict=True):
            if column not in days and scanned is not None and start in self.dates:
                days[column] = float((scanned - self.dates[start]).days)
        return days


def read_visit_key(path: Path) -> tuple[KeyRow, ...]:
    """Read the mapping table.

    Parameters
    ----------
    path : Path
        TSV with ``participant_id``, ``session_id``, at least one of ``patient_id``, ``study_date`` and
        ``folder``, and, where known, ``onset_date``, ``first_infusion_date`` (or ``days_from_onset``,
        ``days_from_infusion``), ``age`` and ``sex``. Dates are written YYYY-MM-DD or YYYYMMDD.

    Raises
    ------
    RequestError
        The table cannot be read, a row names no visit or nothing to look for, a date or number is none, or
        one patient is two participants. No cell is quoted.

    """
    try:
        table = read_table(path)
    except InputError as error:
        raise RequestError(f"mapping table {error}") from error
    for column in ("participant_id", "session_id"):
        if column not in table.columns:
            raise RequestError(f"{path.name}: no column {column}; the mapping table needs it")
    if not set(KEYS) & set(table.columns):
        raise RequestError(f"{path.name}: expected at least one of the columns {', '.join(KEYS)}")
    rows = tuple(_row(row, f"{path.name} line {row.line}") for row in table.rows)
    who: dict[str, str] = {}
    for key in rows:
        if key.patient_id and who.setdefault(key.patient_id, key.participant_id) != key.participant_id:
            raise RequestError(
                f"{path.name} line {key.line}: this patient is {who[key.patient_id]} above and "
                f"{key.participant_id} here; correct one"
            )
    return rows


def parse_day(text: str) -> date | None:
    """Read YYYY-MM-DD or YYYYMMDD; None for anything else.

    Examples
    --------
    >>> parse_day("20220407") == parse_day("2022-04-07")
    True

    """
    try:
        return date.fromisoformat(text.strip().replace(".", "-"))
    except ValueError:
        return None


def _row(row: Row, where: str) -> KeyRow:
    values = row.values
    try:
        participant_id = f"sub-{participant_label(values.get('participant_id', ''))}"
        session_id = f"ses-{session_label(values.get('session_id', ''))}"
    except InputError as error:
        raise RequestError(f"{where}: {error}") from error
    if not any(values.get(key) for key in KEYS):
        raise RequestError(f"{where}: none of {', '.join(KEYS)} is filled in; say which scan it is")
    dates: dict[str, date] = {}
    days: dict[str, float] = {}
    for column in DATES:
        if column in values:
            day = parse_day(values[column])
            if day is None:
                raise RequestError(f"{where}: {column} is not a date written YYYY-MM-DD or YYYYMMDD")
            dates[column] = day
    for column in DAYS:
        if column in values:
            try:
                days[column] = parse_number(values[column])
            except ValueError as error:
                raise RequestError(f"{where}: {column} is not a number") from error
    folder = values.get("folder")
    return KeyRow(
        row.line,
        participant_id,
        session_id,
        values.get("patient_id"),
        folder.replace("\\", "/").strip("/").removeprefix("./") if folder else None,
        dates,
        days,
        values.get("age"),
        values.get("sex"),
    )


def _below(name: str, folder: str) -> bool:
    return folder == "." or name == folder or name.startswith(f"{folder}/")
