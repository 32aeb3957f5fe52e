"""Read what the scans of a dataset were taken with, to hold it against the protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from mripipe.bids.nifti import read_header
from mripipe.bids.reader import read_study
from mripipe.errors import InputError
from mripipe.model.compliance import Comparison, Measured, Value, compare
from mripipe.model.protocol import Protocol
from mripipe.model.study import Scan
from mripipe.steps.ingest_convert import n_directions

_SECONDS: Final = {
    "echo_time_ms": "EchoTime",
    "repetition_time_ms": "RepetitionTime",
    "inversion_time_ms": "InversionTime",
}
_NUMBERS: Final = {"flip_angle_deg": "FlipAngle", "field_strength_t": "MagneticFieldStrength"}
_WORDS: Final = {
    "manufacturer": "Manufacturer",
    "model": "ManufacturersModelName",
    "software": "SoftwareVersions",
    "coil": "ReceiveCoilName",
}
_SHELL_WIDTH: Final = 100.0
"""b-values closer than this are of one shell."""


def compliance(root: Path, protocol: Protocol) -> tuple[Comparison, ...]:
    """Compare all scans of a dataset with the protocol and with each patient's first visit.

    Parameters
    ----------
    root : Path
        BIDS dataset; only sidecars, headers and b-values are read.
    protocol : Protocol
        What is laid down.

    Returns
    -------
    tuple of Comparison
        By participant, visit in time order, and scan.

    Raises
    ------
    RequestError
        The dataset cannot be read.

    """
    scans = [
        Measured(session.participant_id, session.session_id, scan.suffix, *_measure(scan))
        for subject in read_study(root).subjects
        for session in subject.sessions
        for scan in session.scans
    ]
    expected = {rule.suffix: rule.expect for rule in protocol.rules}
    tolerance = {rule.suffix: rule.tolerance for rule in protocol.rules}
    return compare(scans, expected, tolerance)


def shells(b_values: np.ndarray[Any, Any]) -> tuple[float, ...]:
    """Return the mean b-value of every shell, to the nearest 5 s/mm^2.

    Examples
    --------
    >>> shells(np.array([1.25, 929.75, 930.0, 2005.0, 1995.0]))
    (0.0, 930.0, 2000.0)

    """
    ordered = np.sort(b_values)
    parts = np.split(ordered, np.flatnonzero(np.diff(ordered) > _SHELL_WIDTH) + 1)
    return tuple(float(5 * round(float(part.mean()) / 5)) for part in parts if len(part))


def _measure(scan: Scan) -> tuple[str | None, dict[str, Value | None]]:
    """Return the scanner's code and the parameters of one scan."""
    about = _read_json(scan.sidecar)
    values: dict[str, Value | None] = {}
    for name, key in _SECONDS.items():
        values[name] = _number(about, key, 1000.0)
    for name, key in _NUMBERS.items():
        values[name] = _number(about, key, 1.0)
    for name, key in _WORDS.items():
        values[name] = str(about[key]) if about.get(key) else None
    try:
        header = read_header(scan.path)
    except InputError:
        header = None
    if header is not None:
        sizes = np.linalg.norm(header.affine[:3, :3], axis=0)
        values["voxel_mm"] = tuple(round(float(size), 4) for size in sizes)
        values["slices"] = float(header.shape[2])
    if scan.suffix == "dwi" and scan.bval is not None and scan.bvec is not None:
        bval, bvec = (path.read_text(encoding="ascii") for path in (scan.bval, scan.bvec))
        values["b_values"] = shells(np.array(bval.split(), dtype=np.float64))
        values["directions"] = float(n_directions(bval, bvec))
        values["volumes"] = float(len(bval.split()))
    scanner = about.get("DeviceSerialNumber")
    return (str(scanner) if scanner else None), values


def _read_json(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(about: Mapping[str, Any], key: str, factor: float) -> float | None:
    value = about.get(key)
    return round(float(value) * factor, 6) if isinstance(value, int | float) else None
