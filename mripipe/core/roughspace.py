"""Between a native and the symmetric template grid by a rough map: MNI point p lies at matrix(p + u(p))."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from mripipe.core.deformation import grid_points, invert_field, sample_field
from mripipe.core.grid import Volume

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class RoughMap:
    """Template mm to native mm."""

    matrix: Floats
    """Affine part, shape (4, 4)."""
    displacement: NDArray[np.float32]
    """RAS mm, shape (X, Y, Z, 3), added to the template point before the affine."""
    affine: Floats
    """The field's voxel index to RAS+ mm."""


def pull_to_template(
    image: Volume,
    rough: RoughMap,
    shape: tuple[int, ...],
    affine: Floats,
    *,
    then: Floats,
    outside: float,
    region: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Sample an image once, linearly, on the template grid.

    Parameters
    ----------
    image : Volume
    rough : RoughMap
        Template mm to reference mm.
    shape, affine
        Template grid.
    then : array (4, 4)
        Reference mm to the image's mm; the identity for the reference itself.
    outside : float
        Value outside the image and the region.
    region : array of bool, shape ``shape``, optional
        The only voxels that are wanted.

    """
    points = grid_points(shape, affine, region)
    points = points + sample_field(rough.displacement, rough.affine, points)
    index = np.linalg.inv(image.affine) @ then @ rough.matrix
    where = index[:3, :3] @ points + index[:3, 3:]
    values = map_coordinates(image.data.astype(np.float32), where, order=1, mode="constant", cval=outside)
    return _spread(values, shape, region, outside)


def _spread(
    values: Floats, shape: tuple[int, ...], region: NDArray[np.bool_] | None, outside: float
) -> NDArray[np.float32]:
    """Lay the values of a region, or of all voxels, on their grid."""
    if region is None:
        return np.asarray(values, np.float32).reshape(shape)
    whole = np.full(shape, outside, np.float32)
    whole[region] = values
    return whole


def template_points(target: Volume, rough: RoughMap, region: NDArray[np.bool_] | None = None) -> Floats:
    """Return the template mm (3, N) of a native grid's voxel centres, all or a region's, in C order."""
    inverse = invert_field(rough.displacement, rough.affine)
    points = grid_points(target.data.shape, np.linalg.inv(rough.matrix) @ target.affine, region)
    return np.asarray(points + sample_field(inverse, rough.affine, points))


def push_to_native(
    values: Floats,
    affine: Floats,
    target: Volume,
    rough: RoughMap,
    region: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Sample a template map once, linearly, on a native grid; 0 outside the template and the region."""
    points = template_points(target, rough, region)
    index = np.linalg.inv(affine)
    where = index[:3, :3] @ points + index[:3, 3:]
    carried = map_coordinates(values.astype(np.float32), where, order=1, mode="constant")
    return _spread(carried, target.data.shape, region, 0.0)
