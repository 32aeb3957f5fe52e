"""Streamlines as lines on a picture of a plane, seen through the whole head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mripipe.figures.planes import Plane


def streamline_path(
    lines: Sequence[NDArray[np.floating]], plane: Plane, *, most: int = 100, step_mm: float = 4.0
) -> str:
    """Project streamlines on a plane, at right angles to it.

    Parameters
    ----------
    lines : sequence of arrays (K, 3)
        RAS+ mm, in the plane's space.
    plane : Plane
    most : int
        How many are drawn, evenly taken from all: more of them hide what lies below.
    step_mm : float
        Distance between the points that are kept.

    Returns
    -------
    str
        SVG path data in mm from the top left corner; empty without a streamline.

    """
    if not len(lines):
        return ""
    chosen = np.unique(np.linspace(0, len(lines) - 1, min(most, len(lines))).round().astype(int))
    return "".join(_path(_thinned(lines[number], step_mm), plane) for number in chosen)


def _thinned(line: NDArray[np.floating], step_mm: float) -> NDArray[np.floating]:
    """Keep points of a streamline about a step apart, and both ends."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    wanted = np.arange(0.0, along[-1], step_mm)
    kept = np.unique([*np.searchsorted(along, wanted), len(line) - 1])
    return np.asarray(line[kept])


def _path(line: NDArray[np.floating], plane: Plane) -> str:
    _, right, up = plane.axes
    half = plane.extent_mm / 2.0
    x = line[:, right] - plane.centre_mm[right] + half
    y = plane.centre_mm[up] + half - line[:, up]
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
