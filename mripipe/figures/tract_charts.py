"""Charts of tracts: anisotropy along a tract at every visit, and the ratio of the sides over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final
from xml.etree import ElementTree as ET

from matplotlib import colormaps
from matplotlib.colors import to_hex

from mripipe.figures.chart import (
    BASE,
    BLUE,
    GREEN,
    GREY,
    INK,
    LEFT,
    ORANGE,
    RIGHT,
    SKY,
    SOFT,
    WIDTH,
    Scale,
    dot,
    draw_axes,
    finish,
    line,
    path,
    round_ticks,
    start_chart,
    words,
)
from mripipe.figures.svg import element

_LETTER: Final = 7.2
"""Generous width of a letter in the charts' type, drawing units."""

_LINE_COLOURS: Final = (INK, BLUE, ORANGE, GREEN, SKY)

_LATEST: Final = 0.82
"""Where on the scale of colours the last visit lies: beyond, yellow is lost on white."""

_LESION_ROW: Final = 6.0


@dataclass(frozen=True)
class ProfileLine:
    """One visit's values along a tract, from its first end to the other in equal steps."""

    visit: str
    near: Sequence[float | None]
    """Side of the lesion; None where the lesion leaves nothing."""
    far: Sequence[float | None]
    lesion: Sequence[bool]
    """Where the tract of the lesion's side is lesion."""


@dataclass(frozen=True)
class RatioLine:
    """One segment's ratio at every visit."""

    name: str
    values: Sequence[float | None]


def visit_colours(count: int) -> list[str]:
    """Return a colour for each visit, dark first, light last, told apart with any colour vision."""
    shades = colormaps["viridis"]
    return [to_hex(shades(_LATEST * number / max(count - 1, 1))) for number in range(count)]


def profile_chart(
    lines: Sequence[ProfileLine],
    *,
    title: str,
    sides: tuple[str, str],
    parts: Sequence[tuple[str, float]] = (),
    ends: tuple[str, str] = ("", ""),
) -> str:
    """Plot FA along a tract: a colour a visit, one side drawn through, the other dashed.

    Parameters
    ----------
    lines : sequence of ProfileLine
        In visit order, one or more.
    title : str
        What is shown, for those who cannot see it.
    sides : (str, str)
        What the near and the far side are called.
    parts : sequence of (str, float)
        Name of each part of the tract and where it begins, 0 to 1.
    ends : (str, str)
        Names of the ends at 0 and at 1.

    """
    values = [v for row in lines for side in (row.near, row.far) for v in side if v is not None]
    ticks = round_ticks(0.0, max(values, default=0.8), count=5)
    top, bottom = 64.0, 300.0
    x, y = Scale(0.0, 1.0, LEFT, RIGHT), Scale(ticks[0], ticks[-1], bottom, top)
    rows = _LESION_ROW * sum(any(row.lesion) for row in lines)
    root = start_chart(WIDTH, bottom + rows + 36, title)
    colours = visit_colours(len(lines))
    for tick in ticks:
        line(root, LEFT, y(tick), RIGHT, y(tick))
        words(root, f"{tick:g}", LEFT - 10, y(tick) + 4.5, anchor="end")
    _draw_parts(root, parts, x, top, bottom)
    for row, colour in zip(lines, colours, strict=True):
        _draw_values(root, row.far, x, y, stroke=colour, width=1.4, dashes="5 4")
    for row, colour in zip(lines, colours, strict=True):
        _draw_values(root, row.near, x, y, stroke=colour, width=2.4)
    words(root, "FA", LEFT - 44, top - 14, fill=INK)
    line(root, LEFT, bottom, RIGHT, bottom, stroke=BASE)
    below = _draw_lesions(root, lines, colours, x, bottom)
    words(root, ends[0], LEFT, below + 20)
    words(root, ends[1], RIGHT, below + 20, anchor="end")
    words(root, "Along the tract", (LEFT + RIGHT) / 2, below + 20, anchor="middle", fill=INK)
    _draw_key(root, [row.visit for row in lines], colours, sides)
    return finish(root)


def ratio_chart(
    lines: Sequence[RatioLine], times: Sequence[float], *, x_label: str, y_label: str, names: Sequence[str]
) -> str:
    """Plot ratios of the sides over visits, 1 marked.

    Parameters
    ----------
    lines : sequence of RatioLine
        The first is drawn thicker.
    times : sequence of float
        Place of every visit on the axis.
    x_label, y_label : str
        What the axes are.
    names : sequence of str
        Visits, shown where the pointer rests.

    """
    values = [v for row in lines for v in row.values if v is not None]
    y_ticks = round_ticks(min([*values, 0.9]), max([*values, 1.0]), count=5)
    x_ticks = round_ticks(min(0.0, *times), max(times)) if len(set(times)) > 1 else [times[0]]
    top, bottom = 64.0, 300.0
    x = Scale(min(x_ticks[0], *times), max(x_ticks[-1], *times), LEFT, RIGHT)
    y = Scale(y_ticks[0], y_ticks[-1], bottom, top)
    root = start_chart(WIDTH, bottom + 56, f"{y_label} at {len(times)} visits")
    draw_axes(
        root, x, y, x_ticks=[(t, f"{t:g}") for t in x_ticks], y_ticks=[(t, f"{t:g}") for t in y_ticks],
        x_label=x_label, y_label="",
    )  # fmt: skip
    words(root, y_label, LEFT - 44, top - 14, fill=INK)
    line(root, LEFT, y(1.0), RIGHT, y(1.0), stroke=BASE, width=1.4)
    words(root, "sides alike", RIGHT, y(1.0) - 6, anchor="end", size=11.5)
    colours = [_LINE_COLOURS[number % len(_LINE_COLOURS)] for number in range(len(lines))]
    for number, row in reversed(list(enumerate(lines))):
        seen = [(x(t), y(v)) for t, v in zip(times, row.values, strict=True) if v is not None]
        path(root, seen, stroke=colours[number], width=2.6 if number == 0 else 1.6)
        for t, value, visit in zip(times, row.values, names, strict=True):
            if value is not None:
                shown = f"{row.name}, {visit}: {value:.3f}"
                radius = 4.5 if number == 0 else 3.5
                dot(root, x(t), y(value), fill=colours[number], radius=radius, title=shown)
    _draw_names(root, [row.name for row in lines], colours, LEFT, 22.0)
    return finish(root)


def _draw_values(
    root: ET.Element,
    values: Sequence[float | None],
    x: Scale,
    y: Scale,
    *,
    stroke: str,
    width: float,
    dashes: str = "",
) -> None:
    """Draw a line, broken where there is no value."""
    places = [((number + 0.5) / len(values), value) for number, value in enumerate(values)]
    for known, run in groupby(places, key=lambda place: place[1] is not None):
        if known:
            points = [(x(place), y(value)) for place, value in run if value is not None]
            path(root, points, stroke=stroke, width=width, dashes=dashes)


def _draw_parts(
    root: ET.Element, parts: Sequence[tuple[str, float]], x: Scale, top: float, bottom: float
) -> None:
    """Mark where parts of the tract begin, with their names at the top."""
    starts = [start for _, start in parts]
    for (name, start), end in zip(parts, [*starts[1:], 1.0], strict=False):
        if start > 0:
            line(root, x(start), top, x(start), bottom, stroke=GREY, width=0.8)
        middle = (x(start) + x(end)) / 2
        size = min(11.5, 11.5 * (x(end) - x(start)) / max(len(name) * 6.0, 1.0))
        words(root, name, middle, top - 4, anchor="middle", size=max(size, 9.0))


def _draw_lesions(
    root: ET.Element, lines: Sequence[ProfileLine], colours: Sequence[str], x: Scale, bottom: float
) -> float:
    """Draw a bar below the axis where a visit's tract is lesion; return where the bars end."""
    at = bottom + 3.0
    for row, colour in zip(lines, colours, strict=True):
        if not any(row.lesion):
            continue
        number = 0
        for hit, run in groupby(row.lesion):
            length = len(list(run))
            if hit:
                start, end = x(number / len(row.lesion)), x((number + length) / len(row.lesion))
                made = element(
                    root, "rect", x=f"{start:.1f}", y=f"{at:.1f}", width=f"{end - start:.1f}",
                    height=f"{_LESION_ROW - 1.5:g}", fill=colour,
                )  # fmt: skip
                element(made, "title", f"{row.visit}: lesion")
            number += length
        at += _LESION_ROW
    return at


def _draw_key(
    root: ET.Element, visits: Sequence[str], colours: Sequence[str], sides: tuple[str, str]
) -> None:
    end = _draw_names(root, visits, colours, LEFT, 22.0)
    at = max(end + 18.0, RIGHT - 40.0 - _LETTER * (len(sides[0]) + len(sides[1])) - 40.0)
    for name, width, dashes in ((sides[0], 2.4, ""), (sides[1], 1.4, "5 4")):
        path(root, [(at, 18.0), (at + 26, 18.0)], stroke=SOFT, width=width, dashes=dashes)
        words(root, name, at + 32, 22.0)
        at += 44 + _LETTER * len(name)


def _draw_names(
    root: ET.Element, names: Sequence[str], colours: Sequence[str], at: float, height: float
) -> float:
    """Write names with their colours in a row; return where it ends."""
    for name, colour in zip(names, colours, strict=True):
        element(
            root, "rect", x=f"{at:.1f}", y=f"{height - 8:.1f}", width="14", height="5", rx="1", fill=colour
        )
        words(root, name, at + 20, height, fill=INK)
        at += 34 + _LETTER * len(name)
    return at
