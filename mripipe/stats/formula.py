"""Model formulas, read strictly: ``mrs_day90 ~ age + nihss_baseline + log1p(lesion_ml_baseline)``.

The formula language of the modelling library runs any Python that stands in a formula. A plan is a file that
travels between people, so only names, ``+``, ``:``, ``*``, ``log`` and ``log1p`` get through here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import patsy

from mripipe.errors import InputError, RequestError

_NAME: Final = r"[A-Za-z][A-Za-z0-9_]*"
_FACTOR = re.compile(rf"(?:(?P<function>log1p|log)\(\s*(?P<inside>{_NAME})\s*\)|(?P<name>{_NAME}))")
_FUNCTIONS: Final = {"log": np.log, "log1p": np.log1p}


@dataclass(frozen=True)
class Formula:
    """A checked formula."""

    outcome: str
    right: str
    """The right-hand side as written."""
    variables: tuple[str, ...]
    """Names on the right-hand side, each once."""

    def __str__(self) -> str:
        return f"{self.outcome} ~ {self.right}"


@dataclass(frozen=True)
class Design:
    """Complete rows of a table as numbers, and who was left out."""

    outcome: Any
    """Array of shape (N,)."""
    matrix: Any
    """Data frame of N rows, a column a term, no intercept."""
    rows: Any
    """The N rows of the table, all columns."""
    missing: dict[str, int]
    """Rows without a value, by variable; a row may lack several."""
    n_missing: int
    """Rows left out."""


def parse_formula(text: str) -> Formula:
    """Check a formula.

    Raises
    ------
    RequestError
        If it holds anything else than names, ``+``, ``:``, ``*``, ``log(name)`` and ``log1p(name)``.

    Examples
    --------
    >>> parse_formula("mrs ~ age + log1p(lesion_ml)").variables
    ('age', 'lesion_ml')

    """
    left, tilde, right = text.partition("~")
    outcome, names = left.strip(), []
    fits = bool(tilde) and re.fullmatch(_NAME, outcome) is not None
    for term in right.split("+"):
        for part in re.split("[:*]", term):
            found = _FACTOR.fullmatch(part.strip())
            fits = fits and found is not None
            if found is not None:
                names.append(found["inside"] or found["name"])
    if not fits:
        raise RequestError(
            f"formula {text!r}: expected outcome ~ name + name, with ':' or '*' for interactions and "
            "log(name) or log1p(name); write it so"
        )
    return Formula(outcome, " ".join(right.split()), tuple(dict.fromkeys(names)))


def build_design(formula: Formula, table: pd.DataFrame) -> Design:
    """Take the rows of a table that have every variable of a formula.

    Raises
    ------
    InputError
        If a variable is not in the table, or no row has them all.

    """
    needed = list(dict.fromkeys((formula.outcome, *formula.variables)))
    absent = [name for name in needed if name not in table]
    if absent:
        raise InputError(f"not measured in this study: {', '.join(absent)}")
    finite = table[needed].replace([np.inf, -np.inf], np.nan)
    complete = finite.notna().all(axis=1)
    missing = {name: int(finite[name].isna().sum()) for name in needed}
    rows = table[complete]
    if rows.empty:
        raise InputError("no participant has all variables")
    data = {**{name: rows[name] for name in needed}, **_FUNCTIONS}
    nowhere = patsy.EvalEnvironment([])
    # A logarithm of 0 or less is found below, by what it gives.
    with np.errstate(all="ignore"):
        matrix = patsy.dmatrix(formula.right, data, return_type="dataframe", eval_env=nowhere)
    if len(matrix) != len(rows) or not np.isfinite(matrix.to_numpy()).all():
        raise InputError("a logarithm of 0 or less; use log1p, or another variable")
    matrix.index = rows.index
    outcome = rows[formula.outcome].to_numpy(float)
    return Design(outcome, matrix.drop(columns="Intercept"), rows, missing, int((~complete).sum()))
