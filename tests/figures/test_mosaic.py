"""Each picture carries its outlines, its position and its sides."""

import base64
import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from mripipe.core.grid import Volume, voxel_to_world
from mripipe.figures.flicker import add_outlines, template_outlines
from mripipe.figures.mosaic import cut_outlines, mosaic
from mripipe.figures.planes import Plane

LAS = np.array([[-2.0, 0, 0, 60], [0, 2, 0, -60], [0, 0, 4, -40], [0, 0, 0, 1]])
PSR = np.array([[0, 0, 2.0, -60], [-2, 0, 0, 60], [0, 2, 0, -60], [0, 0, 0, 1]])
SHAPES = {"LAS": (60, 60, 20), "PSR": (60, 60, 60)}
AFFINES = {"LAS": LAS, "PSR": PSR}
SVG = "{http://www.w3.org/2000/svg}"


def sphere(grid: str, centre_mm, radius_mm: float) -> Volume:
    index = np.moveaxis(np.indices(SHAPES[grid]), 0, -1)
    distance = np.linalg.norm(voxel_to_world(index, AFFINES[grid]) - centre_mm, axis=-1)
    return Volume((distance < radius_mm).astype(np.float32), AFFINES[grid])


def draw(grid: str, plane: Plane, name: str = "T1w") -> ET.Element:
    brain = sphere(grid, (0, 0, 0), 35)
    lesion = sphere(grid, (-18, 6, 4), 9)
    image = Volume(brain.data * 100 + lesion.data * 50, brain.affine)
    (svg,) = mosaic(image, cut_outlines([plane], {"brain": brain, "lesion": lesion}), name=name)
    return ET.fromstring(svg)


def letters(root: ET.Element) -> dict[str, float]:
    return {node.text: float(node.get("x")) for node in root.iter(f"{SVG}text")}


@pytest.mark.parametrize("grid", ["LAS", "PSR"])
@pytest.mark.parametrize(("orientation", "position"), [("axial", 4.0), ("coronal", 6.0)])
def test_left_lesion_is_outlined_beside_the_letter_l(grid, orientation, position):
    root = draw(grid, Plane(orientation, position, (0.0, 0.0, 0.0), 90.0))
    (path,) = [p.get("d") for p in root.iter(f"{SVG}path") if "lesion" in p.get("class")]
    xs = np.array([float(v) for v in re.findall(r"-?[\d.]+", path)]).reshape(-1, 2)[:, 0]
    marks = letters(root)
    assert marks["L"] < marks["R"]
    assert xs.max() < 45
    assert xs.mean() == pytest.approx(45 - 18, abs=1.5)


@pytest.mark.parametrize(
    ("x", "word"), [(-18.0, "L hemisphere"), (18.0, "R hemisphere"), (1.0, "L | R midline")]
)
def test_sagittal_names_its_side(x, word):
    marks = letters(draw("LAS", Plane("sagittal", x, (0.0, 0.0, 0.0), 90.0)))
    assert word in marks
    assert marks["P"] < marks["A"]


def test_description_says_where_and_what():
    plane = Plane("axial", 4.0, (0.0, 0.0, 0.0), 90.0)
    assert draw("LAS", plane).get("aria-label") == "T1w, axial slice at z = +4 mm; outlined: brain, lesion"
    away = draw("LAS", Plane("axial", 33.0, (0.0, 0.0, 0.0), 90.0))
    assert "lesion" not in away.get("aria-label")
    assert not [p for p in away.iter(f"{SVG}path") if "lesion" in p.get("class")]


@pytest.mark.parametrize("kind", ["brain", "template-brain"])
def test_grey_scale_comes_from_the_brain(kind):
    """Bright fat around the head must not darken the brain."""
    brain = sphere("LAS", (0, 0, 0), 25)
    head = sphere("LAS", (0, 0, 0), 40)
    fat = Volume(np.where(head.data > brain.data, 1000, brain.data * 80).astype(np.float32), LAS)
    plane = Plane("axial", 0.0, (0.0, 0.0, 0.0), 90.0, 1.0)
    (svg,) = mosaic(fat, cut_outlines([plane], {kind: sphere("LAS", (0, 0, 0), 20)}), name="T1w")
    data = re.search(r"base64,([^\"]+)", svg)[1]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))
    assert pixels[45, 45] > 200


def test_name_is_escaped():
    plane = Plane("axial", 4.0, (0.0, 0.0, 0.0), 90.0)
    assert draw("LAS", plane, name='"<b>').get("aria-label").startswith('"<b>')


def test_an_image_without_masks_is_drawn():
    image = sphere("PSR", (0, 0, 0), 30)
    planes = [Plane("axial", z, (0.0, 0.0, 0.0), 90.0) for z in (0.0, 300.0)]
    assert len(mosaic(image, cut_outlines(planes, {}), name="T2w")) == 2


def test_nothing_to_draw():
    blank = Volume(np.zeros((60, 60, 20), np.float32), LAS)
    plane = Plane("axial", 0.0, (0.0, 0.0, 0.0), 90.0)
    (svg,) = mosaic(blank, cut_outlines([plane], {}), name="T2w")
    assert "no outline on this slice" in svg
    assert mosaic(blank, [], name="T2w") == []


def test_template_outlines_smooth_in_mm():
    """A spike is flattened alike along thin and thick voxels, and the surface stays."""
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    spike = np.zeros((21, 21, 21), np.float32)
    spike[10, 10, 10] = 1
    brain = Volume(np.ones((21, 21, 21), np.float32), affine)
    drawn = template_outlines(brain, Volume(spike, affine))
    smooth = drawn["template-tissue"].data
    assert smooth[12, 10, 10] == pytest.approx(smooth[10, 12, 10])
    assert smooth[10, 10, 11] / smooth[12, 10, 10] == pytest.approx(1, abs=0.3)
    assert drawn["template-brain"] is brain


def test_added_outlines_keep_those_below():
    plane = Plane("axial", 0.0, (0.0, 0.0, 0.0), 90.0)
    below = cut_outlines([plane], {"template-brain": sphere("LAS", (0, 0, 0), 30)})
    above = cut_outlines([plane], {"lesion": sphere("LAS", (-10, 0, 0), 9)})
    (cut,) = add_outlines(below, above)
    assert list(cut.paths) == ["template-brain", "lesion"]
    assert list(below[0].paths) == ["template-brain"]
