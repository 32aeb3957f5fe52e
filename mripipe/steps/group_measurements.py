"""Read what the participant stage measured: ``measurements.tsv``, and the tract tables if there are any."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from mripipe.bids.names import OutputPaths
from mripipe.bids.tables import Row, Table, parse_number, read_table
from mripipe.errors import InputError, RequestError
from mripipe.model.group import Measurement, Oddity

NAMES: Final = {
    ("lesion_volume", "brain"): "lesion_ml",
    ("lesion_volume_lower", "brain"): "lesion_ml_lower",
    ("lesion_volume_upper", "brain"): "lesion_ml_upper",
    ("lesion_volume_mni", "brain"): "lesion_mni_ml",
    ("lesion_volume", "mca_territory"): "mca_ml",
    ("lesion_fraction", "mca_territory"): "mca_fraction",
    ("lesioned_percent", "mca_territory"): "mca_territory_percent",
    ("lesion_components", "brain"): "n_components",
    ("brain_volume", "brain"): "brain_ml",
    ("ventricle_volume", "lateral_ventricle"): "ventricle_ml",
}
"""Measure and region, and the variable they become; others are named measure_region."""

LOADS: Final = {"lesion_load": "lesion_load_ml", "lesion_load_weighted": "lesion_load_weighted_ml"}
"""Measures of tracts that ``tract_asymmetry.tsv`` names with their unit: one value has one name."""

ASYMMETRY_VALUES: Final = {
    "rfa": "1",
    "fa_asymmetry": "1",
    "rmd": "1",
    "lesion_load_ml": "mL",
    "lesion_load_weighted_ml": "mL",
}
"""Columns of ``tract_asymmetry.tsv`` and their units."""

METRIC_VALUES: Final = {"fa": "1", "md": "1e-3 mm2/s", "ad": "1e-3 mm2/s", "rd": "1e-3 mm2/s"}
"""Columns of ``tract_metrics.tsv`` and their units."""

_HEMISPHERES: Final = {"ipsilesional": "ipsi", "contralesional": "contra"}


def read_measurements(out_dir: Path) -> tuple[tuple[Measurement, ...], tuple[Oddity, ...]]:
    """Read every measured value of the output folder.

    Parameters
    ----------
    out_dir : Path
        The output folder of a participant stage.

    Returns
    -------
    tuple
        Measurements sorted by participant, visit and variable, and oddities. A value that stands twice
        counts once: the first.

    Raises
    ------
    RequestError
        There is no ``measurements.tsv``, or it has no usable row.

    """
    paths = OutputPaths(out_dir)
    if not paths.measurements.is_file():
        raise RequestError(
            f"{out_dir}: no measurements.tsv here; run the participant level first, or use --masks"
        )
    oddities: list[Oddity] = []
    found = list(_long_rows(_table(paths.measurements, oddities), oddities))
    for name, reader in (("tract_asymmetry.tsv", _asymmetry_rows), ("tract_metrics.tsv", _metric_rows)):
        if (out_dir / name).is_file():
            found += reader(_table(out_dir / name, oddities), oddities)
    if not found:
        raise RequestError(f"{paths.measurements}: no usable row; run the participant level again")
    once: dict[tuple[str, str, str], Measurement] = {}
    for item in found:
        first = once.setdefault((item.participant_id, item.session_id, item.name), item)
        # A load may be known of a tract without FA, whose row in the tract tables has one status for all.
        same = first.value == item.value and (item.value is not None or first.status == item.status)
        if not same:
            text = f"{item.session_id} {item.name} contradicts {first.file} line {first.line}; that is used"
            oddities.append(Oddity(item.file, item.line, text, item.participant_id))
    return tuple(once[key] for key in sorted(once)), tuple(oddities)


def _table(path: Path, oddities: list[Oddity]) -> Table:
    try:
        table = read_table(path)
    except InputError as error:
        raise RequestError(f"{path}: {error}") from error
    oddities += [Oddity(table.name, None, remark) for remark in table.remarks]
    return table


def _long_rows(table: Table, oddities: list[Oddity]) -> Iterator[Measurement]:
    """Read the long table; a paired structure's side becomes ipsi or contra."""
    sides = {
        (row.values.get("participant_id"), row.values.get("session_id")): row.values.get("side")
        for row in table.rows
        if row.values.get("measure") == "lesion_volume" and row.values.get("region") == "brain"
    }
    for row in table.rows:
        measure, region = row.values.get("measure", ""), row.values.get("region", "")
        name = NAMES.get((measure, region), variable_name(LOADS.get(measure, measure), region))
        start = _start(row, name, table.name, oddities)
        if start is None:
            continue
        if not measure.startswith("lesion") and row.values.get("side") != "bilateral":
            side, lesion = row.values.get("side"), sides.get((start.participant_id, start.session_id))
            if side in ("left", "right"):
                # Without a lesion on one side there is no ipsilateral one.
                one_sided = lesion in ("left", "right")
                hemisphere = ("ipsi" if side == lesion else "contra") if one_sided else side
                name = _with_hemisphere(name, hemisphere)
        value, status = _value(row, "value", table.name, oddities)
        unit = row.values.get("unit", "")
        yield replace(start, name=name, value=value, unit=unit, status=status)


def _with_hemisphere(name: str, hemisphere: str) -> str:
    """Put the hemisphere before the unit, as in ``ventricle_ipsi_ml``."""
    stem = name.removesuffix("_ml")
    return f"{stem}_{hemisphere}" + ("_ml" if stem != name else "")


def _asymmetry_rows(table: Table, oddities: list[Oddity]) -> Iterator[Measurement]:
    for row in table.rows:
        yield from _wide_row(row, table.name, ASYMMETRY_VALUES, "", oddities)


def _metric_rows(table: Table, oddities: list[Oddity]) -> Iterator[Measurement]:
    for row in table.rows:
        suffix = _HEMISPHERES.get(row.values.get("hemisphere", ""))
        if suffix is not None:
            yield from _wide_row(row, table.name, METRIC_VALUES, suffix, oddities)


def _wide_row(
    row: Row, file: str, units: dict[str, str], suffix: str, oddities: list[Oddity]
) -> Iterator[Measurement]:
    place = [row.values.get("tract", ""), row.values.get("segment", ""), suffix]
    start = _start(row, "tract", file, oddities)
    for column, unit in units.items():
        if start is not None:
            value, status = _value(row, column, file, oddities)
            name = variable_name(column, *place)
            yield replace(start, name=name, value=value, unit=unit, status=status)


def _start(row: Row, name: str, file: str, oddities: list[Oddity]) -> Measurement | None:
    """Return a row's identity and days, without its value."""
    who, session = row.values.get("participant_id", ""), row.values.get("session_id", "")
    if not re.fullmatch(r"sub-[A-Za-z0-9+]+", who) or not re.fullmatch(r"ses-[A-Za-z0-9+]+", session):
        oddities.append(Oddity(file, row.line, "no valid participant_id and session_id; the row is not used"))
        return None
    onset, infusion = (_days(row, column) for column in ("days_from_onset", "days_from_infusion"))
    low = row.values.get("status") == "low_quality"
    return Measurement(who, session, name, None, "", "", file, row.line, onset, infusion, low)


def _days(row: Row, column: str) -> float | None:
    try:
        return parse_number(row.values[column])
    except (KeyError, ValueError):
        return None


def _value(row: Row, column: str, file: str, oddities: list[Oddity]) -> tuple[float | None, str]:
    """Return a value with its status; a status of ok without a value is missing input."""
    status = row.values.get("status", "ok")
    if column not in row.values:
        return None, "missing_input" if status == "ok" else status
    try:
        value = parse_number(row.values[column])
        return value, "missing_input" if value is None and status == "ok" else status
    except ValueError:
        oddities.append(Oddity(file, row.line, f"{column} is not a number; not used"))
        return None, "failed"


def variable_name(*parts: str) -> str:
    """Join the parts of a variable's name into one that a formula can hold.

    Examples
    --------
    >>> variable_name("rfa", "CST", "rostral-pons")
    'rfa_CST_rostral_pons'

    """
    return re.sub(r"\W+", "_", "_".join(part for part in parts if part)).strip("_")
