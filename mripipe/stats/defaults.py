"""The usual analyses, run where a plan does not hold them and the study has their variables: exploratory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import pandas as pd

from mripipe.bids.phenotype import SCORE_RANGES
from mripipe.stats.plan import Association, Model, Plan

IMAGING: Final = (
    "lesion_ml",
    "lesion_mni_ml",
    "mca_territory_percent",
    "ventricle_ipsi_ml",
)
"""Imaging variables of single associations, beside the tracts' and the territories'."""

IMAGING_STARTS: Final = ("rfa_", "lesion_load_weighted_ml_", "damage_")
ADJUST: Final = ("age", "nihss", "lesion_ml")
"""Adjusted for, where known; a study of masks in MNI alone has only that volume."""
_ENDS: Final = ("_change", "_baseline")
MIN_VALUES: Final = 10
"""A variable that fewer participants have is not worth an analysis."""


def usual_associations(wide: pd.DataFrame, plan: Plan) -> list[Association]:
    """Return every pair of imaging at baseline and a score at every window, plain and adjusted.

    Families are by score and window, so that one correction covers what answers one question.
    """
    start = _first_suffix(plan)
    usable = _usable(wide)
    imaging = [name for name in usable if _is_imaging(name, start, usable)]
    scores = [name for name in usable if _is_score(name)]
    known = {(a.x, a.y, a.adjust) for a in plan.associations}
    wanted = []
    for y in scores:
        for x in imaging:
            adjust = tuple(name for name in _adjustment(start, usable) if name not in (x, y))
            for chosen in dict.fromkeys([(), adjust]):
                if (x, y, chosen) not in known:
                    wanted.append(
                        Association(
                            x=x,
                            y=y,
                            adjust=chosen,
                            family=f"{y}{', adjusted' if chosen else ''}",
                            planned=False,
                        )
                    )
    return wanted


def usual_models(wide: pd.DataFrame, visits: pd.DataFrame, plan: Plan) -> list[Model]:
    """Return the shift of the mRS, mRS 0-2, its prediction, and the course of volume and tracts."""
    start, usable = _first_suffix(plan), _usable(wide)
    adjust = [name for name in _adjustment(start, usable) if "nihss" in name or name == "age"]
    volume = _volume(start, usable)
    outcome = _outcome(plan, usable)
    models = []
    if outcome and volume:
        base = " + ".join(adjust) or volume
        right = " + ".join([*adjust, volume])
        good = outcome.replace("mrs", "mrs02", 1)
        family = f"models of {outcome}"
        models += [
            _model("mrs_shift", "ordinal", f"{outcome} ~ {right}", (volume,), family),
            _model("mrs_0_to_2", "logistic", f"{good} ~ {right}", (volume,), family),
        ]
        if adjust:
            models.append(
                Model(
                    name="mrs_0_to_2_prediction", kind="prediction",
                    formula=f"{good} ~ {base}", add=(volume,),
                    family=f"prediction of {outcome}", planned=False,
                )
            )  # fmt: skip
    if "months" in visits and visits["months"].nunique() > 1:
        models += _courses(visits)
    known = {model.name for model in (*plan.models, *plan.unblinded)}
    return [model for model in models if model.name not in known]


def _courses(visits: pd.DataFrame) -> list[Model]:
    """Return mixed models of everything that is measured at several visits."""
    names = [
        name
        for name in visits
        if name in ("lesion_ml", "ventricle_ipsi_ml")
        or (name.startswith("rfa_") and not name.endswith(_ENDS))
    ]
    models = []
    for name in names:
        models.append(_model(f"{name}_course", "mixed", f"{name} ~ months", ("months",), "course"))
        if f"{name}_change" in visits and f"{name}_baseline" in visits:
            right = " + ".join(
                ["months", f"{name}_baseline", *(["age"] if visits["age"].notna().any() else [])]
            )
            models.append(
                _model(
                    f"{name}_change", "mixed", f"{name}_change ~ {right}", ("months",), "change from baseline"
                )
            )
    return models


def _model(name: str, kind: str, formula: str, test: tuple[str, ...], family: str) -> Model:
    return Model(name=name, kind=kind, formula=formula, test=test, family=family, planned=False)  # type: ignore[arg-type]


def _usable(wide: pd.DataFrame) -> list[str]:
    return [name for name in wide if wide[name].notna().sum() >= MIN_VALUES]


def _first_suffix(plan: Plan) -> str:
    """Return the ending of baseline variables: that of the first window, which is the earliest."""
    first = min(plan.windows, key=lambda window: window.target, default=None)
    return f"_{first.name}" if first else ""


def _is_imaging(name: str, start: str, usable: Collection[str]) -> bool:
    bare = name.removesuffix(start)
    if bare == "lesion_mni_ml":
        return name == _volume(start, usable)
    known = bare in IMAGING or bare.startswith(IMAGING_STARTS)
    # Without windows the name stands alone; with them the baseline is the one to look at.
    return known and (name.endswith(start) or f"{name}{start}" not in usable) and not _has_window(bare)


def _has_window(name: str) -> bool:
    return any(name.rpartition("_")[2].startswith(word) for word in ("day", "baseline"))


def _is_score(name: str) -> bool:
    return any(name == score or name.startswith(f"{score}_") for score in SCORE_RANGES)


def _adjustment(start: str, usable: Collection[str]) -> list[str]:
    chosen = []
    for name in ADJUST:
        found = next((n for n in (f"{name}{start}", name) if n in usable), None)
        found = _volume(start, usable) if name == "lesion_ml" else found
        chosen += [found] if found else []
    return chosen


def _volume(start: str, usable: Collection[str]) -> str | None:
    """Return the volume at baseline; the one in MNI only where there is no native one."""
    names = (f"lesion_ml{start}", "lesion_ml", f"lesion_mni_ml{start}", "lesion_mni_ml")
    return next((name for name in names if name in usable), None)


def _outcome(plan: Plan, usable: Sequence[str]) -> str | None:
    """Return the mRS at the window nearest to 90 days, failing that the one without a window."""
    named: Iterable[tuple[float, str]] = (
        (abs(window.target - 90), f"mrs_{window.name}") for window in plan.windows if window.target > 0
    )
    there = sorted(item for item in named if item[1] in usable)
    return there[0][1] if there else "mrs" if "mrs" in usable else None
