"""The report's section on tracts: lines of its table, and what its charts show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mripipe.atlases.tracts import TRACT_NAMES, WHOLE, load_tracts
from mripipe.core.tract_course import segment_starts
from mripipe.figures.tract_charts import ProfileLine, RatioLine, profile_chart, ratio_chart
from mripipe.model.diffusion import TractAsymmetry, TractProfile
from mripipe.model.results import VisitResult
from mripipe.steps.tracked import tracked_name

SHOWN = {
    "whole": "whole tract",
    "corona_radiata": "corona radiata",
    "posterior_limb_internal_capsule": "internal capsule, posterior limb",
    "cerebral_peduncle": "cerebral peduncle",
    "rostral_pons": "rostral pons",
}
"""Segments of the corticospinal tract in the report, from above; the table holds all tracts."""

MAIN_TRACT = "CST"
FOLLOWED = {(tracked_name(MAIN_TRACT), WHOLE): "whole tract, as followed in the person"}
PART_NAMES = {
    "whole": "whole tract",
    "medulla": "medulla",
    "rostral_pons": "pons",
    "cerebral_peduncle": "peduncle",
    "posterior_limb_internal_capsule": "internal capsule",
    "corona_radiata": "corona radiata",
    "subcortical": "subcortical",
}
"""Names short enough for a chart."""
ENDS = {
    "CST": ("medulla", "cortex"),
    "SLF": ("frontal", "parietal"),
    "AF": ("frontal", "temporal"),
    "CG": ("front", "back"),
    "IFOF": ("frontal", "occipital"),
    "OR": ("thalamus", "occipital"),
}
"""Where each tract of the atlas begins and ends."""


@dataclass(frozen=True)
class TractLine:
    """One segment at one visit; None is shown as n/a."""

    session_id: str
    segment: str
    fa_ipsi: float | None
    fa_contra: float | None
    row: TractAsymmetry


def tract_lines(visits: Sequence[VisitResult]) -> list[TractLine]:
    """Return the lines of all visits, segment by segment, so that visits can be compared.

    Empty where no visit has a diffusion series: what was never scanned is not missing.
    """
    if not any(visit.diffusion and visit.diffusion.status != "missing_input" for visit in visits):
        return []
    lines = []
    places = {(MAIN_TRACT, segment): shown for segment, shown in SHOWN.items()}
    for place, shown in (places | FOLLOWED).items():
        for visit in visits:
            if visit.diffusion is None:
                continue
            row = next((r for r in visit.diffusion.asymmetry if (r.tract, r.segment) == place), None)
            if row is None:
                continue
            fa = {r.hemisphere: r.fa for r in visit.diffusion.metrics if (r.tract, r.segment) == place}
            lines.append(
                TractLine(visit.session_id, shown, fa.get("ipsilesional"), fa.get("contralesional"), row)
            )
    return lines


def ratio_figure(visits: Sequence[VisitResult]) -> str:
    """Plot rFA of the corticospinal tract and its segments over the visits; empty where there is none."""
    seen = [visit for visit in visits if visit.diffusion is not None]
    found = [
        {(r.tract, r.segment): r.rfa for r in visit.diffusion.asymmetry} for visit in seen if visit.diffusion
    ]
    lines = [
        RatioLine(PART_NAMES[segment], [values.get((MAIN_TRACT, segment)) for values in found])
        for segment in SHOWN
    ]
    if not any(value is not None for row in lines for value in row.values):
        return ""
    days = [visit.volumes.days_from_onset for visit in seen]
    known = [float(day) for day in days if day is not None]
    by_days = len(known) == len(days)
    return ratio_chart(
        lines,
        known if by_days else [number + 1.0 for number in range(len(days))],
        x_label="Days from stroke onset" if by_days else "Visits in order (days from onset missing)",
        y_label="rFA",
        names=[visit.session_id for visit in seen],
    )


def profile_figures(visits: Sequence[VisitResult]) -> list[tuple[str, str]]:
    """Plot FA along each paired tract at all visits: name of the tract and SVG text, the main tract first."""
    near = _near_side(visits)
    sides = ("lesion's side", "other side") if near else ("left", "right")
    figures = []
    for course in load_tracts().paired:
        lines = [
            line
            for visit in visits
            if (line := _profile_line(visit, course.name, near or "left")) is not None
        ]
        if not lines:
            continue
        name = TRACT_NAMES[course.name]
        starts = segment_starts(course)
        parts = [(PART_NAMES[part], start) for part, start in starts] if len(starts) > 1 else []
        title = f"FA along the {name}, {len(lines)} visits"
        chart = profile_chart(lines, title=title, sides=sides, parts=parts, ends=ENDS[course.name])
        figures.append((name, chart))
    return figures


def _near_side(visits: Sequence[VisitResult]) -> str | None:
    """Return the side of the lesion; None where no visit has a lesion on one side, or sides differ."""
    found = {
        row.side
        for visit in visits
        if visit.diffusion is not None
        for row in visit.diffusion.metrics
        if row.hemisphere == "ipsilesional" and row.side is not None
    }
    return found.pop() if len(found) == 1 else None


def _profile_line(visit: VisitResult, tract: str, near: str) -> ProfileLine | None:
    profiles: dict[str, TractProfile] = {}
    if visit.diffusion is not None:
        profiles = {row.side: row for row in visit.diffusion.profiles if row.tract == tract}
    if len(profiles) < 2:
        return None
    (far,) = (row for side, row in profiles.items() if side != near)
    return ProfileLine(visit.session_id, profiles[near].fa, far.fa, profiles[near].lesion)
