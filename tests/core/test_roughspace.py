"""Template grid and native grid: one formula, both ways."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.deformation import grid_points
from mripipe.core.grid import Volume, reorient
from mripipe.core.roughspace import RoughMap, pull_to_template, push_to_native, template_points

TEMPLATE_SHAPE = (21, 25, 19)
TEMPLATE = np.diag([4.0, 4.0, 4.0, 1.0])
TEMPLATE[:3, 3] = (-40.0, -48.0, -36.0)
NATIVE_SHAPE = (30, 34, 26)
NATIVE = np.diag([3.0, 4.0, 5.0, 1.0])
NATIVE[:3, 3] = (-45.0, -68.0, -60.0)
SLOPE = np.array([1.0, -2.0, 0.5])


@pytest.fixture
def rough() -> RoughMap:
    matrix = np.array([[0.9, 0.1, 0, 4], [-0.1, 1.05, 0, -3], [0, 0, 1.1, 2], [0, 0, 0, 1]])
    points = np.moveaxis(np.indices(TEMPLATE_SHAPE), 0, -1) * 4.0 + TEMPLATE[:3, 3]
    return RoughMap(matrix, (3.0 * np.sin(points[..., [1, 2, 0]] / 25.0)).astype(np.float32), TEMPLATE)


def native_image(codes: str, move=(0.0, 0.0, 0.0)) -> Volume:
    """Return a ramp in world coordinates, on axes pointing anywhere."""
    affine = NATIVE.copy()
    affine[:3, 3] += move
    points = np.moveaxis(np.indices(NATIVE_SHAPE), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    data, turned = reorient((points @ SLOPE).astype(np.float32), affine, codes=codes)
    return Volume(data, turned)


def carried_points(rough: RoughMap) -> np.ndarray:
    points = grid_points(TEMPLATE_SHAPE, TEMPLATE).T + rough.displacement.reshape(-1, 3)
    return points @ rough.matrix[:3, :3].T + rough.matrix[:3, 3]


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PSR"])
def test_pulled_image_is_read_at_the_mapped_point(rough, codes):
    found = pull_to_template(
        native_image(codes), rough, TEMPLATE_SHAPE, TEMPLATE, then=np.eye(4), outside=np.nan
    )
    wanted = (carried_points(rough) @ SLOPE).reshape(TEMPLATE_SHAPE)
    seen = np.isfinite(found)
    assert seen.mean() > 0.9
    np.testing.assert_allclose(found[seen], wanted[seen], atol=1e-3)


def test_second_matrix_comes_after_the_rough_map(rough):
    shift = np.eye(4)
    shift[:3, 3] = (7.0, 5.0, -6.0)
    moved = native_image("LAS", move=(7.0, 5.0, -6.0))
    here = pull_to_template(
        native_image("RAS"), rough, TEMPLATE_SHAPE, TEMPLATE, then=np.eye(4), outside=np.nan
    )
    there = pull_to_template(moved, rough, TEMPLATE_SHAPE, TEMPLATE, then=shift, outside=np.nan)
    seen = np.isfinite(here)
    assert seen.mean() > 0.9
    np.testing.assert_allclose((there - here)[seen], SLOPE @ shift[:3, 3], atol=1e-3)


def test_outside_the_image_has_the_value_asked_for(rough):
    away = np.eye(4)
    away[0, 3] = 1000.0
    found = pull_to_template(native_image("RAS"), rough, TEMPLATE_SHAPE, TEMPLATE, then=away, outside=-5.0)
    np.testing.assert_array_equal(found, -5.0)


@pytest.mark.parametrize("codes", ["RAS", "PSR"])
def test_template_points_map_back_to_the_voxels(rough, codes):
    image = native_image(codes)
    points = template_points(image, rough)
    inside = np.all(np.abs(points) < [[30.0], [38.0], [26.0]], axis=0)
    moved = points + 3.0 * np.sin(points[[1, 2, 0]] / 25.0)
    back = rough.matrix[:3, :3] @ moved + rough.matrix[:3, 3:]
    assert inside.sum() > 1000
    # Interpolating the wave on a 4 mm grid is off by some hundredths.
    np.testing.assert_allclose(back[:, inside], grid_points(image.shape, image.affine)[:, inside], atol=0.1)


@pytest.mark.parametrize("codes", ["RAS", "LAS"])
def test_pushed_map_keeps_its_side(rough, codes):
    left = np.zeros(TEMPLATE_SHAPE, np.float32)
    left[3:8, 8:16, 6:12] = 1.0
    image = native_image(codes)
    pushed = push_to_native(left, TEMPLATE, image, rough)
    assert pushed.shape == image.shape
    found = (np.argwhere(pushed > 0.5) @ image.affine[:3, :3].T + image.affine[:3, 3]).mean(axis=0)
    wanted = carried_points(rough)[left.ravel() > 0].mean(axis=0)
    assert wanted[0] < -8
    np.testing.assert_allclose(found, wanted, atol=1.0)
    volume = np.count_nonzero(pushed > 0.5) * 60.0
    assert volume == pytest.approx(5 * 8 * 6 * 64.0 * np.linalg.det(rough.matrix[:3, :3]), rel=0.15)


def test_a_region_is_filled_as_the_whole_is_and_the_rest_left_out(rough):
    image = native_image("PSR")
    region = np.zeros(TEMPLATE_SHAPE, bool)
    region[4:9, 3:20, 5:11] = True
    whole, part = (
        pull_to_template(image, rough, TEMPLATE_SHAPE, TEMPLATE, then=np.eye(4), outside=-7.0, region=wanted)
        for wanted in (None, region)
    )
    np.testing.assert_array_equal(part[region], whole[region])
    np.testing.assert_array_equal(part[~region], -7.0)
    brain = image.data > 0
    values = np.random.default_rng(0).random(TEMPLATE_SHAPE).astype(np.float32)
    pushed = push_to_native(values, TEMPLATE, image, rough, brain)
    np.testing.assert_array_equal(pushed[brain], push_to_native(values, TEMPLATE, image, rough)[brain])
    assert not pushed[~brain].any()
