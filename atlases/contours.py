"""Label maps painted from contours given level by level, for one hemisphere and its mirror image.

Between two levels a contour is blended through its signed distance d: at height z between levels a and b,
d(z) = d_a (b - z) / (b - a) + d_b (z - a) / (b - a), and the inside is d(z) <= 0 (shape-based interpolation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DISTANCE_DECIMALS = 6
"""Distances are rounded to a nanometre, so that a point on a contour is inside on every machine."""


@dataclass(frozen=True)
class Contour:
    """A closed outline on one axial level of one hemisphere."""

    layer: int
    """Painting order: a higher layer covers a lower one."""
    territory: str
    """Abbreviation of the territory."""
    z_mm: float
    """Height of the level."""
    points_mm: tuple[tuple[float, float], ...]
    """Corners: distance from the midline and y, in mm."""

    def __post_init__(self) -> None:
        if len(self.points_mm) < 3:
            raise ValueError(f"{self.territory} at z {self.z_mm:g}: a contour needs 3 corners or more")
        if any(x < 0 for x, _ in self.points_mm):
            raise ValueError(
                f"{self.territory} at z {self.z_mm:g}: x is a distance from the midline, not negative"
            )


def parse_contours(text: str) -> list[Contour]:
    r"""Read contours from a tab-separated table.

    Parameters
    ----------
    text : str
        Header line, then one line a contour: layer, territory, z_mm, corners as ``x,y x,y ...``, landmark.

    Returns
    -------
    list of Contour
        In the order of the table.

    Examples
    --------
    >>> line = "1\tACA\t10\t0,0 5,0 5,5\tnone"
    >>> parse_contours("layer\tterritory\tz_mm\tcontour_mm\tlandmark\n" + line)[0].z_mm
    10.0

    """
    rows = (line.split("\t") for line in text.splitlines()[1:] if line.strip())
    return [
        Contour(int(layer), territory, float(z), tuple(_corner(pair) for pair in corners.split()))
        for layer, territory, z, corners, _ in rows
    ]


def _corner(pair: str) -> tuple[float, float]:
    x, y = pair.split(",")
    return float(x), float(y)


def signed_distance(
    points_mm: NDArray[np.float64], outline_mm: Sequence[tuple[float, float]]
) -> NDArray[np.float64]:
    """Distance of points in the plane from a closed outline, negative inside.

    Parameters
    ----------
    points_mm : array, shape (..., 2)
    outline_mm : sequence of (x, y)
        Corners in order; the last is joined to the first.

    Returns
    -------
    array, shape (...)
        In mm.

    Examples
    --------
    >>> square = [(0, 0), (4, 0), (4, 4), (0, 4)]
    >>> signed_distance(np.array([[2.0, 1.0], [7.0, 8.0]]), square).tolist()
    [-1.0, 5.0]

    """
    corners = np.asarray(outline_mm, float)
    squared = np.full(points_mm.shape[:-1], np.inf)
    inside = np.zeros(points_mm.shape[:-1], bool)
    x, y = points_mm[..., 0], points_mm[..., 1]
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        length2 = (bx - ax) ** 2 + (by - ay) ** 2
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length2, 0, 1)
        squared = np.minimum(squared, (x - ax - along * (bx - ax)) ** 2 + (y - ay - along * (by - ay)) ** 2)
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    distance: NDArray[np.float64] = np.where(inside, -1.0, 1.0) * np.sqrt(squared)
    return distance


def paint_hemisphere(
    contours: Sequence[Contour],
    values: Mapping[str, int],
    x_mm: NDArray[np.float64],
    y_mm: NDArray[np.float64],
    z_mm: NDArray[np.float64],
    *,
    background: int,
) -> NDArray[np.uint8]:
    """Label a block of one hemisphere.

    Parameters
    ----------
    contours : sequence of Contour
        A territory is painted between its lowest and its highest level, both included.
    values : mapping
        Label value of each territory.
    x_mm, y_mm, z_mm : arrays, shapes (X,), (Y,), (Z,)
        Distance from the midline, y and z of the voxel centres.
    background : int
        Value where no contour reaches.

    Returns
    -------
    array of uint8, shape (X, Y, Z)

    Raises
    ------
    ValueError
        If a territory has a single level.

    """
    points = np.stack(np.meshgrid(x_mm, y_mm, indexing="ij"), axis=-1)
    painted = np.full((len(x_mm), len(y_mm), len(z_mm)), background, np.uint8)
    for layer, territory in sorted({(contour.layer, contour.territory) for contour in contours}):
        levels = sorted(
            (c.z_mm, c.points_mm) for c in contours if (c.layer, c.territory) == (layer, territory)
        )
        if len(levels) < 2:
            raise ValueError(f"{territory}: expected two levels or more, found {len(levels)}; add one")
        heights = np.array([z for z, _ in levels])
        distances = np.stack([signed_distance(points, outline) for _, outline in levels])
        for k, z in enumerate(z_mm):
            if heights[0] <= z <= heights[-1]:
                blended = np.round(_blend(heights, distances, float(z)), DISTANCE_DECIMALS)
                painted[..., k][blended <= 0] = values[territory]
    return painted


def _blend(heights: NDArray[np.float64], distances: NDArray[np.float64], z: float) -> NDArray[np.float64]:
    above = int(np.clip(np.searchsorted(heights, z), 1, len(heights) - 1))
    low, high = heights[above - 1], heights[above]
    share = (z - low) / (high - low)
    blended: NDArray[np.float64] = (1 - share) * distances[above - 1] + share * distances[above]
    return blended
