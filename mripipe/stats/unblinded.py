"""Analyses that know the treatment arm; nothing of them goes to where the blinded ones lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from mripipe.model.group import Oddity
from mripipe.stats.analysis import Analysis
from mripipe.stats.defaults import usual_models
from mripipe.stats.effects import with_q
from mripipe.stats.models import run_models
from mripipe.stats.plan import Model, Plan

ARM = "arm"


def analyse_unblinded(analysis: Analysis, arms: Mapping[str, str], plan: Plan) -> Analysis:
    """Add the arm to an analysis and run the models that are about it.

    Parameters
    ----------
    analysis : Analysis
        Blinded.
    arms : mapping of str to str
        Participant to arm; the first arm by name is what the others are compared with.
    plan : Plan
        Its ``unblinded`` models; where it has none, the usual ones with the arm, which are exploratory.

    """
    wide = analysis.joined.wide.copy()
    wide[ARM] = pd.Series(arms).reindex(wide.index)
    visits = analysis.joined.visits.copy()
    if len(visits):
        visits[ARM] = visits["participant_id"].map(dict(arms))
    models = plan.unblinded or usual_unblinded(wide, visits, plan)
    effects, checks = run_models(models, wide, visits, plan)
    unknown = [
        Oddity("key", None, f"{who} is not in the key; left out", who) for who in wide.index[wide[ARM].isna()]
    ]
    strangers = sorted(set(arms) - set(wide.index))
    unknown += [Oddity("key", None, f"{who} is in the key but not in the study", who) for who in strangers]
    return replace(
        analysis,
        joined=replace(analysis.joined, wide=wide, visits=visits),
        associations=(),
        models=tuple(with_q(effects)),
        checks=tuple(checks),
        oddities=tuple(unknown),
        outliers=(),
        reliability=(),
    )


def usual_unblinded(wide: pd.DataFrame, visits: pd.DataFrame, plan: Plan) -> Sequence[Model]:
    """Return the usual models with the arm as what they are about."""
    models = []
    # The plan's own models do not know the arm, so none of these is among them.
    for model in usual_models(wide, visits, replace(plan, models=(), unblinded=())):
        if model.kind in ("ordinal", "logistic"):
            models.append(
                replace(
                    model, name=f"{model.name}_{ARM}", formula=f"{model.formula} + {ARM}", test=(ARM,),
                    family="arm",
                )
            )  # fmt: skip
        elif model.kind == "mixed" and model.formula.endswith("~ months"):
            formula = f"{model.formula} * {ARM}"
            models.append(
                replace(
                    model, name=f"{model.name}_{ARM}", formula=formula, test=(f"months:{ARM}",), family="arm"
                )
            )
    return models
