"""Cutting planes in true RAS+ mm, whatever the orientation of the grid that is cut.

Pixel (row 0, column 0) is the top left one. Neurological convention: in axial and coronal planes the
participant's left (negative x) is on the left of the picture; sagittal planes have anterior on the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mripipe.core.grid import Volume, voxel_to_world, world_to_voxel

Orientation = Literal["sagittal", "coronal", "axial"]

# For each orientation: the normal, and the axes that run to the right and upwards in the picture.
_AXES: dict[Orientation, tuple[int, int, int]] = {
    "sagittal": (0, 1, 2),
    "coronal": (1, 0, 2),
    "axial": (2, 0, 1),
}

# Cubic splines look this many voxels around a point; the prefilter has decayed to 1e-3 in 6.
_SPLINE_REACH = 6


@dataclass(frozen=True)
class Plane:
    """A square cut through RAS+ space at right angles to one axis."""

    orientation: Orientation
    position_mm: float
    """Coordinate on the axis at right angles to the plane."""
    centre_mm: tuple[float, float, float]
    """RAS+ point in the middle of the picture; its coordinate along the normal is not used."""
    size_mm: float
    """Length of a side."""
    spacing_mm: float = 0.6
    """Distance between pixels."""

    @property
    def axes(self) -> tuple[int, int, int]:
        """Indices of the RAS+ axes along the normal, to the right and upwards."""
        return _AXES[self.orientation]

    @property
    def n_pixels(self) -> int:
        """Pixels along a side."""
        return max(round(self.size_mm / self.spacing_mm), 1)

    @property
    def extent_mm(self) -> float:
        """Length of a side as drawn, a whole number of pixels."""
        return self.n_pixels * self.spacing_mm

    def frame(self) -> NDArray[np.float64]:
        """Return the RAS+ mm of the first pixel's centre, of its right and of its lower neighbour, (3, 3)."""
        normal, right, up = self.axes
        to_edge = (self.extent_mm - self.spacing_mm) / 2
        points = np.tile(np.asarray(self.centre_mm, float), (3, 1))
        points[:, normal] = self.position_mm
        points[:, right] += (-to_edge, self.spacing_mm - to_edge, -to_edge)
        points[:, up] += (to_edge, to_edge, to_edge - self.spacing_mm)
        return points


def sample_plane(volume: Volume, plane: Plane, *, order: int = 1) -> NDArray[np.float32]:
    """Interpolate a volume on a plane; 0 outside the volume.

    Parameters
    ----------
    volume : Volume
        Any orientation, oblique or sheared grids included.
    plane : Plane
        Where to cut, RAS+ mm.
    order : int
        Degree of the spline: 1 for masks, 3 for images that are looked at.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        In the units of the volume.

    """
    first, right, lower = world_to_voxel(plane.frame(), volume.affine)[..., None, None]
    steps = np.arange(plane.n_pixels)
    coordinates = first + (right - first) * steps + (lower - first) * steps[:, None]
    upper = np.array(volume.data.shape[:3])
    low = np.clip(np.floor(coordinates.min(axis=(1, 2))).astype(int) - _SPLINE_REACH, 0, upper)
    high = np.clip(np.ceil(coordinates.max(axis=(1, 2))).astype(int) + _SPLINE_REACH + 1, 0, upper)
    if np.any(high <= low):
        return np.zeros(coordinates.shape[1:], np.float32)
    block = volume.data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
    # Half a voxel beyond the outer centres still belongs to the image: a single thick slice has a thickness.
    inside = np.all((coordinates >= -0.5) & (coordinates <= (upper - 0.5)[:, None, None]), axis=0)
    # "mirror" is what the spline is exact for without padding the block; coordinates stay in the volume.
    values = ndimage.map_coordinates(
        block, coordinates - low[:, None, None], order=order, mode="mirror", output=np.float32
    )
    return np.where(inside, values, 0).astype(np.float32)


def mask_points(mask: Volume) -> NDArray[np.float64]:
    """Return the RAS+ mm of the centres of a mask's voxels, shape (N, 3)."""
    return voxel_to_world(np.argwhere(mask.data > 0), mask.affine)


def field_of_view(
    points: NDArray[np.float64], *, margin_mm: float = 8.0
) -> tuple[NDArray[np.float64], float]:
    """Return the middle (RAS+ mm) and the side (mm) of a cube that holds all points and a margin.

    Parameters
    ----------
    points : ndarray, shape (N, 3)
        RAS+ mm, at least one.
    margin_mm : float
        Left free on every side.

    """
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, float((high - low).max() + 2 * margin_mm)


def spread_positions(coordinates: NDArray[np.float64], count: int) -> list[float]:
    """Choose positions evenly over an extent, each one where there is something.

    Every position is the coordinate of a given point, so that a plane there cuts that point's voxel
    even where the extent has gaps; the outermost 4 % of the points are left out, because a slice that
    grazes the end of a lesion shows little of it.

    Parameters
    ----------
    coordinates : ndarray, shape (N,)
        The points' coordinates along one axis, mm; at least one.
    count : int
        Positions wanted; fewer come back where the extent has fewer different ones.

    Returns
    -------
    list of float
        Increasing, mm.

    """
    low, high = np.quantile(coordinates, (0.04, 0.96), method="nearest")
    wanted = np.linspace(low, high, count) if count > 1 else np.array([np.median(coordinates)])
    distinct = np.unique(np.round(coordinates, 3))
    nearest = distinct[np.abs(distinct[None, :] - wanted[:, None]).argmin(axis=1)]
    return [float(value) for value in np.unique(nearest)]


def planes_through(
    points: NDArray[np.float64],
    view: tuple[NDArray[np.float64], float],
    *,
    n_axial: int,
    spacing_mm: float = 0.6,
) -> list[Plane]:
    """Plan axial planes over the points' extent, then a coronal and a sagittal one through their middle.

    Parameters
    ----------
    points : ndarray, shape (N, 3)
        What every plane has to cut: a lesion's voxels or a brain's, RAS+ mm; at least one.
    view : (ndarray of shape (3,), float)
        Middle and side of the field of view, from :func:`field_of_view`.
    n_axial : int
        Axial planes at most.
    spacing_mm : float
        Pixel size.

    Returns
    -------
    list of Plane
        Axial planes from below upwards first.

    """
    centre, size = view
    middle = (float(centre[0]), float(centre[1]), float(centre[2]))
    axial = spread_positions(points[:, 2], n_axial)
    coronal = spread_positions(points[:, 1], 1)
    sagittal = spread_positions(points[:, 0], 1)
    chosen: list[tuple[Orientation, float]] = [("axial", position) for position in axial]
    chosen += [("coronal", position) for position in coronal]
    chosen += [("sagittal", position) for position in sagittal]
    return [Plane(name, position, middle, size, spacing_mm) for name, position in chosen]
