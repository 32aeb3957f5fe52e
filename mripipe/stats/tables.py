"""The group stage's tables: TSV with a JSON data dictionary beside each; a missing value is ``n/a``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from mripipe.bids.files import write_atomic
from mripipe.stats.analysis import Analysis
from mripipe.stats.plan import Plan

MISSING: Final = "n/a"
DIGITS: Final = 6
"""Significant digits of an estimate: more than any of them deserves, enough to compute with."""
DATA_DIGITS: Final = 12
"""Significant digits of data: as they were read."""

Columns = Mapping[str, Mapping[str, Any]]

_EFFECT: Final[dict[str, dict[str, Any]]] = {
    "analysis": {"Description": "Name of the model, or the two variables of an association"},
    "kind": {
        "Description": "Method",
        "Levels": {
            "spearman": "rank correlation",
            "partial_spearman": "rank correlation, partial for the variables after the first",
            "ordinal": "proportional odds",
            "logistic": "logistic regression",
            "mixed": "linear mixed model, random intercept and slope of months",
            "prediction": "repeated cross-validation of logistic models",
        },
    },
    "term": {"Description": "Variable that the row is about"},
    "planned": {
        "Description": "Whether the analysis stands in the plan",
        "Levels": {"planned": "it does", "exploratory": "it does not"},
    },
    "family": {"Description": "Tests of one family share the correction for multiple testing"},
    "tested": {
        "Description": "Whether the analysis is about the term",
        "Levels": {"yes": "it is, and it belongs to the family", "no": "the term is adjustment"},
    },
    "formula": {"Description": "Formula"},
    "n": {"Description": "Participants in the analysis"},
    "n_rows": {"Description": "Rows in the analysis: visits of a mixed model, else participants"},
    "n_missing": {"Description": "Rows left out because a variable is missing"},
    "missing": {"Description": "Which variable is missing in how many rows; a row may lack several"},
    "estimate": {"Description": "Estimate, on the scale named in scale"},
    "lower": {"Description": "Lower end of the 95 % interval"},
    "upper": {"Description": "Upper end of the 95 % interval"},
    "p": {"Description": "Two-sided p"},
    "q": {"Description": "p corrected within the family (Benjamini-Hochberg); n/a for adjustment"},
    "scale": {"Description": "What the estimate is"},
    "ratio": {"Description": "Odds ratio for one unit more"},
    "ratio_lower": {"Description": "Lower end of its 95 % interval"},
    "ratio_upper": {"Description": "Upper end of its 95 % interval"},
    "per_sd": {"Description": "Estimate for one standard deviation more of the term"},
    "per_sd_lower": {"Description": "Lower end of its 95 % interval"},
    "per_sd_upper": {"Description": "Upper end of its 95 % interval"},
    "status": {
        "Description": "Why there is no estimate, or why not to lean on it",
        "Levels": {
            "ok": "estimated",
            "too_few": "too few participants or events",
            "separation": "the terms tell the outcome: no estimate exists",
            "not_converged": "the fit did not converge",
            "assumption_in_doubt": "estimated, but the test of the assumption speaks against it",
            "not_available": "a variable is missing or does not vary",
        },
    },
    "note": {"Description": "What else to know"},
}

_ASSOCIATION: Final = {
    name: _EFFECT[name]
    for name in _EFFECT
    if not name.startswith(("ratio", "per_sd")) and name not in ("n_rows", "tested")
}

_CHECK: Final[dict[str, dict[str, Any]]] = {
    "analysis": {"Description": "Name of the model"},
    "check": {"Description": "What was checked"},
    "value": {"Description": "Test statistic or ratio"},
    "p": {"Description": "p of the test"},
    "verdict": {
        "Description": "Outcome",
        "Levels": {
            "pass": "nothing found",
            "warning": "read the estimate with care",
            "fail": "no estimate is given",
            "not_possible": "the data do not allow the check",
        },
    },
    "note": {"Description": "Details"},
}

_LONG: Final[dict[str, dict[str, Any]]] = {
    "participant_id": {"Description": "Coded identity"},
    "session_id": {"Description": "Visit; n/a for a value that belongs to the participant"},
    "window": {"Description": "Visit window of the analysis; n/a where none holds the value"},
    "days_from_infusion": {"Description": "Days since the first infusion", "Units": "d"},
    "days_from_onset": {"Description": "Days since stroke onset", "Units": "d"},
    "kind": {"Description": "Origin", "Levels": {"imaging": "measured on images", "score": "clinical table"}},
    "name": {"Description": "Variable"},
    "value": {"Description": "Value; n/a where there is none, and status says why"},
    "unit": {"Description": "Unit of the value"},
    "status": {
        "Description": "Missing code",
        "Levels": {
            "ok": "there",
            "no_lesion_found": "the visit was processed and no infarct was found",
            "low_quality": "a quality check of the visit failed",
            "missing_input": "what is needed for the value was not there",
            "truncated_by_lesion": "the infarct takes too much of the region",
            "not_covered": "outside the field of view",
            "failed": "the visit could not be processed",
            "conflict": "the tables contradict each other: no value is used",
            "not_a_number": "the cell holds no number",
            "out_of_range": "outside the score's range",
            "died": "dead before this window: mRS 6",
        },
    },
    "used": {
        "Description": "Whether the value stands for its window",
        "Levels": {"yes": "it does", "no": "another visit of the window is nearer, or there is no window"},
    },
    "file": {"Description": "File the value was read from"},
    "line": {"Description": "Line in that file"},
}

_ATTENDANCE: Final[dict[str, dict[str, Any]]] = {
    "window": {"Description": "Visit window"},
    "item": {"Description": "The scan, or a score"},
    "seen": {"Description": "Participants with a value"},
    "missing": {"Description": "Participants without a value, alive as far as is known"},
    "died": {"Description": "Participants who died before the window (mRS 6)"},
}

_MISSING: Final[dict[str, dict[str, Any]]] = {
    "window": {"Description": "Visit window"},
    "item": {"Description": "The scan, or a score"},
    "variable": {"Description": "What the groups are compared by"},
    "n_seen": {"Description": "Participants seen at the window who have the variable"},
    "median_seen": {"Description": "Median of those seen"},
    "lower_seen": {"Description": "First quartile"},
    "upper_seen": {"Description": "Third quartile"},
    "n_missing": {"Description": "Participants missing or dead at the window who have the variable"},
    "median_missing": {"Description": "Median of those missing"},
    "lower_missing": {"Description": "First quartile"},
    "upper_missing": {"Description": "Third quartile"},
    "p": {"Description": "Mann-Whitney; n/a where either group is smaller than 5"},
}

_OUTLIER: Final[dict[str, dict[str, Any]]] = {
    "participant_id": {"Description": "Coded identity"},
    "session_id": {"Description": "Visit"},
    "variable": {"Description": "Variable"},
    "value": {"Description": "Value"},
    "robust_z": {"Description": "Distance from the median in robust standard deviations"},
    "reason": {"Description": "Why it is listed; it was not removed"},
}

_RELIABILITY: Final[dict[str, dict[str, Any]]] = {
    "measure": {"Description": "What was measured repeatedly"},
    "raters": {"Description": "Raters, programs or scans that are compared"},
    "n": {"Description": "Visits that all of them measured"},
    "n_left_out": {"Description": "Visits that only some of them measured"},
    "icc": {"Description": "ICC(2,1): one rater's value, absolute agreement"},
    "icc_lower": {"Description": "Lower end of the 95 % interval"},
    "icc_upper": {"Description": "Upper end of the 95 % interval"},
    "within_sd": {"Description": "Within-subject standard deviation, in the measure's unit"},
    "minimal_change": {"Description": "Minimal detectable change, in the measure's unit"},
    "bias": {"Description": "Mean of the first rater minus the second, in the measure's unit"},
    "limit_lower": {"Description": "Lower limit of agreement"},
    "limit_upper": {"Description": "Upper limit of agreement"},
    "note": {"Description": "What else to know"},
}

_ODDITY: Final[dict[str, dict[str, Any]]] = {
    "file": {"Description": "File"},
    "line": {"Description": "Line in the file, the header being 1; n/a for the file as a whole"},
    "participant_id": {"Description": "Coded identity, where one is concerned"},
    "message": {"Description": "What was found and what was done"},
}


def write_analysis(folder: Path, analysis: Analysis, plan: Plan) -> dict[str, Path]:
    """Write every table of an analysis.

    Parameters
    ----------
    folder : Path
        ``OUT/outcomes``.
    analysis : Analysis
    plan : Plan

    Returns
    -------
    dict of str to Path
        Name to TSV file.

    """
    effects = [[_effect(item) for item in group] for group in (analysis.associations, analysis.models)]
    reliability = [
        {
            **asdict(item),
            "raters": "; ".join(item.raters),
            "bias": item.limits.bias if item.limits else None,
            "limit_lower": item.limits.lower if item.limits else None,
            "limit_upper": item.limits.upper if item.limits else None,
        }
        for item in analysis.reliability
    ]
    values = [{**asdict(value), "line": value.line or None} for value in analysis.joined.values]
    written = {
        "associations": write_rows(folder / "associations.tsv", _ASSOCIATION, effects[0]),
        "models": write_rows(folder / "models.tsv", _EFFECT, effects[1]),
        "model_checks": write_rows(folder / "model_checks.tsv", _CHECK, map(asdict, analysis.checks)),
        "long": write_rows(folder / "long.tsv", _LONG, values, digits=DATA_DIGITS),
        "attendance": write_rows(folder / "attendance.tsv", _ATTENDANCE, map(asdict, analysis.attendance)),
        "missing": write_rows(folder / "missing.tsv", _MISSING, map(asdict, analysis.missing)),
        "outliers": write_rows(folder / "outliers.tsv", _OUTLIER, map(asdict, analysis.outliers)),
        "reliability": write_rows(folder / "reliability.tsv", _RELIABILITY, reliability),
        "oddities": write_rows(folder / "oddities.tsv", _ODDITY, map(asdict, analysis.oddities)),
    }
    for name, frame in (("wide", analysis.joined.wide.reset_index()), ("visits", analysis.joined.visits)):
        columns = {column: {"Description": describe(column, plan)} for column in frame}
        rows = frame.to_dict("records")
        written[name] = write_rows(folder / f"{name}.tsv", columns, rows, digits=DATA_DIGITS)
    return written


def _effect(item: Any) -> dict[str, Any]:
    return {**asdict(item), "planned": "planned" if item.planned else "exploratory"}


def describe(column: str, plan: Plan) -> str:
    """Say what a column of the wide tables is, from how its name is made."""
    fixed = {
        "participant_id": "Coded identity",
        "session_id": "Visit",
        "window": "Visit window of the analysis",
        "age": "Age in years; the lowest possible one where the study gives only a bound",
        "sex": "F or M",
        "months": "Months since the clock of the windows began, 30.4375 days each",
        "days_from_infusion": "Days since the first infusion",
        "days_from_onset": "Days since stroke onset",
    }
    if column in fixed:
        return fixed[column]
    base, _, last = column.rpartition("_")
    window = plan.window(last)
    if last == "change":
        return f"{base} minus its value at baseline"
    text = base if window else column
    if text == "mrs02":
        text = "1 where the modified Rankin Scale is 0 to 2, else 0"
    return f"{text}, window {last}: days {window.start:g} to {window.end:g}" if window else text


def write_rows(
    path: Path, columns: Columns, rows: Iterable[Mapping[str, Any]], *, digits: int = DIGITS
) -> Path:
    """Write a table and its data dictionary; columns as given, rows in their order."""
    lines = ["\t".join(columns)]
    lines += ["\t".join(cell(row[name], digits=digits) for name in columns) for row in rows]
    write_atomic(path.with_suffix(".json"), json.dumps(columns, indent=2) + "\n")
    return write_atomic(path, "\n".join(lines) + "\n")


def cell(value: Any, *, digits: int = DIGITS) -> str:
    r"""Write one value: ``n/a`` for none, yes and no, numbers to some digits, no tab or line end in text.

    Examples
    --------
    >>> [cell(value) for value in (None, True, 0.1234567, 3, "a\tb")]
    ['n/a', 'yes', '0.123457', '3', 'a b']

    """
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        # Adding 0.0 makes a minus zero a plain one.
        return f"{value + 0.0:.{digits}g}"
    return re.sub(r"\s+", " ", str(value))


def figure_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write the numbers behind a figure, beside it."""
    lines = ["\t".join(header), *("\t".join(cell(value) for value in row) for row in rows)]
    return write_atomic(path, "\n".join(lines) + "\n")
