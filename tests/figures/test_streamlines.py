"""Streamlines on planes: which way is left, which way is up, how many."""

import re

import numpy as np
import pytest

from mripipe.figures.planes import Plane
from mripipe.figures.streamlines import streamline_path


def points(path):
    return [
        np.array([float(v) for v in re.findall(r"-?[\d.]+", part)]).reshape(-1, 2)
        for part in path.split("M")[1:]
    ]


@pytest.mark.parametrize(
    ("orientation", "first", "last"),
    [
        # Left is on the left, front of a sagittal plane on the right, above is above.
        ("coronal", (70.0, 140.0), (80.0, 50.0)),
        ("sagittal", (80.0, 140.0), (85.0, 50.0)),
        ("axial", (70.0, 120.0), (80.0, 115.0)),
    ],
)
def test_a_line_lies_where_it_is(orientation, first, last):
    plane = Plane(orientation, 3.0, (0.0, 10.0, 20.0), 200.0, 2.0)
    line = np.linspace([-30.0, -10.0, -20.0], [-20.0, -5.0, 70.0], 200)
    (drawn,) = points(streamline_path([line], plane))
    np.testing.assert_allclose(drawn[[0, -1]], [first, last], atol=0.06)
    assert 20 < len(drawn) < 30


def test_no_more_are_drawn_than_asked_for():
    plane = Plane("coronal", 0.0, (0.0, 0.0, 0.0), 100.0, 1.0)
    lines = [np.array([[x, 0.0, 0.0], [x, 0.0, 9.0]]) for x in range(40)]
    drawn = points(streamline_path(lines, plane, most=5))
    assert len(drawn) == 5
    assert (drawn[0][0, 0], drawn[-1][0, 0]) == (50.0, 89.0)
    assert streamline_path([], plane) == ""
