"""Rows of ``tract_metrics.tsv`` and ``tract_asymmetry.tsv``, with their data dictionaries.

What of them, and of the tissue around the lesion, goes into the long table is here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from mripipe.atlases.tracts import TRACT_NAMES, WHOLE, load_tracts
from mripipe.model.diffusion import DiffusionResult, PerilesionalRing, TractMetrics, TractStatus
from mripipe.model.results import VisitResult
from mripipe.steps.perilesional import RINGS_MM
from mripipe.steps.tracked import TRACKED_NAMES, tracked_name
from mripipe.steps.tracts import segments_of

MISSING: Final = "n/a"

_STATUS: Final = {
    "Description": "Why values are missing, if any are",
    "Levels": {
        "ok": "measured",
        "no_lesion_found": "no lesion on one side, so that neither side is the lesion's",
        "truncated_by_lesion": "the lesion leaves too little of the tract, or too few streamlines",
        "not_covered": "too little of the tract lies in the field of view",
        "low_quality": "too few directions, lesions on both sides, or too few streamlines without a lesion",
        "missing_input": "no diffusion series, or no gradients",
        "failed": "the series could not be processed; the report says why",
    },
}

_SHELLS: Final = "n/a where the series has no two shells up to b = 1500"

_PLACE: Final[dict[str, dict[str, Any]]] = {
    "participant_id": {"Description": "Coded identity"},
    "session_id": {"Description": "Visit"},
    "days_from_onset": {"Description": "Days since stroke onset", "Units": "d"},
    "tract": {
        "Description": "Tract; NAME:TRACT is one of the installed atlas NAME",
        "Levels": {**TRACT_NAMES, **TRACKED_NAMES},
    },
    "segment": {"Description": "Part of the tract; whole is all of it"},
}

METRIC_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    **_PLACE,
    "hemisphere": {
        "Description": "ipsilesional or contralesional; n/a without a lesion on one side and in the midline"
    },
    "side": {"Description": "Side of the person's brain; n/a for a tract that crosses the midline"},
    "fa": {
        "Description": "Fractional anisotropy, mean weighted by tract probability, lesion and its mirrored "
        "place left out; of a tract that was followed, by the share of its streamlines that pass a voxel"
    },
    "md": {"Description": "Mean diffusivity, weighted so", "Units": "10^-3 mm^2/s"},
    "ad": {"Description": "Axial diffusivity, weighted so", "Units": "10^-3 mm^2/s"},
    "rd": {"Description": "Radial diffusivity, weighted so", "Units": "10^-3 mm^2/s"},
    "n_voxels": {
        "Description": "Voxels of the tract (probability 1/2 or more) that are not lesion; of a tract that "
        "was followed, those that one streamline in a hundred or more passes"
    },
    "lesion_fraction": {"Description": "Share of the tract that is lesion, 0 to 1"},
    "fa_with_lesion": {"Description": "As fa, lesion not left out"},
    "md_with_lesion": {"Description": "As md, lesion not left out", "Units": "10^-3 mm^2/s"},
    "coverage": {"Description": "Share of the tract in the field of view, 0 to 1"},
    "fwf": {"Description": f"Fraction of free water, 0 to 1, weighted as fa; {_SHELLS}"},
    "fa_tissue": {
        "Description": f"FA of the tissue beside the free water, weighted as fa and by its share; {_SHELLS}"
    },
    "n_streamlines": {"Description": "Streamlines of a tract that was followed; n/a of the atlas's tracts"},
    "status": _STATUS,
}

ASYMMETRY_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    **_PLACE,
    "rfa": {"Description": "FA ipsilesional / contralesional"},
    "fa_asymmetry": {"Description": "(contralesional - ipsilesional) / (contralesional + ipsilesional) FA"},
    "rmd": {"Description": "MD ipsilesional / contralesional"},
    "lesion_load_ml": {"Description": "Lesion in the tract, by probability, in MNI", "Units": "mL"},
    "lesion_load_weighted_ml": {
        "Description": "The same, each axial slice times the tract's largest section over its section there",
        "Units": "mL",
    },
    "status": _STATUS,
}

_DECIMALS: Final = {"lesion_load_ml": 3, "lesion_load_weighted_ml": 3}

_LONG_METRICS: Final = {"fa": "1", "md": "1e-3 mm2/s", "ad": "1e-3 mm2/s", "rd": "1e-3 mm2/s"}
_LONG_FREE_WATER: Final = ("fwf", "fa_tissue")
_LONG_ASYMMETRY: Final = {"rfa": "1", "fa_asymmetry": "1", "rmd": "1"}
_LONG_LOADS: Final = {
    "lesion_load": "lesion_load_ml",
    "lesion_load_weighted": "lesion_load_weighted_ml",
}
"""Measures of the long table, with their unit or field."""

LONG_MEASURES: Final = {
    "fa": "fractional anisotropy, lesion left out; of a tract, weighted by its probability",
    "md": "mean diffusivity, so",
    "ad": "axial diffusivity, so",
    "rd": "radial diffusivity, so",
    "fwf": f"fraction of free water, lesion left out, weighted as fa; no row {_SHELLS.removeprefix('n/a ')}",
    "fa_tissue": "FA of the tissue beside the free water, weighted as fa and by its share",
    "rfa": "FA ipsilesional / contralesional",
    "fa_asymmetry": "(contralesional - ipsilesional) / (contralesional + ipsilesional) FA",
    "rmd": "MD ipsilesional / contralesional",
    "lesion_load": "volume of the lesion in the tract, by probability, in MNI",
    "lesion_load_weighted": "the same, each axial slice times the tract's largest section over its own",
}
LONG_STATUS: Final = {
    "low_quality": "measured, but a quality check failed: look at the report; of diffusion, not measured: "
    "too few directions, or lesions on both sides",
    "truncated_by_lesion": "the lesion leaves too little of the tract",
    "not_covered": "too little of the tract, or of the tissue, lies in the field of view",
}


def metric_lines(visits: Iterable[VisitResult]) -> list[list[str]]:
    """Return the lines of ``tract_metrics.tsv``: a row a visit, tract, segment and hemisphere."""
    return [
        [*_visit_cells(visit), *(_cell(name, cells.get(name)) for name in list(METRIC_COLUMNS)[3:])]
        for visit in visits
        if visit.diffusion is not None
        for row in visit.diffusion.metrics
        for cells in [{**vars(row), "n_streamlines": _streamlines(visit.diffusion, row)}]
    ]


def _streamlines(diffusion: DiffusionResult, row: TractMetrics) -> int | None:
    """Return how many streamlines a row rests on, None of the atlas's tracts."""
    counts = {(tracked_name(t.tract), t.side): t.n_streamlines for t in diffusion.tracked}
    return counts.get((row.tract, row.side)) if row.side is not None else None


def asymmetry_lines(visits: Iterable[VisitResult]) -> list[list[str]]:
    """Return the lines of ``tract_asymmetry.tsv``: a row a visit, tract and segment."""
    return [
        [*_visit_cells(visit), *(_cell(name, getattr(row, name)) for name in list(ASYMMETRY_COLUMNS)[3:])]
        for visit in visits
        if visit.diffusion is not None
        for row in visit.diffusion.asymmetry
    ]


def long_regions(visits: Iterable[VisitResult] = ()) -> dict[str, str]:
    """Return the regions of the long table's rows, each with what it is; of installed atlases those met."""
    atlas = load_tracts()
    tracts = {
        _region(
            course.name, segment
        ): f"{TRACT_NAMES.get(course.name, course.name)}, {segment.replace('_', ' ')}"
        for course in (*atlas.paired, *atlas.crossing)
        for segment in segments_of(course)
    }
    rings = {
        _ring(inner, outer): f"tissue {inner} to {outer} mm from the lesion, or its mirror; no lesion, no CSF"
        for inner, outer in RINGS_MM
    }
    followed = {_region(tract, WHOLE): shown for tract, shown in TRACKED_NAMES.items()}
    rows = (row for visit in visits if visit.diffusion for row in visit.diffusion.metrics)
    installed = {
        _region(row.tract, row.segment): "{1}, tract of the installed atlas {0}".format(*row.tract.split(":"))
        for row in rows
        if ":" in row.tract
    }
    return {**tracts, **followed, **rings, **installed}


def long_cells(diffusion: DiffusionResult, lesion_side: str) -> Iterator[list[str]]:
    """Give measure, region, side, value, unit and status of a visit's rows in the long table.

    Parameters
    ----------
    diffusion : DiffusionResult
    lesion_side : str
        Side of the lesion as the other rows of the visit have it.

    """
    for row in diffusion.metrics:
        region, side = _region(row.tract, row.segment), row.side or "bilateral"
        for measure, unit in _LONG_METRICS.items():
            yield _long(measure, region, side, getattr(row, measure), unit, row.status)
        free_water = diffusion.fwf is not None and row.tract not in TRACKED_NAMES
        for measure in _LONG_FREE_WATER if free_water else ():
            yield _long(measure, region, side, getattr(row, measure), "1", row.status)
    for pair in diffusion.asymmetry:
        region = _region(pair.tract, pair.segment)
        for measure, unit in _LONG_ASYMMETRY.items():
            yield _long(measure, region, "bilateral", getattr(pair, measure), unit, pair.status)
        # A tract that is followed ends at the lesion: only the atlas's is loaded with it.
        for measure, field in _LONG_LOADS.items() if pair.tract not in TRACKED_NAMES else ():
            cells = _long(field, region, lesion_side, getattr(pair, field), "mL", pair.status)
            yield [measure, *cells[1:]]
    for ring in diffusion.rings:
        yield from _ring_cells(ring)


def _ring_cells(ring: PerilesionalRing) -> Iterator[list[str]]:
    region = _ring(ring.inner_mm, ring.outer_mm)
    for side in ("left", "right"):
        near = side == ring.side
        for measure, value in (
            ("fa", ring.fa if near else ring.mirror_fa),
            ("md", ring.md if near else ring.mirror_md),
        ):
            yield _long(measure, region, side, value, _LONG_METRICS[measure], ring.status)


def _region(tract: str, segment: str) -> str:
    return f"{tract}_{segment}"


def _ring(inner_mm: int, outer_mm: int) -> str:
    return f"perilesional_{inner_mm}_{outer_mm}mm"


def _long(
    name: str, region: str, side: str, value: float | None, unit: str, status: TractStatus
) -> list[str]:
    """Return a row's own cells; the status is the value's, not the tract's."""
    shown = "ok" if value is not None else "missing_input" if status == "ok" else status
    return [name, region, side, _cell(name, value), unit, shown]


def _visit_cells(visit: VisitResult) -> list[str]:
    days = visit.volumes.days_from_onset
    shown = MISSING if days is None else f"{round(days, 1) + 0.0:.1f}".removesuffix(".0")
    return [visit.participant_id, visit.session_id, shown]


def _cell(name: str, value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.{_DECIMALS.get(name, 4)}f}"
    return str(value)
