"""Lesion volume over time, with the interval of every measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from matplotlib.ticker import MaxNLocator

from mripipe.figures.svg import element, serialise

_WIDTH = 680.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 650.0, 34.0, 240.0

# Above the highest interval a value is written.
_HEADROOM = 1.12
# A visit's name: generous width of a letter, in drawing units, and letters shown at most.
_LETTER_WIDTH = 8.0
_NAME_LENGTH = 18


@dataclass(frozen=True)
class GrowthPoint:
    """One visit's lesion volume."""

    name: str
    """The visit, as it is written under the axis."""
    days: float | None
    """Days from stroke onset; None where it is not known."""
    volume_ml: float | None
    """None where nothing was measured: the visit keeps its place and is marked n/a."""
    lower_ml: float | None = None
    upper_ml: float | None = None
    manual: bool = False
    """Whether the volume comes from an expert's mask."""


def uses_days(points: Sequence[GrowthPoint]) -> bool:
    """Say whether the horizontal axis can be time: only if every visit's days are known."""
    return all(point.days is not None for point in points)


def growth_plot(points: Sequence[GrowthPoint]) -> str:
    """Plot volume in mL over days from onset, or over the visits' order where days are missing.

    Parameters
    ----------
    points : sequence of GrowthPoint
        In visit order, at least one.

    Returns
    -------
    str
        SVG text; filled circles are automatic, hollow squares expert volumes.

    """
    by_days = uses_days(points)
    times = [point.days if by_days and point.days is not None else i + 1.0 for i, point in enumerate(points)]
    x_ticks = _time_ticks(times) if by_days else [*range(1, len(points) + 1)]
    y_ticks = _ticks(0.0, _HEADROOM * max(_top_ml(points), 1e-3))
    x = _Scale(min(x_ticks[0], *times), max(x_ticks[-1], *times), _LEFT + 44, _RIGHT - 34)
    y = _Scale(0.0, y_ticks[-1], _BOTTOM, _TOP)
    root = element(
        None, "svg", role="img", class_="growth",
        aria_label=_description(points), xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip
    element(root, "title", _description(points))
    _draw_axes(root, [(y(t), f"{t:g}") for t in y_ticks], [(x(t), f"{t:g}") for t in x_ticks])
    axis = "Days from stroke onset" if by_days else "Visits in order (days from onset missing)"
    measured = [(x(t), point) for t, point in zip(times, points, strict=True) if point.volume_ml is not None]
    line = " ".join(f"{cx:.1f},{y(point.volume_ml or 0.0):.1f}" for cx, point in measured)
    element(root, "polyline", points=line, class_="trend")
    for cx, point in measured:
        _draw_point(root, cx, point, y)
    bottom = _draw_names(root, [x(t) for t in times], points)
    element(root, "text", axis, x=(_LEFT + _RIGHT) / 2, y=bottom + 24, text_anchor="middle", class_="axis")
    root.set("viewBox", f"0 0 {_WIDTH:g} {bottom + 34:g}")
    return serialise(root)


class _Scale:
    """Linear map from data to drawing units."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._start = low, start
        self._slope = (end - start) / (high - low) if high > low else 0.0
        # A single time has no extent: it goes to the middle.
        self._offset = 0.0 if high > low else (end - start) / 2

    def __call__(self, value: float) -> float:
        return self._start + self._offset + (value - self._low) * self._slope


def _ticks(low: float, high: float) -> list[float]:
    """Choose round numbers that enclose low to high."""
    return [float(t) for t in MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]


def _time_ticks(times: Sequence[float]) -> list[float]:
    """Choose round days; a single visit gets its own day alone."""
    return _ticks(min(0.0, *times), max(times)) if len(set(times)) > 1 else [times[0]]


def _top_ml(points: Sequence[GrowthPoint]) -> float:
    values = [v for p in points for v in (p.volume_ml, p.upper_ml) if v is not None and math.isfinite(v)]
    return max(values, default=0.0)


def _description(points: Sequence[GrowthPoint]) -> str:
    """Say in words what the plot shows."""
    parts = []
    for point in points:
        when = "" if point.days is None else f" on day {point.days:g}"
        what = "not measured" if point.volume_ml is None else f"{point.volume_ml:.1f} mL"
        if point.lower_ml is not None and point.upper_ml is not None:
            what += f" (interval {point.lower_ml:.1f} to {point.upper_ml:.1f})"
        parts.append(f"{point.name}{when}: {what}")
    return "Infarct volume by visit. " + "; ".join(parts)


def _draw_axes(
    root: ET.Element, y_ticks: Sequence[tuple[float, str]], x_ticks: Sequence[tuple[float, str]]
) -> None:
    """Draw horizontal hairlines with their volumes, and the time axis with its ticks."""
    element(root, "text", "Infarct volume, mL", x=_LEFT, y=_TOP - 16, class_="axis")
    for height, text in y_ticks:
        element(root, "line", x1=_LEFT, x2=_RIGHT, y1=f"{height:.1f}", y2=f"{height:.1f}", class_="grid")
        element(root, "text", text, x=_LEFT - 10, y=f"{height + 4.5:.1f}", text_anchor="end", class_="tick")
    element(root, "line", x1=_LEFT, x2=_RIGHT, y1=_BOTTOM, y2=_BOTTOM, class_="base")
    for place, text in x_ticks:
        element(root, "line", x1=f"{place:.1f}", x2=f"{place:.1f}", y1=_BOTTOM, y2=_BOTTOM + 5, class_="base")
        element(root, "text", text, x=f"{place:.1f}", y=_BOTTOM + 19, text_anchor="middle", class_="tick")


def _draw_point(root: ET.Element, cx: float, point: GrowthPoint, y: _Scale) -> None:
    """Draw one volume with its interval and its value."""
    volume = point.volume_ml or 0.0
    cy = y(volume)
    label_y = cy - 12
    if point.lower_ml is not None and point.upper_ml is not None:
        top, bottom = y(point.upper_ml), y(point.lower_ml)
        label_y = top - 8
        bar = f"M{cx:.1f} {top:.1f}V{bottom:.1f}M{cx - 5:.1f} {top:.1f}h10M{cx - 5:.1f} {bottom:.1f}h10"
        element(root, "path", d=bar, class_="interval")
    if point.manual:
        element(root, "rect", x=f"{cx - 5:.1f}", y=f"{cy - 5:.1f}", width=10, height=10, class_="manual")
    else:
        element(root, "circle", cx=f"{cx:.1f}", cy=f"{cy:.1f}", r=5.5, class_="auto")
    value = f"{volume:.1f}" if volume >= 1 else f"{volume:.2f}"
    element(root, "text", value, x=f"{cx:.1f}", y=f"{label_y:.1f}", text_anchor="middle", class_="value")


def _draw_names(root: ET.Element, places: Sequence[float], points: Sequence[GrowthPoint]) -> float:
    """Write the visits' names under the axis, on as many lines as they need not to touch; return the last."""
    line_ends: list[float] = []
    lowest = _BOTTOM
    for place, point in zip(places, points, strict=True):
        name = point.name if len(point.name) <= _NAME_LENGTH else point.name[: _NAME_LENGTH - 1] + "\u2026"
        text = name if point.volume_ml is not None else f"{name}: n/a"
        half = len(text) * _LETTER_WIDTH / 2
        line = next((i for i, end in enumerate(line_ends) if place - half > end), len(line_ends))
        line_ends[line : line + 1] = [place + half]
        height = _BOTTOM + 38 + 17 * line
        lowest = max(lowest, height)
        element(root, "text", text, x=f"{place:.1f}", y=height, text_anchor="middle", class_="name")
    return lowest
