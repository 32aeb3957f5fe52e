"""A plain chart: two axes with units, and marks drawn by those who use it. The SVG needs no style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from matplotlib.ticker import MaxNLocator

from mripipe.figures.svg import element, serialise

INK: Final = "#1c2128"
SOFT: Final = "#57606a"
GRID: Final = "#e7eaed"
BASE: Final = "#6e7781"

BLUE: Final = "#0072b2"
ORANGE: Final = "#d55e00"
GREEN: Final = "#009e73"
SKY: Final = "#56b4e9"
GREY: Final = "#9aa4ae"
"""Colours that people with any colour vision can tell apart (Okabe & Ito)."""

WIDTH: Final = 680.0
"""Of a chart that fills a report's column, drawing units."""
LEFT: Final = 62.0
RIGHT: Final = 650.0
"""Where its x axis begins and ends."""
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', Arial, sans-serif"


@dataclass(frozen=True)
class Scale:
    """Map from data to drawing units, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value; one outside the scale is put at its end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def round_ticks(low: float, high: float, *, count: int = 6) -> list[float]:
    """Choose round numbers that enclose low to high."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return [float(t) for t in MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]


def start_chart(width: float, height: float, description: str) -> ET.Element:
    """Make the SVG's root, with a description for those who cannot see it."""
    root = element(
        None, "svg", viewBox=f"0 0 {width:g} {height:g}", width=f"{width:g}", height=f"{height:g}",
        role="img", aria_label=description, class_="chart", xmlns="http://www.w3.org/2000/svg",
        font_family=FONT, font_size="13",
    )  # fmt: skip
    element(root, "title", description)
    element(root, "rect", width=f"{width:g}", height=f"{height:g}", fill="#fff")
    return root


def words(
    root: ET.Element,
    text: str,
    x: float,
    y: float,
    *,
    anchor: str = "start",
    fill: str = SOFT,
    size: float = 13,
    bold: bool = False,
) -> None:
    """Write text."""
    style = {"font_weight": "600"} if bold else {}
    element(
        root, "text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, fill=fill, font_size=f"{size:g}",
        **style,
    )  # fmt: skip


def line(
    root: ET.Element, x1: float, y1: float, x2: float, y2: float, *, stroke: str = GRID, width: float = 1
) -> None:
    """Draw a straight line."""
    element(
        root, "line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", stroke=stroke,
        stroke_width=f"{width:g}",
    )  # fmt: skip


def path(
    root: ET.Element,
    points: Sequence[tuple[float, float]],
    *,
    stroke: str,
    width: float,
    opacity: float = 1,
    dashes: str = "",
) -> None:
    """Draw a line through points."""
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    style = {"stroke_dasharray": dashes} if dashes else {}
    element(
        root, "polyline", points=text, fill="none", stroke=stroke, stroke_width=f"{width:g}",
        stroke_opacity=f"{opacity:g}", stroke_linejoin="round", **style,
    )  # fmt: skip


def dot(
    root: ET.Element,
    x: float,
    y: float,
    *,
    fill: str,
    radius: float = 3.5,
    opacity: float = 1,
    title: str = "",
) -> None:
    """Draw a dot; its title shows where the pointer rests on it."""
    made = element(
        root, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:g}", fill=fill, fill_opacity=f"{opacity:g}"
    )
    if title:
        element(made, "title", title)


def draw_axes(
    root: ET.Element,
    x: Scale,
    y: Scale,
    *,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    x_label: str,
    y_label: str,
) -> None:
    """Draw hairlines with their values, the horizontal axis, and both labels with units."""
    left, right, bottom, top = x.start, x.end, y.start, y.end
    words(root, y_label, left - 44, top - 16, fill=INK)
    for value, text in y_ticks:
        line(root, left, y(value), right, y(value))
        words(root, text, left - 10, y(value) + 4.5, anchor="end")
    line(root, left, bottom, right, bottom, stroke=BASE)
    for value, text in x_ticks:
        line(root, x(value), bottom, x(value), bottom + 5, stroke=BASE)
        words(root, text, x(value), bottom + 20, anchor="middle")
    words(root, x_label, (left + right) / 2, bottom + 42, anchor="middle", fill=INK)


def finish(root: ET.Element) -> str:
    """Return the chart as SVG text."""
    return serialise(root)
