"""What sidecars say of phase encoding, and which images a field map belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from mripipe.model.study import Scan

ENCODINGS: Final = ("i", "i-", "j", "j-", "k", "k-")


def read_sidecar(path: Path | None) -> dict[str, Any]:
    """Read a JSON sidecar; empty where there is none or it cannot be read."""
    if path is None:
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def phase_encoding(told: dict[str, Any]) -> tuple[str | None, bool]:
    """Return the phase encoding along the stored axes, and whether the way along its axis is told.

    Examples
    --------
    >>> phase_encoding({"PhaseEncodingDirection": "j-"}), phase_encoding({"PhaseEncodingAxis": "j"})
    (('j-', True), ('j', False))

    """
    for key, way_told in (("PhaseEncodingDirection", True), ("PhaseEncodingAxis", False)):
        if told.get(key) in ENCODINGS:
            return told[key], way_told
    return None, False


def readout_s(told: dict[str, Any]) -> float | None:
    """Return the total readout time in s; None where nothing tells it.

    Philips does not write it: dcm2niix then gives an estimate. A converter may give the spacing of the echoes
    and the lines of the image instead, whose product over all but one line it is.

    Examples
    --------
    >>> readout_s({"EffectiveEchoSpacing": 0.0005, "ReconMatrixPE": 101}), readout_s({})
    (0.05, None)

    """
    spacing, lines = _positive(told.get("EffectiveEchoSpacing")), _positive(told.get("ReconMatrixPE"))
    product = None if spacing is None or lines is None else spacing * (lines - 1)
    values = (told.get("TotalReadoutTime"), product, told.get("EstimatedTotalReadoutTime"))
    return next((found for value in values if (found := _positive(value)) is not None), None)


def belongs_to(fieldmap: Scan, series: Iterable[Scan]) -> bool | None:
    """Say whether a field map is meant for one of some images: None where its sidecar names no image.

    ``IntendedFor`` lists paths or BIDS URIs, of which the file's name is compared; a ``B0FieldIdentifier`` is
    looked for among the images' ``B0FieldSource``.
    """
    told = read_sidecar(fieldmap.sidecar)
    scans = list(series)
    names = [str(text).rsplit("/", 1)[-1] for text in _listed(told.get("IntendedFor"))]
    sources = {text for scan in scans for text in _listed(read_sidecar(scan.sidecar).get("B0FieldSource"))}
    if sources & set(_listed(told.get("B0FieldIdentifier"))):
        return True
    if names:
        return any(scan.path.name in names for scan in scans)
    return None


def _positive(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < float("inf") else None  # type: ignore[arg-type,operator]


def _listed(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]
