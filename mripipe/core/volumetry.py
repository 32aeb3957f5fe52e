"""Volumes in mL, pieces and side of a lesion, from a mask and the affine of its grid.

A volume is the number of voxels times the volume of one, V = n |det A| / 1000 mL, on the grid the mask was
made on: never after a transform to another space.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import generate_binary_structure, label

from mripipe.core.grid import voxel_volume_ml
from mripipe.errors import InputError

UNILATERAL_FRACTION: Final = 0.9
"""A lesion with more than this share on one side belongs to that side: midline shift and a mask's ragged edge
put some percent of a one-sided infarct across the middle, a second infarct puts more."""

MIDLINE_MM: Final = 0.5
"""Voxels this near the mid-sagittal plane belong to neither side: half of the template's voxel."""


def lesion_volume_ml(mask: NDArray[Any], affine: ArrayLike) -> float:
    """Return the volume of a mask; 0.0 for an empty one.

    Parameters
    ----------
    mask : array, shape (X, Y, Z)
        Zero outside.
    affine : array, shape (4, 4)
        Voxel index to RAS+ mm of the mask's grid.

    Examples
    --------
    >>> round(lesion_volume_ml(np.ones((10, 10, 10)), np.diag([2.0, 2.0, 2.0, 1.0])), 6)
    8.0

    """
    return float(np.count_nonzero(mask)) * voxel_volume_ml(affine)


def expected_volume_ml(probability: NDArray[Any], affine: ArrayLike) -> float:
    """Return the volume expected from a probability map: the sum of the probabilities times a voxel's volume.

    Parameters
    ----------
    probability : array, shape (X, Y, Z)
        0 to 1.
    affine : array, shape (4, 4)
        Voxel index to RAS+ mm.

    Raises
    ------
    InputError
        If a value lies outside 0 to 1, or is not a number.

    """
    values = np.asarray(probability)
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError("a probability map holds values from 0 to 1 only; found others")
    return float(values.sum(dtype=np.float64)) * voxel_volume_ml(affine)


def count_components(mask: NDArray[Any]) -> int:
    """Return the number of 26-connected pieces of a mask, shape (X, Y, Z); 0 for an empty one."""
    return int(label(np.asarray(mask) != 0, structure=generate_binary_structure(3, 3))[1])


def lesion_side(mask: NDArray[Any], x_mm: NDArray[Any]) -> Literal["left", "right", "bilateral", "none"]:
    """Say on which side of the person's brain a lesion lies.

    Parameters
    ----------
    mask : array, shape (X, Y, Z)
        Zero outside.
    x_mm : array, shape (X, Y, Z)
        Distance of every voxel from the mid-sagittal plane in mm, negative on the left: the x coordinate in
        MNI space. On the template's grid it is ``world_coordinate_mm(shape, affine, axis=0)``; on a native
        grid it comes through the visit's transform, since a head may be turned in the scanner.

    Returns
    -------
    str
        ``left`` or ``right`` where more than `UNILATERAL_FRACTION` of the voxels that are not on the midline
        lie there; else ``bilateral``, also where all are on the midline; ``none`` for an empty mask.

    Raises
    ------
    InputError
        If the shapes differ, or a lesion voxel has no finite coordinate.

    """
    if np.shape(mask) != np.shape(x_mm):
        raise InputError(
            f"the mask has shape {np.shape(mask)}, the coordinates {np.shape(x_mm)}; give one grid"
        )
    inside = np.asarray(x_mm)[np.asarray(mask) != 0]
    if inside.size == 0:
        return "none"
    if not np.isfinite(inside).all():
        raise InputError("some lesion voxels have no finite coordinate; the transform does not reach them")
    left, right = np.count_nonzero(inside < -MIDLINE_MM), np.count_nonzero(inside > MIDLINE_MM)
    if max(left, right) <= UNILATERAL_FRACTION * (left + right):
        return "bilateral"
    return "left" if left > right else "right"
