"""Charts of a group: what is drawn stands where its number is, nothing is cut off, text is escaped."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from mripipe.core.grid import Volume
from mripipe.core.reliability import BlandAltman
from mripipe.figures.chart import Scale
from mripipe.figures.cohort import (
    Course,
    EffectLine,
    bland_altman_plot,
    by_score,
    forest,
    score_bars,
    spaghetti,
    visit_chart,
)
from mripipe.figures.incidence import incidence_map, incidence_planes

SVG = "{http://www.w3.org/2000/svg}"


def parts(svg, tag):
    return list(ET.fromstring(svg).iter(SVG + tag))


def texts(svg):
    return [item.text for item in parts(svg, "text")]


def inside(svg):
    """Say whether every mark lies on the canvas."""
    width, height = (float(n) for n in ET.fromstring(svg).get("viewBox").split()[2:])
    places = [(float(c.get("cx")), float(c.get("cy"))) for c in parts(svg, "circle")]
    places += [
        (float(x), float(y))
        for p in parts(svg, "polyline")
        for x, y in (q.split(",") for q in p.get("points").split())
    ]
    return all(0 <= x <= width and 0 <= y <= height for x, y in places)


def test_a_course_is_drawn_in_scale():
    svg = spaghetti([Course("sub-1", [0.0, 10.0], [0.0, 100.0])], label="Volume, mL", fit=(50.0, 0.0))
    (x0, y0), (x1, y1) = [(float(c.get("cx")), float(c.get("cy"))) for c in parts(svg, "circle")]
    assert x0 < x1
    assert y0 > y1
    mean = parts(svg, "polyline")[-1].get("points").split()
    assert {round(float(p.split(",")[1]) - (y0 + y1) / 2, 1) for p in mean} == {0.0}
    assert "Volume, mL" in texts(svg)
    assert "Months" in texts(svg)
    assert inside(svg)


def test_an_axis_far_above_zero_does_not_begin_there():
    ratio = spaghetti([Course("a", [0, 1], [0.8, 0.9])], label="r", fit=None)
    volume = spaghetti([Course("a", [0, 1], [10.0, 90.0])], label="v", fit=None)
    assert "0" not in [t for t in texts(ratio) if t][1:4]
    ticks = {item.text: float(item.get("y")) for item in parts(volume, "text")}
    assert ticks["100"] < ticks["0"]


def test_scores_that_nobody_has_keep_their_place():
    svg = by_score({0: [10.0], 1: [], 2: [20.0, 30.0, 40.0]}, label="Volume, mL", score="mRS")
    assert "1 (n = 0)" in texts(svg)
    assert "2 (n = 3)" in texts(svg)
    assert len(parts(svg, "circle")) == 4
    assert inside(svg)


def test_no_effect_is_at_one_for_ratios_and_at_zero_else():
    rows = [
        EffectLine("a", "n", 1.0, 0.5, 2.0, planned=True),
        EffectLine("b", "n", None, None, None, planned=False, why="separation"),
    ]
    svg = forest(rows, axis="OR", ratio=True)
    mark = next(r for r in parts(svg, "rect") if r.get("stroke-width"))
    centre = float(mark.get("x")) + 4.5
    base = next(item for item in parts(svg, "line") if item.get("stroke") == "#6e7781")
    assert float(base.get("x1")) == pytest.approx(centre, abs=0.11)
    assert "separation" in texts(svg)
    plain = forest([EffectLine("a", "n", 0.0, -1.0, 1.0, planned=True)], axis="r", ratio=False)
    assert "OR" in texts(svg)
    assert "0" in texts(plain)


def test_planned_and_exploratory_look_different():
    rows = [
        EffectLine(name, "", 0.1, 0.0, 0.2, planned=planned) for name, planned in (("a", True), ("b", False))
    ]
    fills = [
        r.get("fill") for r in parts(forest(rows, axis="r", ratio=False), "rect") if r.get("stroke-width")
    ]
    assert len(set(fills)) == 2


def test_a_logarithmic_scale_is_even_in_ratios():
    scale = Scale(0.1, 10, 0, 100, logarithmic=True)
    assert scale(1) == pytest.approx(50)
    assert scale(math.sqrt(10)) == pytest.approx(75)
    assert scale(1e9) == 100


def test_every_participant_has_a_box_at_every_window():
    states = {f"sub-{k}": {"day0": "both", "day90": "died" if k == 3 else "scan"} for k in range(5)}
    svg = visit_chart(states, ["day0", "day90"])
    titles = [t.text for r in parts(svg, "rect") for t in r.iter(SVG + "title")]
    assert len(titles) == 10
    assert "sub-3, day90: died" in titles


def test_bars_are_shares_of_those_with_a_score():
    svg = score_bars({"day90": [1, 0, 0, 2, 0, 0, 1]}, score="mRS")
    widths = [float(r.get("width")) for r in parts(svg, "rect") if r.get("height") == "34"]
    assert widths == pytest.approx([137.5, 275.0, 137.5])
    assert "n = 4" in texts(svg)


def test_limits_of_agreement_are_drawn_where_they_are():
    svg = bland_altman_plot([(10.0, 8.0), (20.0, 22.0)], BlandAltman(0.0, -5.0, 5.0, 2.55), label="mL")
    heights = {text: float(t.get("y")) for t in parts(svg, "text") if (text := t.text)}
    assert heights["+1.96 SD 5"] < heights["bias 0"] < heights["\u22121.96 SD \u22125"]
    assert inside(svg)


def test_text_is_escaped():
    assert "<b>" not in spaghetti([Course("<b>", [0, 1], [1, 2])], label="<b>", fit=None)


AFFINE = np.array([[4.0, 0, 0, -80], [0, 4, 0, -100], [0, 0, 4, -60], [0, 0, 0, 1]])
SHAPE = (41, 51, 41)


def test_the_map_puts_left_on_the_left():
    counts = np.zeros(SHAPE, np.float32)
    counts[5:12, 20:30, 15:30] = 7
    template = Volume(np.ones(SHAPE, np.float32), AFFINE)
    planes = incidence_planes(template, low_mm=0, high_mm=40, count=3)
    svg = incidence_map(Volume(counts, AFFINE), template, planes, n=10)
    assert "7 of 10 (70 %)" in texts(svg)
    assert [t for t in texts(svg) if t in ("L", "R")] == ["L", "R"]
    assert len(parts(svg, "image")) == 3 + 1
    picture = decoded(parts(svg, "image")[1])
    colour = picture.max(axis=2).astype(int) - picture.min(axis=2)
    columns = np.argwhere(colour > 60)[:, 1]
    assert len(columns)
    assert columns.max() < picture.shape[1] / 2


def decoded(image):
    import base64
    import io

    from PIL import Image

    raw = base64.b64decode(image.get("href").partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))
