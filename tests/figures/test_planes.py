"""Planes are cut in true RAS+ mm whatever the grid."""

import numpy as np
import pytest

from mripipe.core.grid import Volume, voxel_to_world, world_to_voxel
from mripipe.figures.planes import (
    Plane,
    field_of_view,
    mask_points,
    planes_through,
    sample_plane,
    spread_positions,
)


def rotation(axis: int, degrees: float) -> np.ndarray:
    turn = np.deg2rad(degrees)
    i, j = [k for k in range(3) if k != axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = np.cos(turn)
    matrix[i, j], matrix[j, i] = -np.sin(turn), np.sin(turn)
    return matrix


def centred(linear: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Affine whose grid has its middle near the origin, off by odd amounts."""
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = np.array([3.3, -7.1, 5.7]) - linear @ (np.array(shape) - 1) / 2
    return affine


RAS = np.eye(3) * 2.0
LAS = np.diag([-2.0, 2.0, 2.5])
PSR = np.array([[0, 0, 2.0], [-2.0, 0, 0], [0, 2.0, 0]])
OBLIQUE = rotation(0, 20) @ rotation(2, -25) @ np.diag([-2.0, 1.8, 4.0])
SHEARED = RAS + np.array([[0, 0, 0.4], [0, 0, 0.3], [0, 0, 0]])
GRIDS = {"RAS": RAS, "LAS": LAS, "PSR": PSR, "oblique": OBLIQUE, "sheared": SHEARED}


def grid(name: str) -> tuple[tuple[int, int, int], np.ndarray]:
    linear = GRIDS[name]
    reach = 2 * 62.0 / np.linalg.norm(linear, axis=0)
    shape = tuple(int(n) for n in np.ceil(reach))
    return shape, centred(linear, shape)


def ball(name: str, centre_mm: tuple[float, float, float], sigma_mm: float = 6.0) -> Volume:
    """Return a Gaussian blob at a world position."""
    shape, affine = grid(name)
    index = np.moveaxis(np.indices(shape), 0, -1)
    squared = ((voxel_to_world(index, affine) - centre_mm) ** 2).sum(axis=-1)
    return Volume(np.exp(-squared / (2 * sigma_mm**2)).astype(np.float32), affine)


def centroid(pixels: np.ndarray) -> tuple[float, float]:
    rows, columns = np.indices(pixels.shape)
    return float((rows * pixels).sum() / pixels.sum()), float((columns * pixels).sum() / pixels.sum())


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(
    ("orientation", "position", "right_mm", "up_mm"),
    [("axial", 8.0, -21.0, 13.0), ("coronal", 13.0, -21.0, 8.0), ("sagittal", -21.0, 13.0, 8.0)],
)
def test_world_position_decides_the_pixel(name, orientation, position, right_mm, up_mm):
    """Left (-21) is on the left, anterior (+13) on top or on the right, superior (+8) on top."""
    volume = ball(name, (-21.0, 13.0, 8.0))
    plane = Plane(orientation, position, (0.0, 0.0, 0.0), 110.0, 1.0)
    row, column = centroid(sample_plane(volume, plane, order=3))
    middle = (plane.n_pixels - 1) / 2
    assert column - middle == pytest.approx(right_mm, abs=0.3)
    assert middle - row == pytest.approx(up_mm, abs=0.3)


@pytest.mark.parametrize("name", GRIDS)
def test_distance_through_the_plane_is_in_mm(name):
    volume = ball(name, (0.0, 0.0, 0.0))
    peak = [
        sample_plane(volume, Plane("axial", z, (0.0, 0.0, 0.0), 40.0, 1.0), order=3).max() for z in (0.0, 6.0)
    ]
    assert peak[1] / peak[0] == pytest.approx(np.exp(-0.5), abs=0.03)


def test_outside_the_volume_is_zero():
    volume = Volume(np.ones((8, 9, 10), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert not sample_plane(volume, Plane("axial", 300.0, (8.0, 8.0, 8.0), 20.0)).any()
    wide = sample_plane(volume, Plane("axial", 9.0, (7.0, 8.0, 9.0), 60.0, 1.0))
    # 8 x 9 voxels of 2 mm, and nothing beyond them.
    assert wide.sum() == pytest.approx(16 * 18, rel=0.07)
    assert wide[0].sum() == wide[:, 0].sum() == 0


def test_positions_lie_on_points_across_a_gap():
    coordinates = np.concatenate([np.arange(-40, -30, 0.5), np.arange(30, 50, 0.5)])
    chosen = spread_positions(coordinates, 9)
    assert all(np.isclose(coordinates, value).any() for value in chosen)
    assert chosen == sorted(chosen)
    assert min(chosen) < -35
    assert max(chosen) > 45


def test_single_slice_gives_a_single_position():
    assert spread_positions(np.full(40, 12.5), 10) == [12.5]


@pytest.mark.parametrize("name", GRIDS)
def test_every_plane_meets_a_lesion_in_two_pieces(name):
    """The mean of the pieces lies in neither of them."""
    pieces = [ball(name, (-32.0, 10.0, 25.0)), ball(name, (36.0, -12.0, -20.0))]
    mask = Volume(sum((piece.data > 0.5).astype(np.float32) for piece in pieces), pieces[0].affine)
    points = mask_points(mask)
    planes = planes_through(points, field_of_view(points), n_axial=7, spacing_mm=0.7)
    assert [plane.orientation for plane in planes[-2:]] == ["coronal", "sagittal"]
    assert len(planes) > 4
    for plane in planes:
        assert sample_plane(mask, plane).max() > 0.5, plane


def test_field_of_view_holds_everything():
    points = np.array([[-10.0, 0, 5], [30, 2, 9], [0, 1, 65]])
    centre, size = field_of_view(points, margin_mm=4.0)
    assert size == pytest.approx(68.0)
    assert np.all(np.abs(points - centre) <= size / 2 - 4.0 + 1e-9)


@pytest.mark.parametrize("name", GRIDS)
def test_mask_points_are_world_positions(name):
    volume = ball(name, (-21.0, 13.0, 8.0))
    points = mask_points(Volume((volume.data > 0.6).astype(np.float32), volume.affine))
    np.testing.assert_allclose(points.mean(axis=0), (-21.0, 13.0, 8.0), atol=0.8)
    index = world_to_voxel(points, volume.affine)
    np.testing.assert_allclose(index, np.round(index), atol=1e-6)
