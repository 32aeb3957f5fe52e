"""Codes for scanners: the table that ties them to serial numbers stays at the site, by the mapping table."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mripipe.bids.files import write_atomic
from mripipe.bids.ingested import read_rows, table_bytes
from mripipe.errors import RequestError
from mripipe.model.dicom import Scanner

COLUMNS: Final = ("scanner", "manufacturer", "model", "serial", "station")
_IDENTITY: Final = ("manufacturer", "serial")


class ScannerKey:
    """Gives every scanner a code that is the same at all visits, in all runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = read_rows(path)
        self._n_read = len(self.rows)
        if any(set(row) != set(COLUMNS) for row in self.rows):
            raise RequestError(
                f"{path}: expected the columns {', '.join(COLUMNS)}; move it away or correct it"
            )

    @staticmethod
    def path_for(mapping: Path) -> Path:
        """Return where the table of a mapping table lies: ``visits_scanners.tsv`` for ``visits.tsv``."""
        return mapping.with_name(f"{mapping.stem}_scanners.tsv")

    def code(self, scanner: Scanner) -> str | None:
        """Return the scanner's code, a new one for a new scanner; None where nothing tells it from others."""
        if not scanner.serial and not scanner.station:
            return None
        found = {
            "manufacturer": scanner.manufacturer or "n/a",
            "model": scanner.model or "n/a",
            "serial": scanner.serial or "n/a",
            "station": scanner.station or "n/a",
        }
        # A station may be renamed and a model upgraded; the serial number stays.
        keys = _IDENTITY if scanner.serial else ("manufacturer", "model", "station")
        for row in self.rows:
            if all(row[key] == found[key] for key in keys):
                return row["scanner"]
        code = f"scanner{len(self.rows) + 1}"
        self.rows.append({"scanner": code, **found})
        return code

    def save(self) -> None:
        """Write the table if a scanner was added."""
        if len(self.rows) > self._n_read:
            write_atomic(self.path, table_bytes(COLUMNS, self.rows))
            self._n_read = len(self.rows)
