"""Hold a visit's scans against the protocol and against the patient's first visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Value = float | str | tuple[float, ...]

COLUMNS: Final = (
    "participant_id",
    "session_id",
    "suffix",
    "scanner",
    "parameter",
    "value",
    "expected",
    "tolerance",
    "protocol",
    "within_patient",
)
"""Of the table; `Comparison` has a field for each."""
RELATIVE_TOLERANCE: Final = 0.02
"""Scanners round what they are set to by less than this share."""
LEAST_TOLERANCE: Final = {"voxel_mm": 0.02, "b_values": 50.0, "field_strength_t": 0.15}
"""b-values are written with and without the imaging gradients, and 3 T is 2.89 T on some scanners."""
WATCHED: Final = frozenset({"scanner", "software", "coil", "model", "manufacturer", "field_strength_t"})
"""A change of these within a patient is a change of equipment."""


@dataclass(frozen=True)
class Measured:
    """One scan: what its files say."""

    participant_id: str
    session_id: str
    suffix: str
    scanner: str | None
    values: Mapping[str, Value | None]
    """Parameter to value; None where it is not recorded."""


@dataclass(frozen=True)
class Comparison:
    """One parameter of one scan."""

    participant_id: str
    session_id: str
    suffix: str
    scanner: str | None
    parameter: str
    value: str | None
    expected: str | None
    tolerance: float | None
    protocol: str
    """``ok``, ``deviates``, ``not_recorded``, or ``not_laid_down`` where the protocol does not say."""
    within_patient: str
    """``first`` visit with this suffix, ``same`` as there, ``changed``, or ``not_recorded``."""


def compare(
    scans: Sequence[Measured],
    expected: Mapping[str, Mapping[str, Any]],
    tolerance: Mapping[str, Mapping[str, float]],
) -> tuple[Comparison, ...]:
    """Compare every parameter of every scan.

    Parameters
    ----------
    scans : sequence of Measured
        Each participant's in time order.
    expected, tolerance : mapping
        Suffix to parameter to what the protocol lays down, and the greatest difference.

    Returns
    -------
    tuple of Comparison
        In the order of the scans.

    """
    first: dict[tuple[str, str], Measured] = {}
    rows = []
    for scan in scans:
        start = first.setdefault((scan.participant_id, scan.suffix), scan)
        values: dict[str, Value | None] = {"scanner": scan.scanner, **scan.values}
        before: dict[str, Value | None] = {"scanner": start.scanner, **start.values}
        for name, value in values.items():
            wanted = expected.get(scan.suffix, {}).get(name)
            wanted = tuple(float(x) for x in wanted) if isinstance(wanted, list) else wanted
            limit = tolerance.get(scan.suffix, {}).get(name)
            rows.append(
                Comparison(
                    scan.participant_id,
                    scan.session_id,
                    scan.suffix,
                    scan.scanner,
                    name,
                    shown(value),
                    shown(wanted),
                    limit,
                    _protocol(name, value, wanted, limit),
                    _change(name, value, before.get(name), scan is start),
                )
            )
    return tuple(rows)


def agrees(name: str, value: Value, wanted: Value, limit: float | None = None) -> bool:
    """Say whether a value is the wanted one within the tolerance.

    Examples
    --------
    >>> agrees("voxel_mm", (1.0, 1.0, 1.01), (1.0, 1.0, 1.0)), agrees("coil", "Head_32", "head_32")
    (True, True)
    >>> agrees("b_values", (0.0, 1000.0), (0.0, 700.0, 1000.0))
    False

    """
    if isinstance(value, str) or isinstance(wanted, str):
        return str(value).strip().casefold() == str(wanted).strip().casefold()
    mine, theirs = _numbers(value), _numbers(wanted)
    return len(mine) == len(theirs) and all(
        abs(a - b) <= (_tolerance(name, b) if limit is None else limit)
        for a, b in zip(mine, theirs, strict=True)
    )


def shown(value: Value | None) -> str | None:
    """Write a value for the table."""
    if value is None or isinstance(value, str):
        return value
    return " ".join(f"{number:.5g}" for number in _numbers(value))


def _protocol(name: str, value: Value | None, wanted: Value | None, limit: float | None) -> str:
    if wanted is None:
        return "not_laid_down"
    if value is None:
        return "not_recorded"
    return "ok" if agrees(name, value, wanted, limit) else "deviates"


def _change(name: str, value: Value | None, before: Value | None, is_first: bool) -> str:
    if value is None or before is None:
        return "not_recorded"
    if is_first:
        return "first"
    return "same" if agrees(name, value, before) else "changed"


def _tolerance(name: str, wanted: float) -> float:
    return max(RELATIVE_TOLERANCE * abs(wanted), LEAST_TOLERANCE.get(name, 0.0))


def _numbers(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (float(value),)
