import numpy as np
import pytest

from mripipe.atlases.tracts import TRACT_NAMES, load_tracts
from mripipe.core.tract_course import Course, Node, parse_courses, tract_at


def straight(*, crosses=False, x=20.0, across=4.0, along=8.0, tilt=0.0):
    nodes = tuple(Node(name, (x, 0.0, z), across, along, tilt) for name, z in (("low", 0.0), ("high", 60.0)))
    return Course("T", crosses, nodes)


def at(points, side="right", **shape):
    return tract_at(straight(**shape), np.array(points, float), side=side)


def test_the_length_follows_the_centre_line():
    bent = (
        Node("a", (10.0, 0.0, 0.0), 4, 4, 0),
        Node("a", (10.0, 3.0, 4.0), 4, 4, 0),
        Node("b", (10.0, 3.0, 16.0), 4, 4, 0),
    )
    assert Course("T", False, bent).pieces_mm == pytest.approx([5.0, 12.0])
    assert 120.0 < load_tracts().course("CST").pieces_mm.sum() < 160.0


def test_half_at_the_border_of_the_ellipse():
    found = at([[24, 0, 30], [20, 8, 30], [20, 0, 30], [30, 0, 30]]).probability
    np.testing.assert_allclose(found, [0.5, 0.5, 1.0, 0.0], atol=1e-6)


def test_the_core_is_narrower():
    found = at([[23.5, 0, 30], [20, 0, 30]])
    assert found.probability[0] > 0.5 > found.core[0]
    assert found.core[1] == 1.0


def test_sides_never_swap():
    points = [[-20, 0, 30], [20, 0, 30]]
    assert at(points, side="left").probability.tolist() == [1.0, 0.0]
    assert at(points, side="right").probability.tolist() == [0.0, 1.0]


def test_both_halves_of_a_crossing_tract():
    nodes = tuple(Node("body", (x, 0.0, 25.0 + x / 9), 10.0, 4.0, 0.0) for x in (0.0, 10.0, 25.0))
    course = Course("CC", True, nodes)
    found = tract_at(course, np.array([[-15.0, 5, 26.6], [15.0, 5, 26.6], [0, 5, 25]]), side="both")
    assert (found.probability > 0.9).all()
    np.testing.assert_allclose(found.tangent[0] * [-1, 1, 1], found.tangent[1], atol=1e-6)


def test_position_and_segment_along_the_line():
    found = at([[20, 0, 6], [20, 0, 54]])
    np.testing.assert_allclose(found.position, [0.1, 0.9], atol=1e-6)
    assert found.segment.tolist() == [0, 1]


def test_a_tilt_turns_the_back_outwards():
    # The posterior limb runs backwards and outwards, so that its section is tilted the other way.
    backwards = at([[23.5, -5, 30], [16.5, -5, 30]], tilt=-35.0).probability
    assert backwards[0] > backwards[1]


def test_tangent_runs_up():
    np.testing.assert_allclose(at([[20, 0, 30]]).tangent, [[0, 0, 1]], atol=1e-6)


def test_what_is_no_course_is_refused():
    node = Node("a", (5.0, 0.0, 0.0), 3.0, 3.0, 0.0)
    with pytest.raises(ValueError, match="two nodes"):
        Course("T", False, (node,))
    with pytest.raises(ValueError, match="above 0"):
        Course("T", False, (node, Node("a", (5.0, 0.0, 9.0), 0.0, 3.0, 0.0)))
    sideways = Course("T", False, (node, Node("a", (25.0, 0.0, 0.1), 3.0, 3.0, 0.0)))
    with pytest.raises(ValueError, match="side of the head"):
        tract_at(sideways, np.zeros((1, 3)), side="left")


def test_a_crossing_tract_is_read_segment_by_segment():
    rows = [f"CC\t{name}\t{x}\t0\t{x / 5}\t5\t5\t0\tnone" for name in ("genu", "body") for x in (0, 9)]
    found = parse_courses("header\n" + "\n".join(rows), crossing=("CC",))
    assert [course.segments for course in found] == [("genu",), ("body",)]


def test_the_atlas_is_symmetric_and_each_tract_on_its_side():
    grid = np.mgrid[-60:61:6, -80:60:6, -50:80:6].reshape(3, -1).T.astype(float)
    atlas = load_tracts()
    assert {c.name for c in (*atlas.paired, *atlas.crossing)} == set(TRACT_NAMES)
    for course in atlas.paired:
        left = tract_at(course, grid, side="left").probability
        right = tract_at(course, grid * [-1, 1, 1], side="right").probability
        np.testing.assert_array_equal(left, right)
        assert grid[left > 0.5, 0].max() < 0, course.name


def test_the_corticospinal_tract_passes_its_landmarks():
    # Centres of the cerebral peduncle, the posterior limb and the basis pontis in MNI (JHU atlas, by eye).
    cst = load_tracts().course("CST")
    points = np.array([[13.0, -18.0, -16.0], [21.0, -14.0, 5.0], [7.0, -23.0, -32.0]])
    found = tract_at(cst, points, side="right")
    assert (found.probability > 0.9).all()
    names = [cst.segments[number] for number in found.segment]
    assert names == ["cerebral_peduncle", "posterior_limb_internal_capsule", "rostral_pons"]
