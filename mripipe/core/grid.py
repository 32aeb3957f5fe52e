"""Image grids: where a voxel lies, in RAS+ millimetres.

An affine maps a voxel index to the world, x_mm = A i + t, with +x to the person's right, +y forward and
+z up. Nothing here interpolates: axes are only permuted, flipped and compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from nibabel.affines import voxel_sizes as affine_voxel_sizes
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import ArrayLike, NDArray

from mripipe.errors import InputError

GRID_TOLERANCE_MM = 0.05
"""Two grids are the same where no corner lies further apart: programs that store an affine in single
precision, or as a quaternion, move a corner by some thousandths of a millimetre; a real shift is larger."""

MM3_PER_ML = 1000.0


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image: an array with the affine that places it. Both are read-only.

    Raises
    ------
    InputError
        If the data are not 3D, or the affine is not an invertible 4 x 4 matrix.

    """

    data: NDArray[np.float32]
    """Intensities, shape (X, Y, Z)."""
    affine: NDArray[np.float64]
    """Voxel index to RAS+ mm, shape (4, 4)."""

    def __post_init__(self) -> None:
        data = np.asarray(self.data).view()
        if data.ndim != 3:
            raise InputError(f"an image volume has three axes, found shape {data.shape}; give one volume")
        affine = check_affine(self.affine)
        data.setflags(write=False)
        affine.setflags(write=False)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each array axis."""
        nx, ny, nz = self.data.shape
        return nx, ny, nz

    @property
    def voxel_sizes_mm(self) -> NDArray[np.float64]:
        """Distance between voxel centres along each array axis, shape (3,)."""
        return voxel_sizes_mm(self.affine)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel."""
        return voxel_volume_ml(self.affine)


def check_affine(affine: ArrayLike) -> NDArray[np.float64]:
    """Return a float64 copy of an affine that is fit for use.

    Parameters
    ----------
    affine : array, shape (4, 4)
        Voxel index to RAS+ mm.

    Raises
    ------
    InputError
        If it has another shape, holds a value that is not finite, has a last row other than 0 0 0 1, or is
        singular (some axis has no length, or two axes point the same way).

    """
    matrix = np.array(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise InputError(f"an affine is a 4 x 4 matrix, found shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise InputError("the affine holds values that are not finite; correct the header's orientation")
    if not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise InputError(f"the affine's last row must be 0 0 0 1, found {matrix[3].tolist()}")
    lengths = affine_voxel_sizes(matrix)
    # A relative bound: the determinant alone is tiny for honest small voxels.
    if lengths.min() <= 0 or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-3:
        raise InputError("the affine is singular: it flattens the image; correct the header's orientation")
    return matrix


def voxel_sizes_mm(affine: ArrayLike) -> NDArray[np.float64]:
    """Return the distance between voxel centres along each array axis, shape (3,).

    Examples
    --------
    >>> voxel_sizes_mm(np.diag([-2.0, 1.0, 3.0, 1.0])).tolist()
    [2.0, 1.0, 3.0]

    """
    return np.asarray(affine_voxel_sizes(np.asarray(affine, dtype=np.float64)), dtype=np.float64)


def voxel_volume_ml(affine: ArrayLike) -> float:
    """Return the volume of one voxel, right for oblique, flipped and sheared grids.

    Examples
    --------
    >>> round(voxel_volume_ml(np.diag([-2.0, 1.0, 3.0, 1.0])), 9)
    0.006

    """
    matrix = np.asarray(affine, dtype=np.float64)
    return float(abs(np.linalg.det(matrix[:3, :3]))) / MM3_PER_ML


def axis_codes(affine: ArrayLike) -> str:
    """Return where each array axis points to, such as ``"LAS"``; for an oblique grid, the nearest axis."""
    return "".join(aff2axcodes(np.asarray(affine, dtype=np.float64)))


def reorient(
    array: NDArray[Any], affine: ArrayLike, *, codes: str = "RAS"
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Permute and flip the array axes to point the wanted way; voxels keep their values and world positions.

    Parameters
    ----------
    array : array, shape (X, Y, Z[, N])
        Axes beyond the third are kept.
    affine : array, shape (4, 4)
        Voxel index to RAS+ mm.
    codes : str
        Three letters, for example ``"RAS"`` or ``"LPI"``.

    Returns
    -------
    tuple
        The reordered array (a copy) and its affine. An oblique grid stays oblique.

    """
    matrix = np.asarray(affine, dtype=np.float64)
    change = ornt_transform(io_orientation(matrix), axcodes2ornt(tuple(codes)))
    moved = np.copy(apply_orientation(array, change), order="C")
    return moved, matrix @ inv_ornt_aff(change, array.shape[:3])


def voxel_to_world(points: ArrayLike, affine: ArrayLike) -> NDArray[np.float64]:
    """Map voxel indices, shape (..., 3), to RAS+ mm.

    Examples
    --------
    >>> voxel_to_world([1, 2, 3], np.diag([-2.0, 1.0, 3.0, 1.0])).tolist()
    [-2.0, 2.0, 9.0]

    """
    return np.asarray(
        apply_affine(np.asarray(affine, dtype=np.float64), np.asarray(points)), dtype=np.float64
    )


def world_to_voxel(points_mm: ArrayLike, affine: ArrayLike) -> NDArray[np.float64]:
    """Map RAS+ mm points, shape (..., 3), to fractional voxel indices."""
    return voxel_to_world(points_mm, np.linalg.inv(np.asarray(affine, dtype=np.float64)))


def world_coordinate_mm(shape: tuple[int, ...], affine: ArrayLike, *, axis: int) -> NDArray[np.float64]:
    """Return one world coordinate of every voxel centre, shape (X, Y, Z).

    Parameters
    ----------
    shape : tuple
        Shape of the grid, (X, Y, Z).
    affine : array, shape (4, 4)
        Voxel index to RAS+ mm.
    axis : int
        0 for x (right), 1 for y (front), 2 for z (up).

    """
    row = np.asarray(affine, dtype=np.float64)[axis]
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return np.asarray(row[0] * i + row[1] * j + row[2] * k + row[3])


def corner_distance_mm(shape: tuple[int, ...], affine_a: ArrayLike, affine_b: ArrayLike) -> float:
    """Return how far apart two affines put a grid's corners, at most: no voxel lies further apart."""
    corners = list(product(*((0, size - 1) for size in shape[:3])))
    apart = voxel_to_world(corners, affine_a) - voxel_to_world(corners, affine_b)
    return float(np.linalg.norm(apart, axis=1).max())


def same_grid(
    shape_a: tuple[int, ...], affine_a: ArrayLike, shape_b: tuple[int, ...], affine_b: ArrayLike
) -> bool:
    """Say whether two grids have one shape and put every voxel within `GRID_TOLERANCE_MM` of its twin."""
    if tuple(shape_a[:3]) != tuple(shape_b[:3]):
        return False
    return corner_distance_mm(shape_a, affine_a, affine_b) <= GRID_TOLERANCE_MM


def left_right_axis(affine: ArrayLike) -> int:
    """Return the array axis that runs most nearly left to right."""
    return int(np.flatnonzero(io_orientation(np.asarray(affine, dtype=np.float64))[:, 0] == 0)[0])


def mirror_left_right(array: NDArray[Any], affine: ArrayLike) -> NDArray[Any]:
    """Flip an image left to right about the middle of its grid; the result lies on the same grid.

    On a grid aligned with the world axes this is the reflection about the plane x = the grid's middle; the
    mid-sagittal plane must have been moved there first. On an oblique grid the plane is tilted with the grid.

    Parameters
    ----------
    array : array, shape (X, Y, Z[, N])
    affine : array, shape (4, 4)
        Voxel index to RAS+ mm; tells which array axis to flip.

    """
    return np.flip(array, axis=left_right_axis(affine)).copy()


def box_about(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice, slice]:
    """Return the box (three slices) around a mask, with as many voxels more on each side as the grid has.

    Raises
    ------
    ValueError
        The mask is empty.

    Examples
    --------
    >>> mask = np.zeros((9, 9, 9), bool)
    >>> mask[4, 5, 8] = True
    >>> box_about(mask, 2)
    (slice(2, 7, None), slice(3, 8, None), slice(6, 9, None))

    """
    if not mask.any():
        raise ValueError(f"box: the mask {mask.shape} has no voxel; there is nothing to draw a box around")
    spans = []
    for others, size in zip(((1, 2), (0, 2), (0, 1)), mask.shape, strict=True):
        used = np.flatnonzero(mask.any(axis=others))
        spans.append(slice(max(0, int(used[0]) - margin), min(size, int(used[-1]) + 1 + margin)))
    x, y, z = spans
    return x, y, z
