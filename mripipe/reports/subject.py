"""One participant's report: a single HTML file that needs nothing beside it.

Everything in it is in the results already: a report draws and formats, it measures nothing. It carries
the coded identity only, no time of writing, and the same results always give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
from markupsafe import Markup

from mripipe.atlases.territories import TERRITORIES
from mripipe.figures.growth import GrowthPoint, growth_plot, uses_days
from mripipe.model.results import RegionLoad, SubjectResult, TerritoryLoad, VisitResult
from mripipe.reports.diffusion import profile_figures, ratio_figure, tract_lines
from mripipe.reports.diffusion_pictures import motion_figure
from mripipe.reports.gallery import Gallery
from mripipe.reports.html import csp_hash, package_text, page_environment
from mripipe.reports.pictures import DEFORMABLE, mni_frames, native_galleries

NOT_AVAILABLE = "n/a"
REGION_PERCENT = 1.0
"""Regions of installed atlases are shown from this share of them on, at any visit."""
REGIONS_SHOWN = 24

_STATUS_WORDS = {
    "ok": "ok",
    "no_lesion_found": "no lesion found",
    "low_quality": "low quality",
    "missing_input": "missing input",
    "failed": "failed",
}


@dataclass(frozen=True)
class VisitView:
    """One visit as the template shows it."""

    number: int
    result: VisitResult
    galleries: list[Gallery]
    frames: dict[str, Gallery]
    motion: str = ""
    """Chart of head motion in the diffusion series."""

    @property
    def failed(self) -> bool:
        """Whether nothing could be made of the visit."""
        return self.result.error is not None

    @property
    def notices(self) -> list[str]:
        """What a reader has to know before looking at the pictures, one line each."""
        lines = [self.result.error] if self.result.error is not None else []
        lines += list(self.result.warnings)
        if self.result.volumes.status == "low_quality":
            lines.append("Low quality: look at the pictures of this visit before its numbers are used.")
        shown = [*self.galleries, *self.frames.values()]
        lines += [f"No picture of {g.title}: {g.problem}" for g in shown if g.problem is not None]
        return lines


def render_report(result: SubjectResult, *, settings: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """Write one participant's report.

    Parameters
    ----------
    result : SubjectResult
        Visits in time order; images are read from the paths in it.
    settings : mapping of str to str
        What the run was asked to do, shown as given.
    versions : mapping of str to str
        Version by program; ``mripipe`` is also shown at the top.

    Returns
    -------
    str
        HTML with every image, style and script inside; it opens from any place without a network.

    """
    frames = mni_frames(result.visits) if any(_in_mni(visit) for visit in result.visits) else None
    visits = [
        VisitView(
            i + 1, visit, native_galleries(visit), frames[i] if frames else {}, motion_figure(visit.diffusion)
        )
        for i, visit in enumerate(result.visits)
    ]
    points = [_growth_point(visit) for visit in result.visits]
    style, script = package_text("subject.css"), package_text("subject.js")
    return (
        _environment()
        .get_template("subject.html")
        .render(
            subject=result,
            visits=visits,
            tracts=tract_lines(result.visits),
            ratios=ratio_figure(result.visits),
            profiles=profile_figures(result.visits),
            territories=_territory_rows(result.visits),
            regions=_region_rows(result.visits),
            measured=any(point.volume_ml is not None for point in points),
            growth=Markup(growth_plot(points)) if points else "",
            by_days=uses_days(points),
            sequences=sorted({v.volumes.sequences or v.reference_suffix or "" for v in result.visits} - {""}),
            sources=sorted({v.volumes.source for v in result.visits if v.volumes.source}),
            settings=settings,
            versions=versions,
            style=Markup(style),
            script=Markup(script),
            style_hash=csp_hash(style),
            script_hash=csp_hash(script),
        )
    )


def _territory_rows(
    visits: Sequence[VisitResult],
) -> list[tuple[str, str, list[TerritoryLoad | None]]]:
    """Return name, side and each visit's load of every arterial territory; nothing where no visit has any."""
    loads = [{(load.territory, load.side): load for load in visit.territories} for visit in visits]
    if not any(loads):
        return []
    return [
        (name, side, [found.get((short, side)) for found in loads])
        for short, name in (("MCA", "middle cerebral artery, all of it"), *TERRITORIES)
        for side in ("left", "right")
    ]


def _region_rows(visits: Sequence[VisitResult]) -> list[tuple[str, str, list[RegionLoad | None]]]:
    """Return name, side and each visit's load of those regions of installed atlases that are hit most."""
    loads = [{(load.region, load.side): load for load in visit.regions} for visit in visits]
    most: dict[tuple[str, str], float] = {}
    for found in loads:
        for key, load in found.items():
            most[key] = max(most.get(key, 0.0), load.lesioned_percent or 0.0)
    chosen = sorted((key for key in most if most[key] >= REGION_PERCENT), key=lambda key: (-most[key], key))
    return [(*key, [found.get(key) for found in loads]) for key in chosen[:REGIONS_SHOWN]]


def _in_mni(visit: VisitResult) -> bool:
    return visit.mni_image is not None or visit.mni_affine_image is not None


def _growth_point(visit: VisitResult) -> GrowthPoint:
    row = visit.volumes
    return GrowthPoint(
        visit.session_id,
        row.days_from_onset,
        row.lesion_ml,
        row.lesion_ml_lower,
        row.lesion_ml_upper,
        manual=row.source == "manual",
    )


def _environment() -> jinja2.Environment:
    environment = page_environment()
    environment.filters |= {
        "number": format_number,
        "status_words": lambda status: _STATUS_WORDS.get(status, status.replace("_", " ")),
        "or_na": lambda value: NOT_AVAILABLE if value is None or value == "" else value,
    }
    environment.globals["deformable"] = DEFORMABLE
    return environment


def format_number(value: float | None, digits: int = 1) -> str:
    """Format a number with a true minus sign; ``n/a`` where there is none, never 0.

    Examples
    --------
    >>> format_number(51.26), format_number(None), format_number(-14.0, 0)
    ('51.3', 'n/a', '−14')

    """
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    return f"{value:.{digits}f}".replace("-", "\u2212")
