"""Pictures of diffusion: colours and lines follow the world's axes, charts show what they were given."""

import base64
import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from mripipe.core.grid import Volume, voxel_to_world
from mripipe.figures.colour import colour_mosaic, direction_colours
from mripipe.figures.flicker import tissue_edges
from mripipe.figures.mosaic import Cut
from mripipe.figures.motion import motion_chart
from mripipe.figures.planes import Plane
from mripipe.figures.sticks import stick_panels, stick_planes
from mripipe.figures.tract_charts import ProfileLine, RatioLine, profile_chart, ratio_chart, visit_colours

LAS = np.array([[-2.0, 0, 0, 60], [0, 2, 0, -60], [0, 0, 4, -40], [0, 0, 0, 1]])
PSR = np.array([[0, 0, 2.0, -60], [-2, 0, 0, 60], [0, 2, 0, -40], [0, 0, 0, 1]])
SHAPES = {"LAS": (60, 60, 20), "PSR": (60, 40, 60)}
AFFINES = {"LAS": LAS, "PSR": PSR}
SVG = "{http://www.w3.org/2000/svg}"


def blocks(grid):
    """FA of 0.8 left of the midline and 0.4 right of it; diffusion left-right on the left, oblique right."""
    index = np.moveaxis(np.indices(SHAPES[grid]), 0, -1)
    x, y, z = np.moveaxis(voxel_to_world(index, AFFINES[grid]), -1, 0)
    inside = (np.abs(x) < 40) & (np.abs(y) < 40) & (np.abs(z) < 30)
    fa = np.where(inside, np.where(x < 0, 0.8, 0.4), 0.0).astype(np.float32)
    oblique = np.array([0.0, 0.6, 0.8])
    directions = np.where((x < 0)[..., None], np.array([1.0, 0, 0]), oblique)
    return Volume(fa, AFFINES[grid]), directions


def pixels(svg):
    data = re.search(r"base64,([^\"]+)", svg)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), float)


@pytest.mark.parametrize("grid", ["LAS", "PSR"])
def test_colours_follow_the_direction_on_its_side(grid):
    fa, directions = blocks(grid)
    plane = Plane("axial", 0.0, (0.0, 0.0, 0.0), 100.0, 1.0)
    (svg,) = colour_mosaic(direction_colours(fa, directions), [Cut(plane, {})], name="FA")
    shown = pixels(svg)
    left, right = shown[40:60, 20:40].mean(axis=(0, 1)), shown[40:60, 60:80].mean(axis=(0, 1))
    np.testing.assert_allclose(left, [255, 0, 0], atol=12)
    np.testing.assert_allclose(right, [0, 255 * 0.3, 255 * 0.4], atol=12)


@pytest.mark.parametrize("grid", ["LAS", "PSR"])
@pytest.mark.parametrize(
    ("orientation", "expected"), [("coronal", (0.0, -0.8)), ("sagittal", (0.6, -0.8)), ("axial", (0.0, -0.6))]
)
def test_lines_lie_along_the_direction_in_the_plane(grid, orientation, expected):
    fa, directions = blocks(grid)
    plane = Plane(orientation, 10.0, (20.0, 0.0, 0.0), 30.0, 1.0)
    (svg,) = stick_panels(fa, directions, [plane], name="directions")
    (path,) = [p.get("d") for p in ET.fromstring(svg).iter(f"{SVG}path")]
    steps = np.array([[float(a), float(b)] for a, b in re.findall(r"l(\S+) (-?[\d.]+)", path)])
    assert len(steps) == 15 * 15
    np.testing.assert_allclose(steps / (2.0 * 0.95), np.tile(expected, (len(steps), 1)), atol=0.05)


def test_lines_are_drawn_where_their_voxel_is():
    fa, directions = blocks("LAS")
    seed = fa.data.copy()
    seed[...] = 0.0
    seed[15, 40, 10] = 0.7
    # RAS mm of the voxel: (30, 20, 0).
    plane = Plane("axial", 0.0, (30.0, 20.0, 0.0), 20.0, 1.0)
    (svg,) = stick_panels(Volume(seed, LAS), directions, [plane], name="directions")
    (path,) = [p.get("d") for p in ET.fromstring(svg).iter(f"{SVG}path")]
    found = re.findall(r"M(\S+) ([\d.]+)l(\S+) (-?[\d.]+)", path)
    assert len(found) == 1
    x, y, dx, dy = (float(value) for value in found[0])
    assert (x + dx / 2, y + dy / 2) == (pytest.approx(10.0, abs=1.1), pytest.approx(10.0, abs=1.1))


def test_planes_go_through_the_white_matter_wherever_it_lies():
    fa, _ = blocks("PSR")
    axial, coronal, sagittal = stick_planes(fa)
    assert (axial.orientation, coronal.orientation, sagittal.orientation) == (
        "axial", "coronal", "sagittal",
    )  # fmt: skip
    assert abs(axial.position_mm) < 3
    empty = stick_planes(Volume(np.zeros((4, 4, 4), np.float32), LAS))
    assert [plane.position_mm for plane in empty] == [0.0, 0.0, 3.0]


@pytest.mark.parametrize("contrast", [lambda t: t, lambda t: 300 - t], ids=["dark fluid", "bright fluid"])
def test_fluid_is_outlined_whatever_its_contrast(contrast):
    index = np.moveaxis(np.indices((40, 40, 40)), 0, -1)
    radius = np.linalg.norm(index - 20, axis=-1)
    tissue = np.where(radius < 5, 40.0, np.where(radius < 12, 150.0, 200.0))
    noisy = contrast(tissue) + np.random.default_rng(4).normal(0, 5, tissue.shape)
    brain = Volume((radius < 17).astype(np.float32), np.eye(4))
    found = tissue_edges(Volume(noisy.astype(np.float32), np.eye(4)), brain).data > 0.5
    np.testing.assert_array_equal(found[(radius < 4)], False)
    assert found[(radius > 7) & (radius < 15)].mean() > 0.99


def test_an_image_without_classes_outlines_the_brain():
    brain = Volume(np.ones((5, 5, 5), np.float32), np.eye(4))
    assert tissue_edges(brain, brain) is brain


def lines_of(svg, stroke):
    root = ET.fromstring(svg)
    return [p for p in root.iter(f"{SVG}polyline") if p.get("stroke") == stroke]


def test_a_profile_breaks_where_nothing_is_left_and_marks_the_lesion():
    near = [0.5] * 40 + [None] * 20 + [0.6] * 40
    lesion = [False] * 38 + [True] * 24 + [False] * 38
    rows = [
        ProfileLine("ses-a", near, [0.6] * 100, lesion),
        ProfileLine("ses-b<", [0.4] * 100, [0.6] * 100, [False] * 100),
    ]
    svg = profile_chart(rows, title="FA", sides=("near", "far"), parts=[("pons", 0.0), ("capsule", 0.5)])
    first, second = visit_colours(2)
    mine = lines_of(svg, first)
    assert [bool(p.get("stroke-dasharray")) for p in mine] == [True, False, False]
    assert len(lines_of(svg, second)) == 2
    heights = [float(p.get("points").split()[0].split(",")[1]) for p in mine]
    assert heights[0] < heights[1]
    bars = [r for r in ET.fromstring(svg).iter(f"{SVG}rect") if r.find(f"{SVG}title") is not None]
    assert [bar.find(f"{SVG}title").text for bar in bars] == ["ses-a: lesion"]
    assert float(bars[0].get("width")) == pytest.approx(0.24 * (650 - 62), abs=0.2)
    assert "ses-b&lt;" in svg
    assert ">capsule<" in svg


def test_every_visit_has_its_own_colour():
    assert len(set(visit_colours(12))) == 12
    assert visit_colours(1) == visit_colours(5)[:1]


def test_ratios_are_shown_at_their_day_and_missing_ones_are_not():
    rows = [RatioLine("whole", [1.0, None, 0.5]), RatioLine("pons", [None, None, None])]
    svg = ratio_chart(rows, [0.0, 50.0, 100.0], x_label="Days", y_label="rFA", names=["a", "b", "c"])
    dots = list(ET.fromstring(svg).iter(f"{SVG}circle"))
    assert [d.find(f"{SVG}title").text for d in dots] == ["whole, a: 1.000", "whole, c: 0.500"]
    assert [float(d.get("cx")) for d in dots] == [pytest.approx(62.0), pytest.approx(650.0)]
    assert float(dots[0].get("cy")) < float(dots[1].get("cy"))
    assert ">sides alike<" in svg


def test_motion_is_drawn_to_scale_and_odd_volumes_are_marked():
    motion = [(0, 0, 0, 0, 0, 0), (0, 0, -2.0, 1.0, 0, 0), (0, 0, 2.0, 0, 0, 0)]
    svg = motion_chart(motion, odd=[1])
    drawn = [p for p in ET.fromstring(svg).iter(f"{SVG}polyline") if len(p.get("points").split()) == 3]
    up = [float(point.split(",")[1]) for point in drawn[2].get("points").split()]
    assert up[2] < up[0] < up[1]
    assert up[1] - up[0] == pytest.approx(up[0] - up[2])
    assert svg.count("volume 1: slices that fell out") == 2
    assert "fell out" not in motion_chart(motion)
