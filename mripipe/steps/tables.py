"""Results as data: each participant's as JSON, all participants' as tables with a data dictionary.

The tables are always rebuilt from the stored results of every participant, so that runs of different
participants into one folder, in any order, end in the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from mripipe import __version__
from mripipe.bids.files import write_atomic
from mripipe.bids.names import OutputPaths
from mripipe.errors import InputError, ProcessingError
from mripipe.model.results import LesionVolumes, SubjectResult, VisitResult
from mripipe.steps.tract_tables import (
    ASYMMETRY_COLUMNS,
    LONG_MEASURES,
    LONG_STATUS,
    METRIC_COLUMNS,
    asymmetry_lines,
    long_cells,
    long_regions,
    metric_lines,
)

MISSING: Final = "n/a"

STATUS_LEVELS: Final = {
    "ok": "measured",
    "no_lesion_found": "the visit was processed and no infarct was found",
    "low_quality": "measured, but a quality check failed: look at the report",
    "missing_input": "what is needed for this value was not there",
    "failed": "the visit could not be processed; the report says why",
}

_DECIMALS: Final = {
    "_cm2": 2,
    "_ml": 3,
    "_ml_lower": 3,
    "_ml_upper": 3,
    "_fraction": 4,
    "_percent": 2,
    "_dice": 4,
}

_VOLUME_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    "participant_id": {"Description": "Coded identity"},
    "session_id": {"Description": "Visit"},
    "days_from_onset": {"Description": "Days since stroke onset", "Units": "d"},
    "days_from_infusion": {"Description": "Days since the first infusion, negative before it", "Units": "d"},
    "source": {
        "Description": "Where the lesion mask comes from",
        "Levels": {"manual": "an expert's mask that was given", "auto": "found by the program"},
    },
    "side": {
        "Description": "Side of the person's brain that the lesion lies on",
        "Levels": {"left": "left", "right": "right", "bilateral": "both", "none": "no lesion"},
    },
    "lesion_ml": {"Description": "Lesion volume on the native grid: the primary value", "Units": "mL"},
    "lesion_ml_lower": {"Description": "Lower end of the lesion volume's interval", "Units": "mL"},
    "lesion_ml_upper": {"Description": "Upper end of the lesion volume's interval", "Units": "mL"},
    "lesion_mni_ml": {"Description": "Lesion volume in MNI152NLin2009aSym: secondary", "Units": "mL"},
    "mca_ml": {"Description": "Lesion volume within the MCA territory, native grid", "Units": "mL"},
    "mca_fraction": {"Description": "Share of the lesion within the MCA territory, 0 to 1"},
    "mca_territory_percent": {
        "Description": "Share of the MCA territory on the lesion's side that is lesion",
        "Units": "%",
    },
    "n_components": {"Description": "26-connected pieces of the lesion, native grid"},
    "brain_ml": {"Description": "Brain volume, ventricles and lesion included", "Units": "mL"},
    "ventricle_ipsi_ml": {"Description": "Lateral ventricle on the lesion's side", "Units": "mL"},
    "ventricle_contra_ml": {"Description": "Lateral ventricle on the other side", "Units": "mL"},
    "status": {"Description": "Why values are missing, if any are", "Levels": STATUS_LEVELS},
    "cavity_ml": {"Description": "Part of the lesion that is filled with fluid, native grid", "Units": "mL"},
    "gliosis_ml": {"Description": "Lesion without its cavity", "Units": "mL"},
    "auto_ml": {"Description": "Found by the program where an expert mask is used", "Units": "mL"},
    "auto_dice": {"Description": "Dice overlap of that with the expert mask"},
    "sequences": {"Description": "Sequences that the lesion was found in, the reference image first"},
    "surface_cm2": {"Description": "Surface of the lesion, native grid", "Units": "cm^2"},
    "change_ml": {"Description": "Change since the first visit measured alike", "Units": "mL"},
    "change_mdc_ml": {"Description": "Minimal detectable change between these two", "Units": "mL"},
    "change": {
        "Description": "Whether the change is told from none",
        "Levels": {
            "detected": "larger than the minimal detectable change",
            "not_detected": "an unchanged brain scanned twice may show as much",
        },
    },
    "contralateral_ml": {
        "Description": "Older infarcts on the other side, not part of the lesion, native grid",
        "Units": "mL",
    },
    "repeat_sd_ml": {
        "Description": "Deviation of lesion_ml between scans of an unchanged brain",
        "Units": "mL",
    },
}

_MEASURES: Final = (
    ("lesion_volume", "brain", "lesion", "lesion_ml", "mL"),
    ("lesion_volume_lower", "brain", "lesion", "lesion_ml_lower", "mL"),
    ("lesion_volume_upper", "brain", "lesion", "lesion_ml_upper", "mL"),
    ("lesion_volume_mni", "brain", "lesion", "lesion_mni_ml", "mL"),
    ("lesion_volume", "mca_territory", "lesion", "mca_ml", "mL"),
    ("lesion_fraction", "mca_territory", "lesion", "mca_fraction", "1"),
    ("lesioned_percent", "mca_territory", "lesion", "mca_territory_percent", "%"),
    ("lesion_components", "brain", "lesion", "n_components", "count"),
    ("lesion_cavity_volume", "brain", "lesion", "cavity_ml", "mL"),
    ("lesion_gliosis_volume", "brain", "lesion", "gliosis_ml", "mL"),
    ("lesion_surface", "brain", "lesion", "surface_cm2", "cm^2"),
    ("lesion_change", "brain", "lesion", "change_ml", "mL"),
    ("lesion_change_minimal_detectable", "brain", "lesion", "change_mdc_ml", "mL"),
    ("older_lesion_volume", "brain", "contralesional", "contralateral_ml", "mL"),
    ("brain_volume", "brain", "both", "brain_ml", "mL"),
    ("ventricle_volume", "lateral_ventricle", "ipsilesional", "ventricle_ipsi_ml", "mL"),
    ("ventricle_volume", "lateral_ventricle", "contralesional", "ventricle_contra_ml", "mL"),
)
"""Measure, region, which side it is on, field of `LesionVolumes`, unit."""

_QUALITY: Final = (
    ("normalisation_tissue_dice", "brain", "tissue_dice", "1"),
    ("normalisation_ventricle_dice", "lateral_ventricle", "ventricle_dice", "1"),
    ("normalisation_correlation", "brain", "correlation", "1"),
    ("normalisation_jacobian_min", "brain", "jacobian_min", "1"),
    ("normalisation_jacobian_max", "brain", "jacobian_max", "1"),
    ("normalisation_folded", "brain", "folded_percent", "%"),
)
"""Measure, region, field of `NormalisationQuality`, unit."""

_TERRITORIES: Final = {
    "ACA": ("aca_territory", "territory of the anterior cerebral artery"),
    "MCA": ("mca_territory", "territory of the middle cerebral artery"),
    "MCAs": ("mca_superior_territory", "MCA territory, superior division"),
    "MCAi": ("mca_inferior_territory", "MCA territory, inferior division"),
    "MCAl": ("mca_lenticulostriate_territory", "MCA territory, lenticulostriate arteries"),
    "PCA": ("pca_territory", "territory of the posterior cerebral artery"),
    "VB": ("vertebrobasilar_territory", "territory of the vertebrobasilar arteries"),
}
"""Territory in `TerritoryLoad` to region and what that is."""

_MEASUREMENT_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    "participant_id": {"Description": "Coded identity"},
    "session_id": {"Description": "Visit"},
    "days_from_onset": {"Description": "Days since stroke onset", "Units": "d"},
    "days_from_infusion": {"Description": "Days since the first infusion, negative before it", "Units": "d"},
    "measure": {
        "Description": "What was measured",
        "Levels": {
            "lesion_volume": "volume of the lesion inside the region, native grid",
            "lesion_volume_lower": "lower end of the lesion volume's interval",
            "lesion_volume_upper": "upper end of the lesion volume's interval",
            "lesion_volume_mni": "volume of the lesion in MNI152NLin2009aSym",
            "lesion_fraction": "share of the lesion that lies inside the region",
            "lesioned_percent": "share of the region, on the lesion's side, that is lesion",
            "lesion_components": "number of 26-connected pieces of the lesion",
            "lesion_cavity_volume": "part of the lesion that is filled with fluid",
            "lesion_gliosis_volume": "lesion without its cavity",
            "lesion_surface": "surface of the lesion, native grid",
            "lesion_change": "change of the lesion's volume since the first visit measured alike",
            "lesion_change_minimal_detectable": "smallest such change that is told from none",
            "older_lesion_volume": "older infarcts on the side without the lesion, native grid",
            "brain_volume": "volume of the brain, ventricles and lesion included",
            "ventricle_volume": "volume of one lateral ventricle, native grid",
            "territory_lesion_volume": "volume of the lesion inside one side's territory, native grid",
            "territory_lesioned_percent": "share of one side's territory that is lesion, in MNI",
            "region_lesion_volume": "volume of the lesion in a region of an installed atlas, native grid",
            "region_lesioned_percent": "share of a region of an installed atlas that is lesion, in MNI",
            "normalisation_tissue_dice": "overlap of brain tissue with the template outside the lesion",
            "normalisation_ventricle_dice": "overlap of ventricles with the template's outside the lesion",
            "normalisation_correlation": "correlation with the template outside the lesion",
            "normalisation_jacobian_min": "smallest local change of volume by the deformation to MNI",
            "normalisation_jacobian_max": "largest local change of volume by the deformation to MNI",
            "normalisation_folded": "share of the region in which the deformation folds",
            **LONG_MEASURES,
        },
    },
    "region": {
        "Description": "Where it was measured",
        "Levels": {
            "brain": "the whole brain",
            **dict(_TERRITORIES.values()),
            "lateral_ventricle": "one lateral ventricle; both, where the side is bilateral",
        },
    },
    "side": {
        "Description": "Side of the person's brain; of a lesion's measure, the side the lesion lies on",
        "Levels": {
            "left": "left",
            "right": "right",
            "bilateral": "both sides",
            "none": "no lesion",
        },
    },
    "value": {"Description": "The measured number, in the row's unit"},
    "unit": {
        "Description": "Unit of the value",
        "Levels": {
            "mL": "mL",
            "%": "%",
            "cm^2": "cm^2",
            "1": "share or ratio",
            "count": "count",
            "1e-3 mm2/s": "10^-3 mm^2/s",
        },
    },
    "status": {
        "Description": "Why the value is missing, if it is",
        "Levels": {**STATUS_LEVELS, **LONG_STATUS},
    },
    "qc": {
        "Description": "Automatic quality check of the visit",
        "Levels": {"pass": "no warning", "warning": "the report has warnings for this visit"},
    },
    "software": {"Description": "Program and version that measured the value"},
}


def write_subject_results(out_dir: Path, result: SubjectResult) -> Path:
    """Store one participant's results as ``sub-001/sub-001_results.json``, paths relative to `out_dir`.

    Raises
    ------
    ProcessingError
        If a number is not finite, or the file cannot be written.
    RequestError
        If a path lies outside `out_dir`.

    """
    paths = OutputPaths(out_dir)
    encoded = _encode(result, paths.relative)
    try:
        text = json.dumps(encoded, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ProcessingError(
            f"{result.participant_id}: a result is not a finite number; not stored"
        ) from error
    return write_atomic(paths.results(result.participant_id), text + "\n")


def read_results(out_dir: Path) -> tuple[SubjectResult, ...]:
    """Read every participant's stored results, sorted by participant; paths are put below `out_dir` again.

    Raises
    ------
    InputError
        If a file is damaged or was written by another version.

    """
    paths = sorted(out_dir.glob("sub-*/sub-*_results.json"))
    return tuple(_read_results_file(path, out_dir) for path in paths)


def read_subject_results(out_dir: Path, participant: str) -> SubjectResult | None:
    """Read one participant's stored results, None where there are none; see `read_results`."""
    path = OutputPaths(out_dir).results(participant)
    return _read_results_file(path, out_dir) if path.is_file() else None


def _read_results_file(path: Path, out_dir: Path) -> SubjectResult:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        result: SubjectResult = _decode(stored, SubjectResult, out_dir)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise InputError(
            f"{path.name}: stored results cannot be read ({error}); run this participant again"
        ) from error
    return result


def write_tables(out_dir: Path) -> tuple[Path, Path]:
    """Rebuild ``lesion_volumes.tsv`` and ``measurements.tsv`` from all stored results; return both paths."""
    results = read_results(out_dir)
    volumes = [visit.volumes for result in results for visit in result.visits]
    visits = [visit for result in results for visit in result.visits]
    _write_tract_tables(out_dir, visits)
    return write_lesion_volumes(out_dir, volumes), write_measurements(out_dir, visits)


def _write_tract_tables(out_dir: Path, visits: Sequence[VisitResult]) -> None:
    """Write ``tract_metrics.tsv`` and ``tract_asymmetry.tsv``; none where all visits left diffusion out."""
    paths = OutputPaths(out_dir)
    for path, columns, lines in (
        (paths.tract_metrics, METRIC_COLUMNS, metric_lines(visits)),
        (paths.tract_asymmetry, ASYMMETRY_COLUMNS, asymmetry_lines(visits)),
    ):
        if lines:
            _write_table(path, columns, lines)
        else:
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)


def write_lesion_volumes(out_dir: Path, rows: Iterable[LesionVolumes]) -> Path:
    """Write ``lesion_volumes.tsv``, a row a visit in the order given, with its data dictionary beside it.

    Parameters
    ----------
    out_dir : Path
        The output folder.
    rows : iterable of LesionVolumes
        None is written as ``n/a``.

    Raises
    ------
    ProcessingError
        If the file cannot be written.

    """
    names = list(_VOLUME_COLUMNS)
    lines = [[_cell(name, getattr(row, name)) for name in names] for row in rows]
    return _write_table(OutputPaths(out_dir).lesion_volumes, _VOLUME_COLUMNS, lines)


def write_measurements(out_dir: Path, visits: Iterable[VisitResult]) -> Path:
    """Write ``measurements.tsv``, a row a visit and measure, with its data dictionary beside it.

    A value of an otherwise successful visit that is not there has status ``missing_input``; a value that is
    there although the visit has no lesion (the brain's volume) has status ``ok``.
    """
    seen = tuple(visits)
    lines = [line for visit in seen for line in _measurement_lines(visit)]
    region = _MEASUREMENT_COLUMNS["region"]
    installed = {
        load.region: "{1}, region of the installed atlas {0}".format(*load.region.split(":", 1))
        for visit in seen
        for load in visit.regions
    }
    regions = {**region, "Levels": {**region["Levels"], **long_regions(seen), **installed}}
    return _write_table(OutputPaths(out_dir).measurements, {**_MEASUREMENT_COLUMNS, "region": regions}, lines)


def _measurement_lines(visit: VisitResult) -> list[list[str]]:
    """Return one visit's lines of the long table."""
    row = visit.volumes
    start = [_cell(name, getattr(row, name)) for name in list(_MEASUREMENT_COLUMNS)[:4]]
    qc = MISSING if row.status == "failed" else "warning" if visit.warnings else "pass"
    lines = []
    for measure, region, relation, name, unit in _MEASURES:
        value = getattr(row, name)
        cells = [measure, region, _side(row, relation), _cell(name, value), unit, _status(row, value)]
        lines.append([*start, *cells, qc, f"mripipe {__version__}"])
    rest = [*_territory_cells(visit), *_region_cells(visit), *_quality_cells(visit)]
    if visit.diffusion is not None:
        rest += long_cells(visit.diffusion, _side(row, "lesion"))
    return lines + [[*start, *cells, qc, f"mripipe {__version__}"] for cells in rest]


def _territory_cells(visit: VisitResult) -> Iterator[list[str]]:
    """Give what each territory's rows hold of their own; missing values where there is no lesion."""
    loads = {(load.territory, load.side): load for load in visit.territories}
    for name, (region, _) in _TERRITORIES.items():
        for side in ("left", "right"):
            load = loads.get((name, side))
            for measure, field, unit in (
                ("territory_lesion_volume", "lesion_ml", "mL"),
                ("territory_lesioned_percent", "lesioned_percent", "%"),
            ):
                value = getattr(load, field, None)
                status = _status(visit.volumes, value)
                yield [measure, region, side, _cell(field, value), unit, status]


def _region_cells(visit: VisitResult) -> Iterator[list[str]]:
    """Give what each region of an installed atlas has of the lesion."""
    for load in visit.regions:
        for measure, field, unit in (
            ("region_lesion_volume", "lesion_ml", "mL"),
            ("region_lesioned_percent", "lesioned_percent", "%"),
        ):
            value = getattr(load, field)
            status = _status(visit.volumes, value)
            yield [measure, load.region, load.side, _cell(field, value), unit, status]


def _quality_cells(visit: VisitResult) -> Iterator[list[str]]:
    """Give what the rows on the registration to MNI hold of their own."""
    for measure, region, field, unit in _QUALITY:
        value = getattr(visit.quality, field, None)
        # They are measured whether there is a lesion or not.
        processed = visit.volumes.status == "no_lesion_found" and value is None
        status = "missing_input" if processed else _status(visit.volumes, value)
        shown = MISSING if value is None else f"{round(value, 4) + 0.0:.4f}"
        yield [measure, region, "bilateral", shown, unit, status]


def _side(row: LesionVolumes, relation: str) -> str:
    """Return the side of the brain that a measure belongs to."""
    if relation == "both":
        return "bilateral"
    if relation == "lesion" or row.side not in ("left", "right"):
        return MISSING if row.side is None or relation != "lesion" else row.side
    opposite = {"left": "right", "right": "left"}
    return row.side if relation == "ipsilesional" else opposite[row.side]


def _status(row: LesionVolumes, value: float | None) -> str:
    """Return one value's status."""
    if value is None:
        return "missing_input" if row.status in ("ok", "low_quality") else row.status
    return "ok" if row.status == "no_lesion_found" else row.status


def _cell(name: str, value: object) -> str:
    """Write one value: fixed decimals by the unit in the name, tabs and line ends taken out of text."""
    if value is None:
        return MISSING
    if isinstance(value, (int, float, np.number)) and name != "n_components":
        if name.startswith("days_"):
            # Adding 0.0 makes a rounded -0.0 a plain 0.
            return f"{round(float(value), 1) + 0.0:.1f}".removesuffix(".0")
        decimals = next(n for end, n in _DECIMALS.items() if name.endswith(end))
        return f"{round(float(value), decimals) + 0.0:.{decimals}f}"
    return re.sub(r"\s+", " ", str(value))


def _write_table(path: Path, columns: dict[str, dict[str, Any]], lines: Sequence[Sequence[str]]) -> Path:
    """Write a table and its data dictionary."""
    text = "".join("\t".join(cells) + "\n" for cells in [list(columns), *lines])
    dictionary = json.dumps(columns, indent=2) + "\n"
    write_atomic(path.with_suffix(".json"), dictionary)
    return write_atomic(path, text)


def _encode(value: Any, relative: Callable[[Path], str]) -> Any:
    """Turn a result into what JSON can hold."""
    if is_dataclass(value):
        return {f.name: _encode(getattr(value, f.name), relative) for f in fields(value)}
    if isinstance(value, tuple):
        return [_encode(item, relative) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return relative(value) if isinstance(value, Path) else value


def _decode(value: Any, kind: Any, out_dir: Path) -> Any:
    """Turn JSON back into the type that a field is declared with."""
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        (kind,) = (option for option in get_args(kind) if option is not NoneType)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        if unknown := sorted(set(value) - set(hints)):
            raise KeyError(f"unknown field {', '.join(unknown)}")
        return kind(**{name: _decode(item, hints[name], out_dir) for name, item in value.items()})
    if get_origin(kind) is tuple:
        return tuple(_decode(item, get_args(kind)[0], out_dir) for item in value)
    if kind is Path:
        return out_dir / value
    if kind is float and type(value) is int:
        return float(value)
    allowed = get_args(kind) if get_origin(kind) is Literal else None
    if value not in allowed if allowed else not isinstance(value, kind):
        raise TypeError(f"{value!r} is not {kind}")
    return value
