"""Displacement fields: sampling at points, inversion, Jacobian.

A field u on a grid of RAS mm moves point x to x + u(x); outside the grid it keeps its value at the border.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

Floats = NDArray[np.floating]

INVERSION_STEPS = 30
"""At most: with a gradient of 0.6 the error shrinks by 0.6 a step."""
INVERSION_MM = 0.001
"""A point's inverse is found when it moves by less than this."""


def sample_field(displacement: Floats, affine: Floats, points: Floats) -> Floats:
    """Return a field's displacement in mm at points, linearly interpolated.

    Parameters
    ----------
    displacement : array (X, Y, Z, 3)
        RAS mm.
    affine : array (4, 4)
        The field's voxel index to RAS+ mm.
    points : array (3, N)
        RAS mm.

    Returns
    -------
    array (3, N)

    """
    inverse = np.linalg.inv(affine)
    where = inverse[:3, :3] @ points + inverse[:3, 3:]
    parts = [map_coordinates(displacement[..., k], where, order=1, mode="nearest") for k in range(3)]
    return np.stack(parts)


def grid_points(shape: tuple[int, ...], affine: Floats, region: NDArray[np.bool_] | None = None) -> Floats:
    """Return the RAS mm of a grid's voxel centres, all or those of a region, shape (3, N), in C order."""
    if region is None:
        index = np.indices(shape, dtype=np.float32).reshape(3, -1)
    else:
        index = np.stack(np.nonzero(region)).astype(np.float32)
    return np.asarray(affine[:3, :3].astype(np.float32) @ index + affine[:3, 3:].astype(np.float32))


def invert_field(displacement: Floats, affine: Floats) -> NDArray[np.float32]:
    """Invert a field on its own grid, by fixed-point iteration.

    Returns the field v with v(y) = -u(y + v(y)), so that y + v(y) is the point that u moves to y.

    Source: Chen et al. 2008, doi:10.1118/1.2816107.
    """
    points = grid_points(displacement.shape[:3], affine)
    inverse = np.zeros_like(points)
    # Points do not hear of each other, so one that has settled is left alone: most do in a few steps.
    moving = np.arange(points.shape[1])
    for _ in range(INVERSION_STEPS):
        last = inverse[:, moving]
        found = -sample_field(displacement, affine, points[:, moving] + last).astype(np.float32)
        inverse[:, moving] = found
        moving = moving[np.abs(found - last).max(axis=0) >= INVERSION_MM]
        if not moving.size:
            break
    return inverse.T.reshape(displacement.shape).astype(np.float32)


def jacobian_determinant(displacement: Floats, affine: Floats) -> NDArray[np.float32]:
    """Return the local volume ratio of x -> x + u(x), (X, Y, Z): 1 keeps volume, 0 or less is a fold."""
    to_world = np.linalg.inv(affine[:3, :3])
    rows = [np.stack([*np.gradient(displacement[..., k])], axis=-1) @ to_world for k in range(3)]
    matrix = np.stack(rows, axis=-2) + np.eye(3)
    return np.asarray(np.linalg.det(matrix), np.float32)
