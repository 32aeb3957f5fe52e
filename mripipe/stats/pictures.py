"""An analysis as pictures: which charts are drawn, from which numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd

from mripipe.atlases.template import load_template
from mripipe.core.grid import Volume
from mripipe.figures.cohort import (
    Course,
    EffectLine,
    bland_altman_plot,
    by_score,
    forest,
    score_bars,
    spaghetti,
    visit_chart,
)
from mripipe.figures.incidence import incidence_map, incidence_planes
from mripipe.model.page import Picture
from mripipe.stats.analysis import Analysis
from mripipe.stats.effects import Effect
from mripipe.stats.join import Joined
from mripipe.stats.plan import Plan
from mripipe.steps.group_masks import Incidence

LABELS: Final = {
    "lesion_ml": "Infarct volume, mL",
    "lesion_mni_ml": "Infarct volume in MNI, mL",
    "ventricle_ipsi_ml": "Ventricle on the infarct's side, mL",
    "mca_territory_percent": "MCA territory that is infarct, %",
    "mrs": "modified Rankin Scale (mRS)",
    "nihss": "NIHSS",
}
MAX_COURSES: Final = 8
MAX_FOREST: Final = 30
MIN_DOTS: Final = 5


def draw_pictures(analysis: Analysis, plan: Plan, incidence: Incidence | None) -> tuple[Picture, ...]:
    """Draw everything that there are data for."""
    drawn: list[Picture] = []
    if incidence is not None and incidence.n:
        drawn.append(_incidence(incidence))
    drawn += _courses(analysis)
    drawn += _volume_by_mrs(analysis, plan)
    drawn += _bars(analysis.joined, plan)
    drawn += _forests(analysis)
    drawn += _visits(analysis.joined, plan)
    drawn += _agreement(analysis)
    return tuple(drawn)


def label_of(name: str) -> str:
    """Return a variable's name for a person, with its unit.

    Examples
    --------
    >>> label_of("lesion_ml"), label_of("rfa_CST_pons")
    ('Infarct volume, mL', 'rFA CST pons (ratio)')

    """
    if name in LABELS:
        return LABELS[name]
    if name.startswith("rfa_"):
        return f"rFA {name.removeprefix('rfa_').replace('_', ' ')} (ratio)"
    return name.replace("_", " ")


def _incidence(incidence: Incidence) -> Picture:
    template = load_template()
    counts = Volume(incidence.counts.astype(np.float32), incidence.affine)
    picture = Volume(template.t1, template.affine)
    planes = incidence_planes(Volume(template.mask.astype(np.float32), template.affine))
    levels, voxels = np.unique(incidence.counts, return_counts=True)
    ml = float(abs(np.linalg.det(incidence.affine[:3, :3]))) / 1000
    rows = tuple(
        (int(level), float(count * ml)) for level, count in zip(levels, voxels, strict=True) if level
    )
    return Picture(
        "incidence", "Where the infarcts lie", incidence_map(counts, picture, planes, n=incidence.n),
        ("participants_at_voxel", "volume_ml"), rows,
        f"One mask a participant, n = {incidence.n}. Axial slices in MNI152NLin2009aSym, left on the left. "
        "Numbers beside it: the volume in which so many participants have an infarct; the map itself is "
        "incidence.nii.gz.",
    )  # fmt: skip


def _courses(analysis: Analysis) -> Iterator[Picture]:
    """Draw the courses of variables that a mixed model of months was asked for."""
    visits = analysis.joined.visits
    names = dict.fromkeys(
        effect.formula.partition("~")[0].strip()
        for effect in analysis.models
        if effect.kind == "mixed" and effect.formula.partition("~")[2].strip() == "months"
    )
    for name in list(names)[:MAX_COURSES]:
        if name not in visits:
            continue
        known = visits[["participant_id", "session_id", "months", name]].dropna()
        if known.empty:
            continue
        fits = {
            effect.term: effect
            for effect in analysis.models
            if effect.formula == f"{name} ~ months" and effect.estimate is not None
        }
        fit = note = None
        if {"intercept", "months"} <= set(fits):
            slope = fits["months"]
            fit = (fits["intercept"].estimate or 0.0, slope.estimate or 0.0)
            note = (
                f"Orange: mean course of the mixed model, {_brief(slope.estimate)} a month "
                f"(95 % interval {_brief(slope.lower)} to {_brief(slope.upper)}), n = {slope.n}"
            )
        courses = [
            Course(str(who), list(rows["months"]), list(rows[name]))
            for who, rows in known.sort_values(["participant_id", "months"]).groupby("participant_id")
        ]
        yield Picture(
            f"course_{name}", f"{label_of(name).partition(',')[0]} over time",
            spaghetti(courses, label=label_of(name), fit=fit),
            ("participant_id", "session_id", "months", name), _tuples(known),
            (note or "No model could be fitted: the table of models says why")
            + ". One line a participant; months since the first infusion, else since onset.",
        )  # fmt: skip


def _volume_by_mrs(analysis: Analysis, plan: Plan) -> Iterator[Picture]:
    wide = analysis.joined.wide
    outcomes = [f"mrs_{window.name}" for window in plan.windows if window.target > 0] + ["mrs"]
    scores = [name for name in outcomes if name in wide]
    volume = next(
        (
            name
            for base in ("lesion_ml", "lesion_mni_ml")
            for name in (f"{base}_baseline", base)
            if name in wide
        ),
        None,
    )
    for score in scores[:2]:
        if volume is None:
            return
        known = wide[[volume, score]].dropna()
        if len(known) < MIN_DOTS:
            continue
        groups: dict[int, list[float]] = {level: [] for level in range(7)}
        for value, level in known.itertuples(index=False):
            groups[int(level)].append(float(value))
        base, _, window = score.partition("_")
        when = f", window {window}" if window else ""
        yield Picture(
            f"volume_{score}", f"Infarct volume against mRS{when}",
            by_score(
                groups, label=label_of(volume.removesuffix("_baseline")), score=f"{label_of(base)}{when}"
            ),
            ("participant_id", volume, score), _tuples(known.reset_index()),
            f"One dot a participant, n = {len(known)}; bar: median; line: quartiles, from 3 participants on. "
            "An association is no cause.",
        )  # fmt: skip


def _bars(joined: Joined, plan: Plan) -> Iterator[Picture]:
    counts: dict[str, list[int]] = {}
    for window in [*(w.name for w in plan.windows), ""]:
        name = f"mrs_{window}" if window else "mrs"
        if name in joined.wide and joined.wide[name].notna().sum() >= MIN_DOTS:
            levels = joined.wide[name].dropna().astype(int)
            counts[window or "all"] = [int((levels == level).sum()) for level in range(7)]
    if counts:
        rows = tuple((window, *levels) for window, levels in counts.items())
        yield Picture(
            "mrs", "Modified Rankin Scale by visit", score_bars(counts, score="Modified Rankin Scale"),
            ("window", *(f"mrs_{level}" for level in range(7))), rows,
            "Of those with a score; who has none is in the chart of visits. Death is 6 in all later windows.",
        )  # fmt: skip


def _forests(analysis: Analysis) -> Iterator[Picture]:
    """Draw odds ratios for one standard deviation, and rank correlations."""
    odds = [e for e in analysis.models if e.kind in ("ordinal", "logistic")]
    if any(e.per_sd is not None for e in odds):
        yield Picture(
            "forest_models", "Odds ratios for one standard deviation more",
            forest(
                [_odds_line(e) for e in odds],
                axis="Odds ratio for one standard deviation, logarithmic", ratio=True,
            ),
            _FOREST, tuple(_forest_row(e) for e in odds),
            "Filled: planned; hollow: exploratory. Of the shift: odds of a higher, worse mRS; of mRS "
            "0 to 2: odds of a good outcome. Terms that are adjustment are shown with the others.",
        )  # fmt: skip
    shown = [e for e in analysis.associations if e.kind == "partial_spearman" or e.planned]
    shown = shown or list(analysis.associations)
    shown = sorted(shown, key=lambda e: (not e.planned, e.p if e.p is not None else 2.0))[:MAX_FOREST]
    if any(e.estimate is not None for e in shown):
        yield Picture(
            "forest_associations", "Rank correlations",
            forest([_rank_line(e) for e in shown], axis="Spearman's rank correlation", ratio=False),
            _FOREST, tuple(_forest_row(e) for e in shown),
            f"Filled: planned; hollow: exploratory. Partial where adjusted; at most {MAX_FOREST}, by p. "
            "All are in associations.tsv.",
        )  # fmt: skip


_FOREST: Final = (
    "analysis",
    "term",
    "formula",
    "planned",
    "n",
    "estimate",
    "lower",
    "upper",
    "p",
    "q",
    "status",
)


def _forest_row(e: Effect) -> tuple[object, ...]:
    planned = "planned" if e.planned else "exploratory"
    return (e.analysis, e.term, e.formula, planned, e.n, e.estimate, e.lower, e.upper, e.p, e.q, e.status)


def _odds_line(e: Effect) -> EffectLine:
    estimate, lower, upper = (_odds(v) for v in (e.per_sd, e.per_sd_lower, e.per_sd_upper))
    detail = "" if estimate is None else f"{estimate:.2f} ({lower:.2f} to {upper:.2f}), n = {e.n}"
    why = e.status.replace("_", " ")
    return EffectLine(f"{e.analysis}: {e.term}", detail, estimate, lower, upper, e.planned, why)


def _odds(log_odds: float | None) -> float | None:
    return None if log_odds is None else float(np.exp(np.clip(log_odds, -50, 50)))


def _rank_line(e: Effect) -> EffectLine:
    detail = (
        ""
        if e.estimate is None
        else f"{_signed(e.estimate)} ({_signed(e.lower)} to {_signed(e.upper)}), n = {e.n}"
    )
    return EffectLine(e.analysis, detail, e.estimate, e.lower, e.upper, e.planned, e.status.replace("_", " "))


def _visits(joined: Joined, plan: Plan) -> Iterator[Picture]:
    states: dict[str, dict[str, str]] = {}
    for who, windows in joined.presence.items():
        states[who] = {}
        for window, items in windows.items():
            scan, score = items.get("scan"), items.get("mrs")
            died = "died" in (scan, score)
            there = ("seen" if scan == "seen" else "", "seen" if score == "seen" else "")
            states[who][window] = (
                "died"
                if died
                else {("seen", "seen"): "both", ("seen", ""): "scan", ("", "seen"): "score"}.get(
                    there, "none"
                )
            )
    used = [w.name for w in plan.windows if any(w.name in windows for windows in states.values())]
    if used:
        rows = tuple((who, *(states[who].get(w, "none") for w in used)) for who in sorted(states))
        yield Picture(
            "visits", "Who was seen when", visit_chart(states, used), ("participant_id", *used), rows,
            "A column a participant, a row a visit window. Who was missing and what they looked like "
            "at baseline is in the table of missing visits.",
        )  # fmt: skip


def _agreement(analysis: Analysis) -> Iterator[Picture]:
    for number, item in enumerate(analysis.reliability, start=1):
        if item.limits is None:
            continue
        label = f"{item.measure}, {item.raters[0]} minus {item.raters[1]}"
        yield Picture(
            f"agreement_{number}", f"Agreement on {item.measure}",
            bland_altman_plot(item.pairs, item.limits, label=label), item.raters, item.pairs,
            f"n = {item.n}; bias and limits of agreement, mean difference and 1.96 standard deviations.",
        )  # fmt: skip


def _tuples(frame: pd.DataFrame) -> tuple[tuple[object, ...], ...]:
    return tuple(tuple(row) for row in frame.itertuples(index=False))


def _brief(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3g}".replace("-", "\u2212")


def _signed(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}".replace("-", "\u2212")
