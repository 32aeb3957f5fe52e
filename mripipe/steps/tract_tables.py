"""Rows of ``tract_metrics.tsv`` and ``tract_asymmetry.tsv``, with their data dictionaries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from mripipe.model.results import VisitResult

MISSING: Final = "n/a"

_STATUS: Final = {
    "Description": "Why values are missing, if any are",
    "Levels": {
        "ok": "measured",
        "no_lesion_found": "no lesion on one side, so that neither side is the lesion's",
        "truncated_by_lesion": "the lesion leaves too little of the tract",
        "not_covered": "too little of the tract lies in the field of view",
        "low_quality": "too few directions, or lesions on both sides",
        "missing_input": "no diffusion series, or no gradients",
        "failed": "the series could not be processed; the report says why",
    },
}

_PLACE: Final[dict[str, dict[str, Any]]] = {
    "participant_id": {"Description": "Coded identity"},
    "session_id": {"Description": "Visit"},
    "days_from_onset": {"Description": "Days since stroke onset", "Units": "d"},
    "tract": {
        "Description": "Tract",
        "Levels": {
            "CST": "corticospinal tract",
            "CC": "corpus callosum",
            "SLF": "superior longitudinal fasciculus",
            "AF": "arcuate fasciculus",
            "CG": "cingulum",
            "IFOF": "inferior fronto-occipital fasciculus",
            "OR": "optic radiation",
        },
    },
    "segment": {"Description": "Part of the tract; whole is all of it"},
}

METRIC_COLUMNS: Final[dict[str, dict[str, Any]]] = {
    **_PLACE,
    "hemisphere": {
        "Description": "ipsilesional or contralesional; n/a without a lesion on one side and in the midline"
    },
    "side": {"Description": "Side of the person's brain; n/a for a tract that crosses the midline"},
    "fa": {"Description": "Fractional anisotropy, mean weighted by tract probability, lesion left out"},
    "md": {"Description": "Mean diffusivity, weighted so", "Units": "10^-3 mm^2/s"},
    "ad": {"Description": "Axial diffusivity, weighted so", "Units": "10^-3 mm^2/s"},
    "rd": {"Description": "Radial diffusivity, weighted so", "Units": "10^-3 mm^2/s"},
    "n_voxels": {"Description": "Voxels of the tract (probability 1/2 or more) that are not lesion"},
    "lesion_fraction": {"Description": "Share of the tract that is lesion, 0 to 1"},
    "fa_with_lesion": {"Description": "As fa, lesion not left out"},
    "md_with_lesion": {"Description": "As md, lesion not left out", "Units": "10^-3 mm^2/s"},
    "coverage": {"Description": "Share of the tract in the field of view, 0 to 1"},
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
    "rfa_matched": {
        "Description": "As rfa, the other side weighted along the tract as what is left of this one"
    },
    "status": _STATUS,
}

_DECIMALS: Final = {"lesion_load_ml": 3, "lesion_load_weighted_ml": 3}


def metric_lines(visits: Iterable[VisitResult]) -> list[list[str]]:
    """Return the lines of ``tract_metrics.tsv``: a row a visit, tract, segment and hemisphere."""
    return [
        [*_visit_cells(visit), *(_cell(name, getattr(row, name)) for name in list(METRIC_COLUMNS)[3:])]
        for visit in visits
        if visit.diffusion is not None
        for row in visit.diffusion.metrics
    ]


def asymmetry_lines(visits: Iterable[VisitResult]) -> list[list[str]]:
    """Return the lines of ``tract_asymmetry.tsv``: a row a visit, tract and segment."""
    return [
        [*_visit_cells(visit), *(_cell(name, getattr(row, name)) for name in list(ASYMMETRY_COLUMNS)[3:])]
        for visit in visits
        if visit.diffusion is not None
        for row in visit.diffusion.asymmetry
    ]


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
