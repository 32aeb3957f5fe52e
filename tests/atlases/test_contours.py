import numpy as np
import pytest

from mripipe.atlases.contours import Contour, paint_hemisphere, parse_contours, signed_distance

NOTCHED = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (5.0, 4.0), (0.0, 10.0))


def square(layer, z_mm, half_mm, territory="A", centre=20.0):
    low, high = centre - half_mm, centre + half_mm
    return Contour(layer, territory, z_mm, ((low, low), (high, low), (high, high), (low, high)))


def painted(contours, z_mm, values=None):
    axis = np.arange(0.0, 41.0)
    return paint_hemisphere(
        contours, values or {"A": 1, "B": 2}, axis, axis, np.array(z_mm, float), background=9
    )


def test_distance_is_right_in_a_notch_and_at_a_corner():
    points = np.array([[5.0, 3.0], [5.0, 8.0], [13.0, -4.0], [2.0, 1.0]])
    # The notch runs from (5, 4) to (0, 10): 4 mm above its foot, 5 / sqrt(61) of that away from it.
    expected = [-1.0, 4 * 5 / np.sqrt(61), 5.0, -1.0]
    assert signed_distance(points, NOTCHED) == pytest.approx(expected)


def test_direction_of_the_outline_does_not_matter():
    points = np.random.default_rng(0).uniform(-5, 15, (200, 2))
    assert np.array_equal(
        signed_distance(points, NOTCHED) < 0, signed_distance(points, tuple(reversed(NOTCHED))) < 0
    )


def test_between_levels_a_square_grows_evenly():
    volume = painted([square(1, 10, 15), square(1, 0, 5)], [0, 4, 10])
    widths = [(volume[20, :, k] == 1).sum() for k in range(3)]
    # Half-width 5, 5 + 0.4 x 10, 15; the contour itself is inside.
    assert widths == [11, 19, 31]


def test_nothing_is_painted_beyond_the_outer_levels():
    volume = painted([square(1, 0, 5), square(1, 10, 5)], [-1, 0, 10, 11])
    assert [(volume[..., k] == 1).any() for k in range(4)] == [False, True, True, False]


def test_a_higher_layer_covers_a_lower_one_whatever_the_order_of_the_table():
    low = [square(1, 0, 10), square(1, 5, 10)]
    high = [square(2, 0, 3, "B"), square(2, 5, 3, "B")]
    assert np.array_equal(painted(low + high, [2]), painted(high + low, [2]))
    assert painted(low + high, [2])[20, 20, 0] == 2
    assert painted(low + high, [2])[12, 20, 0] == 1
    assert painted(low + high, [2])[0, 0, 0] == 9


def test_first_and_second_axis_are_x_and_y():
    strip = ((2.0, 10.0), (4.0, 10.0), (4.0, 30.0), (2.0, 30.0))
    volume = painted([Contour(1, "A", 0, strip), Contour(1, "A", 5, strip)], [0])
    assert volume[3, 25, 0] == 1
    assert volume[25, 3, 0] == 9


def test_table_is_read_line_by_line():
    text = "layer\tterritory\tz_mm\tcontour_mm\tlandmark\n2\tACA\t-7.5\t0,1 2,3 4.5,-6\tgyrus rectus\n"
    assert parse_contours(text) == [Contour(2, "ACA", -7.5, ((0.0, 1.0), (2.0, 3.0), (4.5, -6.0)))]


@pytest.mark.parametrize(
    ("corners", "message"),
    [(((0.0, 0.0), (1.0, 1.0)), "3 corners"), (((-1.0, 0.0), (1.0, 1.0), (2.0, 0.0)), "midline")],
)
def test_contour_that_encloses_nothing_or_crosses_the_midline_is_refused(corners, message):
    with pytest.raises(ValueError, match=message):
        Contour(1, "ACA", 0, corners)


def test_a_territory_on_one_level_only_is_refused():
    with pytest.raises(ValueError, match="two levels"):
        painted([square(1, 0, 5)], [0])
