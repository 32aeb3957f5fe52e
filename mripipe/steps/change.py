"""Each visit's change of volume since the participant's first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from mripipe.core.change import minimal_detectable_change_ml
from mripipe.model.results import LesionVolumes, VisitResult


def with_changes(visits: Sequence[VisitResult]) -> tuple[VisitResult, ...]:
    """Fill in how much the infarct changed since the first visit that can be compared.

    Visits are compared where the infarct was found in the same sequences and by the same means: an infarct
    has another extent on each sequence, and to an expert.

    Parameters
    ----------
    visits : sequence of VisitResult
        In time order.

    """
    rows = [visit.volumes for visit in visits]
    return tuple(replace(visit, volumes=_changed(visit.volumes, rows[:i])) for i, visit in enumerate(visits))


def _changed(row: LesionVolumes, earlier: Sequence[LesionVolumes]) -> LesionVolumes:
    first = next((one for one in earlier if _comparable(one, row)), None)
    if first is None or row.lesion_ml is None or first.lesion_ml is None:
        return replace(row, change_ml=None, change_mdc_ml=None, change=None)
    change = row.lesion_ml - first.lesion_ml
    least = minimal_detectable_change_ml(first.repeat_sd_ml or 0.0, row.repeat_sd_ml or 0.0)
    found: Literal["detected", "not_detected"] = "detected" if abs(change) > least else "not_detected"
    return replace(row, change_ml=change, change_mdc_ml=least, change=found)


def _comparable(one: LesionVolumes, other: LesionVolumes) -> bool:
    measured = one.lesion_ml is not None and other.lesion_ml is not None
    return measured and (one.source, one.sequences) == (other.source, other.sequences)
