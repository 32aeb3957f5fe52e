"""Lines of the report's table of the corticospinal tract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mripipe.model.diffusion import TractAsymmetry
from mripipe.model.results import VisitResult

SHOWN = {
    "whole": "whole tract",
    "corona_radiata": "corona radiata",
    "posterior_limb_internal_capsule": "internal capsule, posterior limb",
    "cerebral_peduncle": "cerebral peduncle",
    "rostral_pons": "rostral pons",
}
"""Segments of the corticospinal tract in the report, from above; the table holds all tracts."""


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
    for segment, shown in SHOWN.items():
        for visit in visits:
            if visit.diffusion is None:
                continue
            place = ("CST", segment)
            row = next((r for r in visit.diffusion.asymmetry if (r.tract, r.segment) == place), None)
            if row is None:
                continue
            fa = {r.hemisphere: r.fa for r in visit.diffusion.metrics if (r.tract, r.segment) == place}
            lines.append(
                TractLine(visit.session_id, shown, fa.get("ipsilesional"), fa.get("contralesional"), row)
            )
    return lines
