"""The analysis plan: windows, associations and models, in TOML that can be written before there are data.

What stands in the plan is ``planned``; everything else that is computed is ``exploratory``.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_type_hints

from mripipe.errors import RequestError
from mripipe.model.group import Clock
from mripipe.model.toml import read_toml
from mripipe.stats.formula import parse_formula

_T = TypeVar("_T")

Kind = Literal["ordinal", "logistic", "mixed", "prediction"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of days that makes scans and scores one visit of the analysis."""

    name: str
    clock: Clock = "days_from_infusion"
    start: float
    """First day that belongs to it."""
    end: float
    """Last day that belongs to it."""
    target: float
    """The day that was meant; of two visits in a window the nearer one counts."""
    sessions: tuple[str, ...] = ()
    """Visits that belong to it whatever their days."""

    def __post_init__(self) -> None:
        if self.clock not in get_args(Clock):
            raise RequestError(f"window {self.name}: clock must be one of {', '.join(get_args(Clock))}")
        if not self.start <= self.target <= self.end:
            raise RequestError(f"window {self.name}: expected start <= target <= end")
        if not self.name.isalnum() or not self.name.isascii():
            raise RequestError(f"window {self.name!a}: expected letters and digits only")


@dataclass(frozen=True, kw_only=True)
class Association:
    """A rank correlation of two variables."""

    x: str
    y: str
    adjust: tuple[str, ...] = ()
    """Variables that it is partial for."""
    family: str = "associations"
    """Tests of one family share the correction for multiple testing."""
    planned: bool = True


@dataclass(frozen=True, kw_only=True)
class Model:
    """A regression model."""

    name: str
    kind: Kind
    formula: str
    test: tuple[str, ...] = ()
    """Terms that the model is about: they go into the family, the others are adjustment."""
    family: str = "models"
    add: tuple[str, ...] = ()
    """Prediction only: terms whose worth is asked for."""
    planned: bool = True

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise RequestError(f"model {self.name}: kind must be one of {', '.join(get_args(Kind))}")
        if (self.kind == "prediction") != bool(self.add):
            raise RequestError(f"model {self.name}: a prediction, and nothing else, needs add = [...]")
        parse_formula(self.formula)


_DEFAULT_WINDOWS: Final = (
    Window(name="baseline", start=-90, end=0, target=0),
    Window(name="day30", start=15, end=60, target=30),
    Window(name="day90", start=61, end=135, target=90),
    Window(name="day180", start=136, end=270, target=180),
    Window(name="day365", start=271, end=450, target=365),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything the group stage is told."""

    windows: tuple[Window, ...] = _DEFAULT_WINDOWS
    associations: tuple[Association, ...] = ()
    models: tuple[Model, ...] = ()
    unblinded: tuple[Model, ...] = ()
    """Models with ``arm``, run only with a key."""
    columns: tuple[str, ...] = ()
    """Columns of the clinical tables to use although their meaning is not known."""
    exploratory: bool = True
    """Whether the usual analyses are run too where the plan does not hold them."""
    exclude_low_quality: bool = False
    bootstrap: int = 2000
    """Resamples of each bootstrap interval."""
    assumption_resamples: int = 199
    """Outcomes drawn for each test of proportional odds: p to the nearest half percent."""
    folds: int = 5
    repeats: int = 20
    """Of cross-validation."""
    seed: int = 20
    sha256: str | None = field(default=None)
    """Of the plan's file; None where there was none."""

    def __post_init__(self) -> None:
        for name in ("bootstrap", "assumption_resamples", "folds", "repeats"):
            if getattr(self, name) < 2:
                raise RequestError(f"{name} must be 2 or more; got {getattr(self, name)}")
        names = [window.name for window in self.windows]
        models = [model.name for model in (*self.models, *self.unblinded)]
        for kind, listed in (("window", names), ("model", models)):
            if twice := sorted({name for name in listed if listed.count(name) > 1}):
                raise RequestError(f"{kind} {', '.join(twice)} stands twice; give each a name of its own")

    def window(self, name: str) -> Window | None:
        """Return a window by name, or None."""
        return next((window for window in self.windows if window.name == name), None)


def read_plan(path: Path) -> Plan:
    """Read a plan from TOML.

    Parameters
    ----------
    path : Path
        Tables ``[windows.NAME]``, ``[[associations]]``, ``[[models]]``, ``[[unblinded]]``, and the single
        values of `Plan`.

    Raises
    ------
    RequestError
        The file cannot be read, is not TOML, or has an unknown or unfit key, by name.

    """
    document = read_toml(path)
    try:
        return _plan(document, hashlib.sha256(path.read_bytes()).hexdigest())
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error


def _plan(document: dict[str, Any], sha256: str) -> Plan:
    """Build a plan from the tables of its file."""
    values = dict(document)
    windows = values.pop("windows", None)
    if windows is not None:
        if not isinstance(windows, dict):
            raise RequestError("windows: expected tables such as [windows.day90]")
        values["windows"] = tuple(_make(Window, table, name=name) for name, table in windows.items())
    for name, kind in (("associations", Association), ("models", Model), ("unblinded", Model)):
        if name in values:
            if not isinstance(values[name], list):
                raise RequestError(f"{name}: expected tables such as [[{name}]]")
            values[name] = tuple(_make(kind, table) for table in values[name])
    return _make(Plan, values, sha256=sha256)


def _make(kind: type[_T], table: Mapping[str, Any], **more: Any) -> _T:
    """Build a dataclass from a table; an unknown, missing or wrongly typed key is refused by name."""
    if not isinstance(table, Mapping):
        raise RequestError(f"expected a table of {kind.__name__.lower()} keys, got {table!r}")
    known = {item.name for item in dataclasses.fields(kind)} - {"planned", "sha256"} - set(more)  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            raise RequestError(f"unknown key {name!r}; known: {', '.join(sorted(known))}")
        values[name] = _typed(name, value, hints[name])
    try:
        return kind(**values, **more)
    except TypeError as error:
        raise RequestError(f"{kind.__name__.lower()}: {str(error).partition(') ')[2]}") from error


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Return a TOML value as a field's type."""
    if isinstance(value, tuple):
        return value
    if isinstance(value, list):
        if not all(isinstance(item, str) for item in value):
            raise RequestError(f"{name} must be a list of names; got {value!r}")
        return tuple(value)
    fits = {
        float: isinstance(value, int | float) and not isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool),
        bool: isinstance(value, bool),
    }.get(hint, isinstance(value, str))
    if not fits:
        raise RequestError(f"{name} has a value of the wrong type: {value!r}")
    return value
