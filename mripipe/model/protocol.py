"""Which series is which: the rules of a protocol, read from TOML, and what they say of a series."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from mripipe.errors import RequestError
from mripipe.model.dicom import Series
from mripipe.model.toml import read_toml

SUFFIXES: Final = ("T1w", "T2w", "FLAIR", "dwi")
"""What can be taken in."""
LIMITS: Final = ("echo_time_ms", "repetition_time_ms", "inversion_time_ms", "flip_angle_deg")
"""What a rule can set limits to; a series whose header does not say is within them."""
EXPECTED: Final = (
    "echo_time_ms",
    "repetition_time_ms",
    "inversion_time_ms",
    "flip_angle_deg",
    "voxel_mm",
    "slices",
    "volumes",
    "b_values",
    "directions",
    "field_strength_t",
    "manufacturer",
    "model",
    "software",
    "coil",
)
"""What a protocol can lay down and the table of compliance compares."""
DERIVED_TYPES: Final = frozenset(
    {
        "ADC",
        "EADC",
        "DADC",
        "ADC_UNSPECIFIED",
        "DIFFUSION_ADC",
        "TRACE",
        "TRACEW",
        "FA",
        "COLFA",
        "TENSOR",
        "TENSOR_B0",
        "AVDC",
        "CALC_BVALUE",
        "MPR",
    }
    | {
        "MIP",
        "MINIP",
        "LOCALIZER",
        "SUBTRACTION",
        "PROJECTION",
        "REFORMATTED",
        "SCREENSAVE",
        "CSAPARALLEL",
        "B0MAP",
        "FIELDMAP",
        "T1MAP",
        "T2MAP",
        "VELOCITY",
        "PROJECTION IMAGE",
        "CSA REPORT",
        "AVERAGE DC",
        "SCREEN SAVE",
    }
)
"""Words of the DICOM image type that mark what was computed from other images."""
NOT_MAGNITUDE: Final = frozenset(
    {"P", "R", "I", "PHASE", "PHASE MAP", "REAL", "IMAGINARY", "IMAG", "PHASE_MAP"}
)


@dataclass(frozen=True)
class Rule:
    """How the series of one suffix are told from the others."""

    suffix: str
    """``T1w``, ``T2w``, ``FLAIR`` or ``dwi``."""
    match: tuple[str, ...] = ()
    """Regular expressions; one must be found in the series' name as `plain_name` gives it."""
    exclude: tuple[str, ...] = ()
    """None of these may be found."""
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Keys of `LIMITS` to least and greatest value."""
    required: bool = False
    """A visit without it is an error."""
    prefer_3d: bool = False
    """Of several series the only 3D one is taken."""
    contrast_agent: bool = False
    """Take series after contrast agent."""
    derived: bool = False
    """Take series that the scanner calls derived."""
    directions_min: int = 0
    """Least number of diffusion directions; fewer is a trace or b = 0 series."""
    expect: Mapping[str, Any] = field(default_factory=dict)
    """Keys of `EXPECTED` to what the protocol lays down."""
    tolerance: Mapping[str, float] = field(default_factory=dict)
    """Keys of `EXPECTED` to the greatest difference, in the same unit."""


@dataclass(frozen=True)
class Choice:
    """The user's word on a visit's series where the rules do not tell."""

    participant_id: str
    session_id: str
    suffix: str
    series_number: int


@dataclass(frozen=True)
class Protocol:
    """All rules."""

    rules: tuple[Rule, ...]
    exclude: tuple[str, ...] = ()
    """Series that no rule takes."""
    choices: tuple[Choice, ...] = ()
    mapping: str | None = None
    """Mapping table, relative to the protocol's file."""
    coded_ids: bool = False
    """The DICOM patient IDs are the trial's codes, and may stand in the output."""
    public: tuple[str, ...] = ()
    """Words that may stand in the output though a header has them for a name: a patient called Head."""


def default_protocol() -> Protocol:
    """Return the built-in rules, which know the usual names of Siemens, GE, Philips, Canon and UIH."""
    text = files("mripipe.model").joinpath("default_protocol.toml").read_text(encoding="utf-8")
    return protocol_from_tables(tomllib.loads(text))


def read_protocol(path: Path) -> Protocol:
    """Read a protocol.

    Raises
    ------
    RequestError
        The file cannot be read, is not TOML, or has an unknown or unfit table, key or value.

    """
    tables = read_toml(path)
    try:
        return protocol_from_tables(tables)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error


def protocol_from_tables(tables: Mapping[str, Any]) -> Protocol:
    """Build a protocol from nested tables.

    With ``base = "default"`` a rule says only what differs from the built-in rule of its suffix, and suffixes
    without a rule keep the built-in one.

    Raises
    ------
    RequestError
        An unknown or unfit table, key or value, by name.

    """
    _refuse_unknown(tables, ("base", "mapping", "coded_ids", "public", "exclude", "rule", "choice"), "key")
    if tables.get("base") not in (None, "default"):
        raise RequestError(f'base must be "default" or left out; got {tables["base"]!r}')
    base = default_protocol() if "base" in tables else Protocol(())
    given = {_suffix(table): table for table in _tables(tables, "rule")}
    if len(given) < len(_tables(tables, "rule")):
        raise RequestError("two [[rule]] tables have one suffix; join their patterns in one")
    built_in = {rule.suffix: rule for rule in base.rules}
    rules = tuple(
        _rule(given[suffix], built_in.get(suffix)) if suffix in given else built_in[suffix]
        for suffix in SUFFIXES
        if suffix in given or suffix in built_in
    )
    if not rules:
        raise RequestError('no [[rule]]; write one for each suffix, or base = "default"')
    for key, kind in (("mapping", str), ("coded_ids", bool)):
        if key in tables and not isinstance(tables[key], kind):
            raise RequestError(f"{key} must be a {kind.__name__}; got {tables[key]!r}")
    exclude = _patterns(tables, "exclude") if "exclude" in tables else base.exclude
    choices = tuple(_choice(table) for table in _tables(tables, "choice"))
    public = _typed(tables, "public", list) if "public" in tables else []
    return Protocol(
        rules,
        exclude,
        choices,
        tables.get("mapping"),
        bool(tables.get("coded_ids", False)),
        tuple(str(word) for word in public),
    )


def plain_name(text: str) -> str:
    """Return a series' name as patterns see it: lower case, one space for any marks but ``*`` and ``+``.

    Examples
    --------
    >>> plain_name("t2_tirm_tra_dark-fluid  P2"), plain_name("Ax T2* GRE")
    ('t2 tirm tra dark fluid p2', 'ax t2* gre')

    """
    return " ".join(re.sub(r"[^0-9a-z*+]+", " ", text.casefold()).split())


def reason_left_out(series: Series, protocol: Protocol) -> str | None:
    """Say why no rule may take a series at all; None where one may."""
    if not series.is_mr:
        return "not an MR image"
    words = {word.strip().upper() for word in series.image_type}
    if words & NOT_MAGNITUDE:
        return "not a magnitude image"
    found = _found(protocol.exclude, plain_name(series.description))
    return f"its name matches the excluded {found!r}" if found is not None else None


def is_derived(series: Series) -> bool:
    """Say whether the scanner computed a series from other images, such as a trace or an ADC map."""
    words = [word.strip().upper() for word in series.image_type]
    return "DERIVED" in words[:1] or bool(DERIVED_TYPES & set(words))


def why_not(rule: Rule, series: Series) -> str | None:
    """Say why a series that a rule's patterns match does not fit it; None where it fits.

    Returns
    -------
    str or None
        ``name`` where the patterns do not match, else a reason in words.

    """
    name = plain_name(series.description)
    if _found(rule.match, name) is None or _found(rule.exclude, name) is not None:
        return "name"
    if is_derived(series) and not rule.derived:
        return "derived from other images"
    if series.has_contrast_agent and not rule.contrast_agent:
        return "after contrast agent"
    values = {
        "echo_time_ms": series.echo_times_ms,
        "repetition_time_ms": _one(series.repetition_time_ms),
        "inversion_time_ms": _one(series.inversion_time_ms),
        "flip_angle_deg": _one(series.flip_angle_deg),
    }
    for key, (low, high) in rule.limits.items():
        known = values[key]
        if known and not any(low <= value <= high for value in known):
            return f"{key} {known[0]:g} is not within {low:g} to {high:g}"
    return None


def _one(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)


def _found(patterns: Sequence[str], name: str) -> str | None:
    """Return the first pattern that is found in a name."""
    return next((pattern for pattern in patterns if re.search(pattern, name)), None)


def _rule(table: Mapping[str, Any], base: Rule | None) -> Rule:
    """Build a rule, with what the table does not say from `base`."""
    known = {item.name for item in fields(Rule)}
    _refuse_unknown(table, sorted(known), f"key in the rule of {table['suffix']}")
    values: dict[str, Any] = {name: getattr(base, name) for name in known} if base is not None else {}
    values["suffix"] = table["suffix"]
    for key in ("match", "exclude"):
        if key in table:
            values[key] = _patterns(table, key)
    for key in ("required", "prefer_3d", "contrast_agent", "derived"):
        if key in table:
            values[key] = _typed(table, key, bool)
    if "directions_min" in table:
        values["directions_min"] = _typed(table, "directions_min", int)
    for key, names in (("limits", LIMITS), ("expect", EXPECTED), ("tolerance", EXPECTED)):
        if key in table:
            _refuse_unknown(_typed(table, key, dict), names, f"key in {key} of {table['suffix']}")
            values[key] = dict(table[key])
    values["limits"] = {key: _range(key, pair) for key, pair in values.get("limits", {}).items()}
    for key, number in values.get("tolerance", {}).items():
        if not _is_number(number) or number < 0:
            raise RequestError(f"tolerance of {key} must be a number of at least 0; got {number!r}")
    for key, value in values.get("expect", {}).items():
        _check_expected(key, value)
    if not values.get("match"):
        raise RequestError(f"the rule of {table['suffix']} has no match; give at least one pattern")
    return Rule(**values)


def _check_expected(key: str, value: Any) -> None:
    """Raise RequestError for an expectation of the wrong type."""
    if key in ("manufacturer", "model", "software", "coil"):
        fits, kind = isinstance(value, str), "text"
    elif key in ("voxel_mm", "b_values"):
        fits, kind = isinstance(value, list) and all(map(_is_number, value)), "a list of numbers"
    else:
        fits, kind = _is_number(value), "a number"
    if not fits:
        raise RequestError(f"expected {key} must be {kind}; got {value!r}")


def _choice(table: Mapping[str, Any]) -> Choice:
    names = [item.name for item in fields(Choice)]
    _refuse_unknown(table, names, "key in a choice")
    if missing := [name for name in names if name not in table]:
        raise RequestError(f"a [[choice]] has no {missing[0]}")
    return Choice(
        f"sub-{_typed(table, 'participant_id', str).removeprefix('sub-')}",
        f"ses-{_typed(table, 'session_id', str).removeprefix('ses-')}",
        _suffix(table),
        _typed(table, "series_number", int),
    )


def _suffix(table: Mapping[str, Any]) -> str:
    suffix = table.get("suffix")
    if suffix not in SUFFIXES:
        raise RequestError(f"suffix must be one of {', '.join(SUFFIXES)}; got {suffix!r}")
    return str(suffix)


def _tables(tables: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = tables.get(key, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise RequestError(f"{key} must be written [[{key}]]; got {found!r}")
    return found


def _patterns(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    for pattern in _typed(table, key, list):
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise RequestError(f"{key}: {pattern!r} is no regular expression ({error})") from error
    return tuple(table[key])


def _typed(table: Mapping[str, Any], key: str, kind: type) -> Any:
    # True is an int to Python.
    if not isinstance(table[key], kind) or (kind is int and isinstance(table[key], bool)):
        raise RequestError(f"{key} must be of type {kind.__name__}; got {table[key]!r}")
    return table[key]


def _range(key: str, pair: Any) -> tuple[float, float]:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(map(_is_number, pair)):
        raise RequestError(f"limits of {key} must be two numbers, least and greatest; got {pair!r}")
    if pair[0] > pair[1]:
        raise RequestError(f"limits of {key}: {pair[0]!r} is more than {pair[1]!r}")
    return float(pair[0]), float(pair[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    for name in given:
        if name not in known:
            raise RequestError(f"unknown {what}: {name!r}; known: {', '.join(known)}")
