"""The growth plot is to scale, keeps unmeasured visits and says when time is missing."""

from xml.etree import ElementTree as ET

import pytest

from mripipe.figures.growth import GrowthPoint, growth_plot, uses_days

SVG = "{http://www.w3.org/2000/svg}"


def parse(points: list[GrowthPoint]) -> ET.Element:
    return ET.fromstring(growth_plot(points))


def texts(root: ET.Element, kind: str) -> list[str]:
    return [node.text for node in root.iter(f"{SVG}text") if node.get("class") == kind]


def circles(root: ET.Element) -> list[tuple[float, float]]:
    return [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")]


THREE = [
    GrowthPoint("ses-a", 45, 60.0, 55.0, 66.0),
    GrowthPoint("ses-b", 135, 40.0, 36.0, 44.0),
    GrowthPoint("ses-c", 405, 50.0, 45.0, 55.0),
]


def test_time_and_volume_are_to_scale():
    (xa, ya), (xb, yb), (xc, yc) = circles(parse(THREE))
    assert (xc - xb) / (xb - xa) == pytest.approx(270 / 90, rel=0.01)
    assert (yb - ya) / (yb - yc) == pytest.approx(20 / 10, rel=0.02)
    assert ya < yc < yb


def test_zero_is_the_base_and_the_axes_have_units():
    root = parse(THREE)
    ticks = {
        node.text: float(node.get("y")) for node in root.iter(f"{SVG}text") if node.get("class") == "tick"
    }
    assert "0" in ticks
    assert texts(root, "axis") == ["Infarct volume, mL", "Days from stroke onset"]
    assert texts(root, "value") == ["60.0", "40.0", "50.0"]


def test_interval_bar_spans_its_interval():
    root = parse(THREE)
    first = next(p.get("d") for p in root.iter(f"{SVG}path") if p.get("class") == "interval")
    top, bottom = (float(v) for v in first[first.index(" ") + 1 :].split("M")[0].split("V"))
    (_, y60), (_, y40), _ = circles(root)
    assert (bottom - top) / (y40 - y60) == pytest.approx(11 / 20, rel=0.02)


def test_missing_days_give_visits_in_order_and_say_so():
    points = [THREE[0], GrowthPoint("ses-b", None, 40.0), THREE[2]]
    root = parse(points)
    (xa, _), (xb, _), (xc, _) = circles(root)
    assert xb - xa == pytest.approx(xc - xb)
    assert "days from onset missing" in texts(root, "axis")[1]
    assert not uses_days(points)


def test_unmeasured_visit_keeps_its_place_without_a_point():
    root = parse([THREE[0], GrowthPoint("ses-b", 135, None), THREE[2]])
    assert len(circles(root)) == 2
    assert texts(root, "name") == ["ses-a", "ses-b: n/a", "ses-c"]
    assert "ses-b on day 135: not measured" in root.get("aria-label")


def test_expert_volumes_are_squares():
    root = parse([GrowthPoint("ses-a", 45, 60.0, manual=True), THREE[1]])
    assert len([r for r in root.iter(f"{SVG}rect") if r.get("class") == "manual"]) == 1
    assert len(circles(root)) == 1


@pytest.mark.parametrize("days", [45.0, None])
def test_single_visit_stands_in_the_middle(days):
    ((x, _),) = circles(parse([GrowthPoint("ses-a", days, 0.32)]))
    assert 300 < x < 420


def test_names_of_close_visits_do_not_touch():
    points = [GrowthPoint(f"ses-month{i}", 400.0 + i, 50.0) for i in range(4)]
    nodes = [n for n in parse([*THREE[:1], *points]).iter(f"{SVG}text") if n.get("class") == "name"]
    heights = [n.get("y") for n in nodes[1:]]
    assert len(set(heights)) == 4


def test_names_are_escaped_and_shortened():
    svg = growth_plot([GrowthPoint("<script>alert('a long name')", 1, 5.0)])
    assert "<script" not in svg
    assert "\u2026" in svg


def test_visits_on_one_day_and_a_zero_volume():
    assert len(circles(parse([GrowthPoint("ses-a", 45, 0.0), GrowthPoint("ses-b", 45, 0.0)]))) == 2


@pytest.mark.parametrize("top", [9.9, 59.5, 60.0, 99.0, 124.9, 250.0])
def test_a_value_is_written_below_the_axis_name_however_high_its_interval_reaches(top):
    root = parse([GrowthPoint("ses-a", 2, 0.8 * top, 0.7 * top, top), GrowthPoint("ses-b", 300, 0.5 * top)])
    heights = {
        kind: [float(n.get("y")) for n in root.iter(f"{SVG}text") if n.get("class") == kind]
        for kind in ("axis", "value")
    }
    # Letters are about 13 units high.
    assert min(heights["value"]) - 13 >= min(heights["axis"])
