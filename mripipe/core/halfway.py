"""Mean image of all visits of a head in the space halfway between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from mripipe.core.grid import Volume, voxel_to_world

Floats = NDArray[np.floating]

FINEST_MM = 1.0
"""Voxels of the mean image are never smaller."""
MARGIN_MM = 20.0
"""Of head kept around the brain, so that skull and scalp can be seen."""


def mean_image(
    images: Sequence[Volume], brains: Sequence[NDArray[np.bool_]], to_visit: Sequence[Floats]
) -> Volume:
    """Average the visits' images, each scaled to a median of 1 in the brain and interpolated once.

    Parameters
    ----------
    images : sequence of Volume
        One a visit, of one sequence; the mean does not depend on the image grids' orientation.
    brains : sequence of bool arrays
        Brain masks, each on its image's grid, not empty.
    to_visit : sequence of arrays (4, 4)
        One a visit: maps halfway mm to that visit's mm, rigid.

    Returns
    -------
    Volume
        On a RAS grid aligned with the axes of the halfway space, cubic voxels of the finest image's size but
        1 mm or more, around the brains of all visits; 0 where no visit has been scanned.

    """
    shape, affine = _grid_around(images, brains, to_visit)
    total = np.zeros(shape)
    count = np.zeros(shape, np.int16)
    for image, brain, matrix in zip(images, brains, to_visit, strict=True):
        level = float(np.median(image.data[brain]))
        values = _resample(image, np.asarray(matrix), shape, affine)
        seen = np.isfinite(values)
        total[seen] += values[seen] / level
        count += seen
    return Volume((total / np.maximum(count, 1)).astype(np.float32), affine)


def _grid_around(
    images: Sequence[Volume], brains: Sequence[NDArray[np.bool_]], to_visit: Sequence[Floats]
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return shape and affine of the grid around all brains."""
    size_mm = max(FINEST_MM, min(round(float(min(image.voxel_sizes_mm)), 3) for image in images))
    places = [
        voxel_to_world(np.argwhere(brain), np.linalg.inv(matrix) @ image.affine)
        for image, brain, matrix in zip(images, brains, to_visit, strict=True)
    ]
    low = np.floor((np.min([p.min(axis=0) for p in places], axis=0) - MARGIN_MM) / size_mm)
    high = np.ceil((np.max([p.max(axis=0) for p in places], axis=0) + MARGIN_MM) / size_mm)
    nx, ny, nz = (high - low).astype(int) + 1
    affine = np.diag([size_mm, size_mm, size_mm, 1.0])
    affine[:3, 3] = low * size_mm
    return (int(nx), int(ny), int(nz)), affine


def _resample(image: Volume, matrix: Floats, shape: tuple[int, int, int], affine: Floats) -> Floats:
    """Return the image on the halfway grid, linearly interpolated; NaN where it was not scanned."""
    to_voxel = np.linalg.inv(image.affine) @ matrix @ affine
    values = np.empty(shape, np.float32)
    plane = np.indices((1, *shape[1:]), dtype=float).reshape(3, -1)
    for i in range(shape[0]):
        where = to_voxel[:3, :3] @ plane + (to_voxel[:3, 3:] + i * to_voxel[:3, :1])
        values[i] = map_coordinates(image.data, where, order=1, cval=np.nan).reshape(shape[1:])
    return values
