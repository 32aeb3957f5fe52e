"""Head motion over the volumes of a series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mripipe.figures.chart import (
    BASE,
    BLUE,
    GREEN,
    INK,
    ORANGE,
    WIDTH,
    Scale,
    finish,
    line,
    path,
    round_ticks,
    start_chart,
    words,
)
from mripipe.figures.svg import element

_COLOURS: Final = (BLUE, ORANGE, GREEN)
_AXES: Final = ("x, left-right", "y, front-back", "z, up-down")
_LEAST: Final = 0.5
"""mm or degrees at the end of the axis at least: a still head must not look restless."""


def motion_chart(motion: Sequence[Sequence[float]], odd: Sequence[int] = ()) -> str:
    """Plot shift and turn of every volume against the first.

    Parameters
    ----------
    motion : sequence
        Of every volume: shift along x, y, z in mm, turn about x, y, z in degrees.
    odd : sequence of int
        Volumes with slices that fell out, marked on the axis.

    """
    root = start_chart(WIDTH, 236.0, f"Head motion over {len(motion)} volumes")
    for first, label, left, right in ((0, "Shift, mm", 62.0, 336.0), (3, "Turn, degrees", 392.0, 666.0)):
        columns = [[row[first + axis] for row in motion] for axis in range(3)]
        reach = max(_LEAST, *(abs(value) for column in columns for value in column))
        ticks = round_ticks(-reach, reach, count=4)
        x = Scale(0.0, max(len(motion) - 1.0, 1.0), left, right)
        y = Scale(ticks[0], ticks[-1], 182.0, 56.0)
        words(root, label, left - 36, 40.0, fill=INK)
        for tick in ticks:
            line(root, left, y(tick), right, y(tick), stroke=BASE if tick == 0 else "#e7eaed")
            words(root, f"{tick:g}".replace("-", "\u2212"), left - 8, y(tick) + 4.5, anchor="end")
        for place in sorted({0, (len(motion) - 1) // 2, len(motion) - 1}):
            words(root, str(place), x(place), 200.0, anchor="middle")
        words(root, "Volume", (left + right) / 2, 222.0, anchor="middle", fill=INK)
        for column, colour in zip(columns, _COLOURS, strict=True):
            path(root, [(x(k), y(value)) for k, value in enumerate(column)], stroke=colour, width=1.8)
        for volume in odd:
            mark = f"M{x(volume) - 4:.1f} 184l8 0l-4 -7z"
            made = element(root, "path", d=mark, fill=INK)
            element(made, "title", f"volume {volume}: slices that fell out")
    at = 62.0
    for name, colour in zip(_AXES, _COLOURS, strict=True):
        path(root, [(at, 14.0), (at + 18, 14.0)], stroke=colour, width=2.4)
        words(root, name, at + 24, 18.5)
        at += 40 + 7.2 * len(name)
    if odd:
        element(root, "path", d=f"M{at} 18l8 0l-4 -7z", fill=INK)
        words(root, "slices fell out", at + 14, 18.5)
    return finish(root)
