"""Run a plan's models; what cannot be fitted or believed is a row that says why, never a missing one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from mripipe.errors import InputError
from mripipe.stats.effects import Check, Effect, EffectStatus, with_ratio
from mripipe.stats.formula import Design, Formula, build_design, parse_formula
from mripipe.stats.logistic import is_separated, logistic_covariance
from mripipe.stats.mixed import fit_mixed
from mripipe.stats.ordinal import Brant, Fit, calibrated_brant, fit_ordinal
from mripipe.stats.plan import Model, Plan
from mripipe.stats.prediction import compare_predictions, corrected_interval

MIN_PER_TERM: Final = 10
"""Participants (ordinal, mixed) or events (logistic) a term below which a warning is given."""
MIN_SPARE: Final = 5
"""Participants beyond the parameters below which nothing is fitted."""
LEVEL: Final = 0.05

Result = tuple[list[Effect], list[Check]]


def run_models(models: Sequence[Model], wide: pd.DataFrame, visits: pd.DataFrame, plan: Plan) -> Result:
    """Fit all models of a list, without q values.

    Parameters
    ----------
    models : sequence of Model
    wide : data frame
        A row a participant.
    visits : data frame
        A row a visit, with ``participant_id`` and ``months``; mixed models use it.
    plan : Plan
        Seed and cross-validation.

    """
    effects: list[Effect] = []
    checks: list[Check] = []
    for model in models:
        table = visits if model.kind == "mixed" else wide
        found, looked = run_model(model, table, plan)
        effects += found
        checks += looked
    return effects, checks


def run_model(model: Model, table: pd.DataFrame, plan: Plan) -> Result:
    """Fit one model."""
    formula = parse_formula(model.formula)
    about: dict[str, Any] = {
        "analysis": model.name,
        "kind": model.kind,
        "family": model.family,
        "planned": model.planned,
        "formula": model.formula,
    }
    needed = replace(formula, right=" + ".join([formula.right, *model.add])) if model.add else formula
    try:
        design = build_design(parse_formula(str(needed)), table)
    except InputError as error:
        return [Effect(**about, term=_about(model), status="not_available", note=str(error))], []
    about |= _counts(design, model)
    width = design.matrix.shape[1]
    if about["n"] < width + 1 + MIN_SPARE:
        note = f"{about['n']} participants have all values; {width + 1 + MIN_SPARE} are needed"
        return [Effect(**about, term=_about(model), status="too_few", note=note)], []
    flat = [name for name in design.matrix if design.matrix[name].std() == 0]
    if flat or np.linalg.matrix_rank(_scaled(design)) < width or len(np.unique(design.outcome)) < 2:
        note = (
            f"no variation in {', '.join(flat)}"
            if flat
            else "terms that tell each other, or one outcome only"
        )
        return [Effect(**about, term=_about(model), status="not_available", note=note)], []
    run = {"ordinal": _ordinal, "logistic": _logistic, "mixed": _mixed, "prediction": _prediction}[model.kind]
    return run(model, formula, design, about, plan)


def _about(model: Model) -> str:
    return ", ".join(model.add or model.test) or "all"


def _counts(design: Design, model: Model) -> dict[str, Any]:
    people = design.rows["participant_id"].nunique() if model.kind == "mixed" else len(design.rows)
    return {
        "n": int(people),
        "n_rows": len(design.rows),
        "n_missing": design.n_missing,
        "missing": "; ".join(f"{name}: {count}" for name, count in design.missing.items() if count),
    }


def _scaled(design: Design) -> Any:
    matrix = design.matrix.to_numpy(float)
    spread = matrix.std(axis=0)
    return (matrix - matrix.mean(axis=0)) / np.where(spread > 0, spread, 1)


def _rows(
    model: Model, about: dict[str, Any], names: Sequence[str], fit: Fit, spread: Any, scale: str, **more: Any
) -> list[Effect]:
    """Turn a fit into rows, a term each."""
    quantile = stats.norm.ppf(0.975) if np.isinf(fit.freedom) else stats.t.ppf(0.975, fit.freedom)
    rows = []
    for name, value, error, sd in zip(names, fit.coefficients, fit.errors, spread, strict=True):
        ends = value - quantile * error, value + quantile * error
        ratio = abs(value) / error
        p = 2 * (stats.norm.sf(ratio) if np.isinf(fit.freedom) else stats.t.sf(ratio, fit.freedom))
        rows.append(
            Effect(
                **about, term=name, estimate=float(value), lower=float(ends[0]), upper=float(ends[1]),
                p=float(p), scale=f"{scale} a unit of {name}", tested=_is_tested(name, model),
                per_sd=float(value * sd), per_sd_lower=float(ends[0] * sd), per_sd_upper=float(ends[1] * sd),
                **more,
            )
        )  # fmt: skip
    return rows


def _is_tested(term: str, model: Model) -> bool:
    """Say whether a model is about a term: a category's levels go with their variable; no list means all."""
    return not model.test or re.sub(r"\[[^]]*\]", "", term) in model.test


def _failed(model: Model, about: dict[str, Any], status: Any, note: str, check: Check) -> Result:
    return [Effect(**about, term=_about(model), status=status, note=note)], [check]


def _ordinal(model: Model, formula: Formula, design: Design, about: dict[str, Any], plan: Plan) -> Result:
    matrix, name = design.matrix.to_numpy(float), model.name
    levels = np.unique(design.outcome)
    separated = [
        level
        for level in levels[:-1]
        if is_separated((design.outcome > level).astype(float), _scaled(design))
    ]
    if len(separated) == len(levels) - 1:
        note = "a combination of the terms tells the outcome of everyone: no estimate exists"
        return _failed(
            model,
            about,
            "separation",
            note,
            Check(analysis=name, check="separation", verdict="fail", note=note),
        )
    fit, chances = fit_ordinal(design.outcome, matrix)
    checks = [_size_check(name, about["n"], matrix.shape[1], "participants")]
    checks.append(_convergence(name, fit.converged))
    if not fit.converged:
        return _failed(model, about, "not_converged", "the fit did not converge", checks[-1])
    brant = calibrated_brant(
        design.outcome, matrix, chances, resamples=plan.assumption_resamples, seed=plan.seed
    )
    checks.append(_proportionality(name, brant, list(design.matrix), len(levels) - 1))
    status, note = _OF_ASSUMPTION[checks[-1].verdict]
    rows = _rows(
        model, about, list(design.matrix), fit, design.matrix.std(), "log odds of a higher score",
        status=status, note=note,
    )  # fmt: skip
    return [with_ratio(row) for row in rows], checks


_OF_ASSUMPTION: Final[dict[str, tuple[EffectStatus, str]]] = {
    "pass": ("ok", ""),
    "warning": ("assumption_in_doubt", "the odds are not proportional (Brant's test)"),
    "not_possible": ("ok", "proportional odds not checked"),
}


def _proportionality(name: str, brant: Brant | None, terms: Sequence[str], cuts: int) -> Check:
    """Say what the test of proportional odds found."""
    if brant is None:
        text = "too few participants on either side of the cuts: the assumption could not be checked"
        return Check(analysis=name, check="proportional_odds", verdict="not_possible", note=text)
    doubt = brant.p < LEVEL
    worst = [f"{term} p = {p:.3f}" for term, p in zip(terms, brant.by_term, strict=True) if p < LEVEL]
    text = f"Brant's test over {brant.cuts} of {cuts} cuts"
    return Check(
        analysis=name, check="proportional_odds", value=brant.chi2, p=brant.p,
        verdict="warning" if doubt else "pass", note="; ".join([text, *(worst if doubt else [])]),
    )  # fmt: skip


def _logistic(model: Model, formula: Formula, design: Design, about: dict[str, Any], plan: Plan) -> Result:
    matrix, name = design.matrix.to_numpy(float), model.name
    if not set(np.unique(design.outcome)) <= {0.0, 1.0}:
        note = f"{formula.outcome} is not 0 or 1"
        return [Effect(**about, term=_about(model), status="not_available", note=note)], []
    if is_separated(design.outcome, _scaled(design)):
        note = "a combination of the terms tells the outcome of everyone or of some: no estimate exists"
        check = Check(analysis=name, check="separation", verdict="fail", note=note)
        return _failed(model, about, "separation", note, check)
    coefficients, covariance, converged = logistic_covariance(design.outcome, matrix)
    events = int(min(design.outcome.sum(), len(design.outcome) - design.outcome.sum()))
    checks = [
        Check(analysis=name, check="separation", note="none"),
        _size_check(name, events, matrix.shape[1], "participants with the rarer outcome"),
        _convergence(name, converged),
    ]
    if not converged:
        return _failed(model, about, "not_converged", "the fit did not converge", checks[-1])
    freedom = float(len(design.outcome) - len(coefficients))
    fit = Fit(coefficients[1:], covariance[1:, 1:], converged, freedom)
    rows = _rows(
        model, about, list(design.matrix), fit, design.matrix.std(), f"log odds of {formula.outcome}"
    )
    return [with_ratio(row) for row in rows], checks


def _mixed(model: Model, formula: Formula, design: Design, about: dict[str, Any], plan: Plan) -> Result:
    rows = design.rows
    groups = [str(who) for who in rows["participant_id"]]
    time = rows["months"].to_numpy(float)
    within = pd.Series(design.outcome).groupby(groups).transform("mean")
    if np.allclose(design.outcome, within, rtol=1e-9, atol=1e-12):
        note = f"{formula.outcome} does not change from visit to visit in anyone"
        return [Effect(**about, term=_about(model), status="not_available", note=note)], []
    found = fit_mixed(design.outcome, design.matrix.to_numpy(float), groups, time)
    name = model.name
    checks = [_size_check(name, about["n"], design.matrix.shape[1], "participants")]
    checks.append(_convergence(name, found.fit.converged))
    if not found.fit.converged:
        return _failed(model, about, "not_converged", "the fit did not converge", checks[-1])
    checks.append(_random_check(name, found))
    spread = [1.0, *design.matrix.std()]
    terms = ["intercept", *design.matrix]
    effects = _rows(model, about, terms, found.fit, spread, f"{formula.outcome}", note=found.note)
    first = replace(
        effects[0], tested=False, scale=formula.outcome, per_sd=None, per_sd_lower=None, per_sd_upper=None
    )
    return [first, *effects[1:]], checks


def _random_check(name: str, found: Any) -> Check:
    parts = [f"SD of intercepts {found.random_sd[0]:.3g}"]
    if found.has_slope:
        parts.append(
            f"of slopes {found.random_sd[1]:.3g} a month, correlation {found.random_correlation:.2f}"
        )
    parts.append(f"of residuals {found.residual_sd:.3g}")
    if found.note:
        parts.append(found.note)
    return Check(
        analysis=name,
        check="random_effects",
        verdict="warning" if found.note else "pass",
        note="; ".join(parts),
    )


def _prediction(model: Model, formula: Formula, design: Design, about: dict[str, Any], plan: Plan) -> Result:
    name = model.name
    added = [term for term in design.matrix if any(_uses(term, wanted) for wanted in model.add)]
    base = [term for term in design.matrix if term not in added]
    events = int(min(design.outcome.sum(), len(design.outcome) - design.outcome.sum()))
    if not set(np.unique(design.outcome)) <= {0.0, 1.0} or events < 2 * plan.folds:
        note = f"{events} participants with the rarer outcome; {plan.folds} folds need {2 * plan.folds}"
        return [Effect(**about, term=_about(model), status="too_few", note=note)], []
    found = compare_predictions(
        design.outcome, design.matrix[base].to_numpy(float), design.matrix[added].to_numpy(float),
        folds=plan.folds, repeats=plan.repeats, seed=plan.seed,
    )  # fmt: skip
    checks = [_size_check(name, events, design.matrix.shape[1], "participants with the rarer outcome")]
    if found.separated_folds:
        text = f"{found.separated_folds} of {found.n_folds} folds were separated and count for neither model"
        checks.append(
            Check(
                analysis=name, check="separation", value=found.separated_folds, verdict="warning", note=text
            )
        )
    if found.separated_folds > found.n_folds // 2:
        return _failed(model, about, "separation", checks[-1].note, checks[-1])
    rows = []
    for measure in ("auc", "brier", "log_loss"):
        first, second = getattr(found.without, measure), getattr(found.with_added, measure)
        for label, values in (("without imaging", first), ("with imaging", second)):
            rows.append(
                Effect(
                    **about, term=f"{measure} {label}", estimate=float(values.mean()), tested=False,
                    scale=f"{measure}, cross-validated",
                )
            )  # fmt: skip
        mean, lower, upper, p = corrected_interval(second - first, found.test_share)
        rows.append(
            Effect(
                **about, term=f"{measure} difference", estimate=mean, lower=lower, upper=upper, p=p,
                scale=f"{measure}, with minus without, cross-validated", tested=measure == "log_loss",
            )
        )  # fmt: skip
    return rows, checks


def _uses(term: str, name: str) -> bool:
    return re.sub(r"\[[^]]*\]", "", term) == name


def _size_check(name: str, count: int, terms: int, what: str) -> Check:
    share = count / terms
    small = share < MIN_PER_TERM
    text = f"{count} {what} for {terms} terms" + (f"; fewer than {MIN_PER_TERM} a term" if small else "")
    return Check(analysis=name, check="size", value=share, verdict="warning" if small else "pass", note=text)


def _convergence(name: str, converged: bool) -> Check:
    return Check(
        analysis=name, check="convergence", verdict="pass" if converged else "fail",
        note="converged" if converged else "the fit did not converge: no estimate is given",
    )  # fmt: skip
