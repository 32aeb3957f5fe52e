"""Outlines keep their size in mm; grey images keep their window; text is escaped."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from mripipe.figures.svg import element, grey_image, outline_path, serialise, signed_mm


def polygons(path: str) -> list[np.ndarray]:
    return [
        np.array([float(v) for v in re.findall(r"-?\d+(?:\.\d+)?", part)]).reshape(-1, 2)
        for part in path.split("Z")
        if part
    ]


def area(points: np.ndarray) -> float:
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def test_outline_of_a_disc_has_its_area_and_place():
    rows, columns = np.indices((120, 120))
    distance = np.hypot((rows + 0.5) * 0.5 - 40, (columns + 0.5) * 0.5 - 20)
    mask = np.clip(12.5 - distance, 0, 1).astype(np.float32)
    (ring,) = polygons(outline_path(mask, 0.5))
    assert area(ring) == pytest.approx(np.pi * 12**2, rel=0.02)
    np.testing.assert_allclose(ring.mean(axis=0), (20, 40), atol=0.3)  # x, then y


def test_outline_at_the_border_is_closed():
    mask = np.zeros((20, 20), np.float32)
    mask[:10, :5] = 1
    (ring,) = polygons(outline_path(mask, 2.0))
    assert area(ring) == pytest.approx(20 * 10, rel=0.05)


def test_a_hole_is_outlined_too():
    mask = np.zeros((30, 30), np.float32)
    mask[5:25, 5:25] = 1
    mask[12:18, 12:18] = 0
    assert len(polygons(outline_path(mask, 1.0))) == 2


def test_nothing_gives_no_path():
    assert outline_path(np.zeros((9, 9), np.float32), 1.0) == ""


def test_grey_image_maps_the_window_to_black_and_white():
    pixels = np.repeat(np.array([[-50.0, 10.0, 30.0, 50.0, 900.0]], np.float32), 16, axis=1).repeat(
        16, axis=0
    )
    kind, data = grey_image(pixels, (10.0, 50.0)).split(",")
    assert kind == "data:image/webp;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"), float)
    np.testing.assert_allclose(shown[8, 8::16], [0, 0, 127, 255, 255], atol=6)


def test_a_flat_image_is_drawn():
    assert grey_image(np.full((4, 4), 3.0, np.float32), (3.0, 3.0)).startswith("data:image/webp")


def test_text_is_escaped():
    root = element(None, "svg", aria_label='"><script>')
    element(root, "title", "<script>alert(1)</script>&")
    assert "<script" not in serialise(root)
    assert 'aria-label="&quot;&gt;' in serialise(root)


@pytest.mark.parametrize(("value", "text"), [(12.4, "+12 mm"), (-4.0, "\u22124 mm"), (-0.3, "0 mm")])
def test_signed_mm(value, text):
    assert signed_mm(value) == text
