"""Charts of a group: courses, volume by outcome, effects with intervals, who was seen, agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from mripipe.core.reliability import BlandAltman
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

_TOP: Final = 40.0
_BOTTOM: Final = 330.0
_HEIGHT: Final = 386.0

_FAR_FROM_ZERO: Final = 0.4
"""Share of the highest value that the lowest must exceed for the axis not to begin at 0."""

MRS_COLOURS: Final = ("#08306b", "#2171b5", "#6baed6", "#c6dbef", "#fdd0a2", "#f16913", "#3f3f46")
"""mRS 0 to 6: blue to orange, told apart by lightness too; death is dark grey."""


@dataclass(frozen=True)
class Course:
    """One participant's values over time."""

    name: str
    months: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class EffectLine:
    """One row of a forest plot."""

    label: str
    detail: str
    """Numbers in words, written at the right."""
    estimate: float | None
    lower: float | None
    upper: float | None
    planned: bool
    why: str = ""
    """Why there is no estimate."""


def spaghetti(courses: Sequence[Course], *, label: str, fit: tuple[float, float] | None) -> str:
    """Plot every participant's course, and the model's mean course over it.

    Parameters
    ----------
    courses : sequence of Course
        At least one with a value.
    label : str
        Variable with its unit.
    fit : (float, float) or None
        Intercept and change a month of the mean course; None where no model could be fitted.

    """
    months = [m for course in courses for m in course.months]
    values = [v for course in courses for v in course.values]
    x_ticks, y_ticks = round_ticks(min(months), max(months)), round_ticks(_floor(values), max(values))
    x, y = Scale(x_ticks[0], x_ticks[-1], LEFT, RIGHT), Scale(y_ticks[0], y_ticks[-1], _BOTTOM, _TOP)
    root = start_chart(WIDTH, _HEIGHT, f"{label} over months, {len(courses)} participants")
    draw_axes(
        root, x, y, x_ticks=[(t, f"{t:g}") for t in x_ticks], y_ticks=[(t, f"{t:g}") for t in y_ticks],
        x_label="Months", y_label=label,
    )  # fmt: skip
    # The more lines there are, the fainter each, so that where they run together is seen.
    faint = min(0.9, max(0.3, 12 / len(courses)))
    for course in courses:
        points = [(x(m), y(v)) for m, v in zip(course.months, course.values, strict=True)]
        path(root, points, stroke=BLUE, width=1.2, opacity=faint)
        for cx, cy in points:
            dot(root, cx, cy, fill=BLUE, radius=2.2, opacity=faint, title=course.name)
    if fit is not None:
        ends = [(x(m), y(fit[0] + fit[1] * m)) for m in (min(months), max(months))]
        path(root, ends, stroke="#fff", width=6)
        path(root, ends, stroke=ORANGE, width=3)
        words(root, "mean course of the model", RIGHT, _TOP - 16, anchor="end", fill=ORANGE, bold=True)
    return finish(root)


def by_score(values: Mapping[int, Sequence[float]], *, label: str, score: str) -> str:
    """Plot a variable by an ordered score: every participant a dot, medians and quartiles as bars.

    Parameters
    ----------
    values : mapping of int to sequence of float
        Score to the participants' values; all scores from the lowest to the highest have a place.
    label : str
        Variable with its unit.
    score : str
        Name of the score.

    """
    everything = [v for group in values.values() for v in group]
    low, high = min(values), max(values)
    y_ticks = round_ticks(_floor(everything), max(everything))
    x, y = Scale(low - 0.6, high + 0.6, LEFT, RIGHT), Scale(y_ticks[0], y_ticks[-1], _BOTTOM, _TOP)
    root = start_chart(WIDTH, _HEIGHT, f"{label} by {score}, {len(everything)} participants")
    ticks = [(float(s), f"{s} (n = {len(values.get(s, ()))})") for s in range(low, high + 1)]
    draw_axes(
        root, x, y, x_ticks=ticks, y_ticks=[(t, f"{t:g}") for t in y_ticks], x_label=score, y_label=label
    )
    for level, group in sorted(values.items()):
        for order, value in enumerate(sorted(group)):
            # A steady zigzag in order of size parts the dots without chance.
            offset = ((order * 7) % 11 - 5) / 5 * 0.22
            dot(root, x(level + offset), y(value), fill=BLUE, radius=3.2, opacity=0.55)
        if len(group) >= 3:
            quarters = [_quantile(sorted(group), share) for share in (0.25, 0.5, 0.75)]
            line(
                root, x(level + 0.36), y(quarters[0]), x(level + 0.36), y(quarters[2]), stroke=INK, width=1.5
            )
            line(root, x(level - 0.3), y(quarters[1]), x(level + 0.4), y(quarters[1]), stroke=INK, width=2.5)
    return finish(root)


def forest(rows: Sequence[EffectLine], *, axis: str, ratio: bool) -> str:
    """Plot estimates with 95 % intervals; filled marks are planned, hollow ones exploratory.

    Parameters
    ----------
    rows : sequence of EffectLine
        At least one with an estimate.
    axis : str
        What the axis is.
    ratio : bool
        Whether the estimates are ratios: logarithmic axis, no effect at 1.

    """
    ends = [v for row in rows for v in (row.estimate, row.lower, row.upper) if v is not None]
    none = 1.0 if ratio else 0.0
    if ratio:
        choices = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
        low, high = max(min(*ends, 0.5), 0.01), min(max(*ends, 2.0), 100.0)
        ticks = [t for t in choices if low / 2.5 <= t <= high * 2.5]
    else:
        ticks = round_ticks(min(*ends, 0.0), max(*ends, 0.0))
    top, step, left = 30.0, 26.0, 300.0
    bottom = top + step * len(rows) + 6
    x = Scale(ticks[0], ticks[-1], left, 640, logarithmic=ratio)
    root = start_chart(920, bottom + 52, f"{axis}; {len(rows)} analyses with 95 % intervals")
    for tick in ticks:
        line(root, x(tick), top - 8, x(tick), bottom)
        words(root, f"{tick:g}", x(tick), bottom + 18, anchor="middle")
    line(root, x(none), top - 8, x(none), bottom, stroke=BASE)
    words(root, axis, (left + 640) / 2, bottom + 40, anchor="middle", fill=INK)
    for number, row in enumerate(rows):
        _forest_row(root, row, x, top + step * (number + 0.5))
    return finish(root)


def _forest_row(root: ET.Element, row: EffectLine, x: Scale, cy: float) -> None:
    words(root, row.label, 288, cy + 4.5, anchor="end", fill=INK)
    if row.estimate is None or row.lower is None or row.upper is None:
        words(root, row.why or "no estimate", 654, cy + 4.5, fill=SOFT)
        return
    line(root, x(row.lower), cy, x(row.upper), cy, stroke=INK, width=1.6)
    element(
        root, "rect", x=f"{x(row.estimate) - 4.5:.1f}", y=f"{cy - 4.5:.1f}", width="9", height="9",
        fill=BLUE if row.planned else "#fff", stroke=BLUE, stroke_width="1.6",
    )  # fmt: skip
    words(root, row.detail, 654, cy + 4.5, fill=SOFT)


def visit_chart(states: Mapping[str, Mapping[str, str]], windows: Sequence[str]) -> str:
    """Draw who was seen at which window: a column a participant, a row a window.

    Parameters
    ----------
    states : mapping
        Participant to window to ``both``, ``scan``, ``score``, ``none`` or ``died``.
    windows : sequence of str
        Rows, in time order.

    """
    fills = {"both": BLUE, "scan": SKY, "score": "#e69f00", "none": "#fff", "died": "#3f3f46"}
    meaning = {
        "both": "scan and mRS", "scan": "scan only", "score": "mRS only", "none": "neither", "died": "died",
    }  # fmt: skip
    people = sorted(states, key=lambda who: [states[who].get(w, "none") != "both" for w in reversed(windows)])
    left, top, row = 92.0, 44.0, 26.0
    cell = min(max(760.0 / max(len(people), 1), 1.0), 22.0)
    width, bottom = max(left + cell * len(people) + 20, 900.0), top + row * len(windows)
    root = start_chart(width, bottom + 40, f"Visits of {len(people)} participants")
    for number, window in enumerate(windows):
        words(root, window, left - 10, top + row * number + 17, anchor="end", fill=INK)
        for column, who in enumerate(people):
            state = states[who].get(window, "none")
            made = element(
                root, "rect", x=f"{left + cell * column:.2f}", y=f"{top + row * number:.1f}",
                width=f"{max(cell - (1 if cell > 4 else 0), 0.5):.2f}", height=f"{row - 3:.1f}",
                fill=fills[state], stroke=GREY if state == "none" and cell > 4 else "none",
                stroke_width="0.7",
            )  # fmt: skip
            element(made, "title", f"{who}, {window}: {meaning[state]}")
    words(root, f"Participants, n = {len(people)}, most complete first", left, bottom + 24, fill=INK)
    at = left
    for state, text in meaning.items():
        element(
            root, "rect", x=f"{at:.1f}", y="14", width="12", height="12", fill=fills[state], stroke=GREY,
            stroke_width="0.7",
        )  # fmt: skip
        words(root, text, at + 18, 24.5)
        at += 34 + 7.2 * len(text)
    return finish(root)


def score_bars(counts: Mapping[str, Sequence[int]], *, score: str) -> str:
    """Draw the distribution of the mRS at each window as stacked bars of percent.

    Parameters
    ----------
    counts : mapping of str to sequence of int
        Window to participants with a score of 0, 1, ... 6.
    score : str
        Name of the score.

    """
    left, right, top, row = 100.0, 650.0, 40.0, 44.0
    bottom = top + row * len(counts)
    x = Scale(0, 100, left, right)
    root = start_chart(WIDTH, bottom + 52, f"{score} at {len(counts)} windows")
    for tick in range(0, 101, 20):
        line(root, x(tick), top - 6, x(tick), bottom)
        words(root, f"{tick}", x(tick), bottom + 18, anchor="middle")
    words(root, "Participants with a score, %", (left + right) / 2, bottom + 40, anchor="middle", fill=INK)
    for number, (window, levels) in enumerate(counts.items()):
        y, total, done = top + row * number, sum(levels), 0
        words(root, window, left - 10, y + 16, anchor="end", fill=INK)
        words(root, f"n = {total}", left - 10, y + 32, anchor="end", size=11)
        for level, count in enumerate(levels):
            start, end = x(100 * done / total), x(100 * (done + count) / total)
            done += count
            if not count:
                continue
            element(
                root, "rect", x=f"{start:.1f}", y=f"{y:.1f}", width=f"{end - start:.1f}", height="34",
                fill=MRS_COLOURS[level], stroke="#fff",
            )  # fmt: skip
            if end - start > 14:
                light = level in (2, 3, 4, 5)
                words(
                    root,
                    str(level),
                    (start + end) / 2,
                    y + 22,
                    anchor="middle",
                    fill=INK if light else "#fff",
                )
    words(root, f"{score}: 0 (no symptoms) to 6 (dead)", left, top - 18, fill=INK)
    return finish(root)


def bland_altman_plot(pairs: Sequence[tuple[float, float]], limits: BlandAltman, *, label: str) -> str:
    """Plot the difference of two measurements against their mean, with bias and limits of agreement.

    Parameters
    ----------
    pairs : sequence of (float, float)
        First and second measurement of each visit.
    limits : BlandAltman
        Of first minus second.
    label : str
        What was measured, and by whom.

    """
    means = [(a + b) / 2 for a, b in pairs]
    gaps = [a - b for a, b in pairs]
    x_ticks = round_ticks(min(means), max(means))
    y_ticks = round_ticks(min(*gaps, limits.lower, 0.0), max(*gaps, limits.upper, 0.0))
    x, y = Scale(x_ticks[0], x_ticks[-1], LEFT, RIGHT - 90), Scale(y_ticks[0], y_ticks[-1], _BOTTOM, _TOP)
    root = start_chart(WIDTH, _HEIGHT, f"Bland-Altman plot, {label}")
    draw_axes(
        root, x, y, x_ticks=[(t, f"{t:g}") for t in x_ticks], y_ticks=[(t, f"{t:g}") for t in y_ticks],
        x_label="Mean of both", y_label=f"Difference, {label}",
    )  # fmt: skip
    for value, text, colour in (
        (limits.upper, "+1.96 SD", ORANGE),
        (limits.bias, "bias", GREEN),
        (limits.lower, "-1.96 SD", ORANGE),
    ):
        line(root, x.start, y(value), x.end, y(value), stroke=colour, width=1.8)
        shown = f"{text.replace('-', chr(0x2212))} {value:.3g}".replace(" -", f" {chr(0x2212)}")
        words(root, shown, x.end + 8, y(value) + 4.5, fill=colour)
    for mean, gap in zip(means, gaps, strict=True):
        dot(root, x(mean), y(gap), fill=BLUE, opacity=0.7)
    return finish(root)


def _floor(values: Sequence[float]) -> float:
    """Return where an axis begins: at 0, unless everything lies far above it."""
    low, high = min(values), max(values)
    return low if low > _FAR_FROM_ZERO * high else min(0.0, low)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values, linear between neighbours."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
