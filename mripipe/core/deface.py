"""Find the face: what lies in front of and below the brain, beyond every plane that touches the brain.

For a direction ``u`` (unit length) the brain reaches as far as ``h(u) = max over brain of p . u``. A point
is of the face if ``p . u > h(u) + margin`` for one of several directions between straight ahead and steeply
down. All of the brain satisfies ``p . u <= h(u)``, and so does its convex hull with everything inside it: no
choice of directions can touch them. A gap in the brain mask, such as an infarct at its border that was taken
for fluid, is kept as long as it lies within the margin of the hull.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

STEEPEST_DEGREES: Final = 60.0
"""Downward from straight ahead; steeper planes would cut the neck and spare nothing more of the face."""
N_DIRECTIONS: Final = 13
MARGIN_MM: Final = 12.0
"""Skull and forehead in front of the brain are kept; nose, mouth and most of the eyes lie further out."""


def face_region(
    brain: NDArray[np.bool_],
    affine: ArrayLike,
    *,
    anterior: ArrayLike = (0.0, 1.0, 0.0),
    inferior: ArrayLike = (0.0, 0.0, -1.0),
    margin_mm: float = MARGIN_MM,
) -> NDArray[np.bool_]:
    """Return the voxels of the face.

    Parameters
    ----------
    brain : array of bool (X, Y, Z)
        Brain mask.
    affine : array_like (4, 4)
        Voxel index to RAS+ mm.
    anterior, inferior : array_like (3,)
        Directions of the head in RAS mm; where the head is tilted, not the scanner's.
    margin_mm : float
        Least distance from the brain's convex hull.

    Returns
    -------
    array of bool (X, Y, Z)
        Never together with `brain`.

    Raises
    ------
    ValueError
        The mask is empty, or the margin negative.

    """
    if not brain.any():
        raise ValueError("the brain mask is empty: nothing to keep the face away from")
    if margin_mm < 0:
        raise ValueError(f"margin_mm is {margin_mm:g}, expected 0 or more")
    matrix = np.asarray(affine, dtype=np.float64)
    ahead, down = (_unit(direction) for direction in (anterior, inferior))
    face = np.zeros(brain.shape, bool)
    for angle in np.deg2rad(np.linspace(0.0, STEEPEST_DEGREES, N_DIRECTIONS)):
        along = _distance_along(brain.shape, matrix, _unit(np.cos(angle) * ahead + np.sin(angle) * down))
        face |= along > along[brain].max() + margin_mm
    return face


def _distance_along(
    shape: tuple[int, ...], matrix: NDArray[np.float64], direction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return every voxel's ``p . u`` in mm, shape `shape`."""
    steps = direction @ matrix[:3, :3]
    axes = [steps[axis] * np.arange(size) for axis, size in enumerate(shape)]
    along = axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]
    return np.asarray(along + direction @ matrix[:3, 3])


def _unit(direction: ArrayLike) -> NDArray[np.float64]:
    vector = np.asarray(direction, dtype=np.float64)
    return vector / np.linalg.norm(vector)
