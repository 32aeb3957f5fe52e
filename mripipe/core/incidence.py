"""Lesions of many people on one grid: where they lie, how much of each labelled region they take.

A mask is carried to the target grid by asking, for each target voxel, which mask voxel its centre lies in.
Where the two grids differ by whole voxels and axis order alone, as masks at 1 mm in MNI do, that is the same
as moving the lesion's voxels, and much faster.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mripipe.core.grid import voxel_to_world, world_to_voxel

_WHOLE: Final = 1e-3
"""Voxels that two grids may be off whole steps: rounding of a header."""


def crop_to_lesion(
    mask: NDArray[np.bool_], affine: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Cut a mask to the box that holds its lesion.

    Parameters
    ----------
    mask : array of bool, shape (X, Y, Z)
    affine : array, shape (4, 4)
        Voxel index to RAS+ mm.

    Returns
    -------
    tuple
        The box, of length 0 where the mask is empty, and its affine.

    """
    # One pass in the order in which the voxels lie in memory: many times faster than by three indices.
    order: Literal["F", "C"] = "F" if mask.flags.f_contiguous else "C"
    flat = np.flatnonzero(mask.ravel(order="A"))
    index = np.unravel_index(flat, mask.shape, order=order)
    low = np.array([int(i.min()) if len(flat) else 0 for i in index])
    high = [int(i.max()) + 1 if len(flat) else 0 for i in index]
    moved = np.array(affine, float)
    moved[:3, 3] += moved[:3, :3] @ low
    return mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], moved


def lesion_on_grid(
    mask: NDArray[Any], affine: ArrayLike, shape: tuple[int, ...], target_affine: ArrayLike
) -> NDArray[np.intp]:
    """Return the voxels of a target grid that lie in a lesion.

    Parameters
    ----------
    mask : array, shape (X, Y, Z)
        Zero outside; any orientation and voxel size.
    affine : array, shape (4, 4)
        Its voxel index to RAS+ mm.
    shape : tuple of int
        Of the target grid.
    target_affine : array, shape (4, 4)
        The target's voxel index to RAS+ mm, in the same space.

    Returns
    -------
    array, shape (N, 3)
        Indices into the target grid, each once.

    """
    inside = np.argwhere(mask)
    if not len(inside):
        return inside
    step = np.linalg.inv(np.asarray(target_affine, float)) @ np.asarray(affine, float)
    rounded = np.rint(step)
    whole = np.abs(step - rounded).max() < _WHOLE and abs(abs(np.linalg.det(rounded[:3, :3])) - 1) < _WHOLE
    if whole:
        # Whole steps: a permutation with flips and a shift.
        moved = inside @ rounded[:3, :3].astype(np.intp).T + rounded[:3, 3].astype(np.intp)
        return np.asarray(moved[((moved >= 0) & (moved < shape)).all(axis=1)])
    return _pulled(mask, inside, np.asarray(affine, float), shape, np.asarray(target_affine, float))


def _pulled(
    mask: NDArray[Any],
    inside: NDArray[np.intp],
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
    target_affine: NDArray[np.float64],
) -> NDArray[np.intp]:
    """Look up the mask at every target voxel near the lesion."""
    low, high = inside.min(axis=0) - 0.5, inside.max(axis=0) + 0.5
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
    box = world_to_voxel(voxel_to_world(corners, affine), target_affine)
    first = np.clip(np.floor(box.min(axis=0)).astype(int), 0, shape)
    last = np.clip(np.ceil(box.max(axis=0)).astype(int) + 1, 0, shape)
    ranges = [np.arange(a, b) for a, b in zip(first, last, strict=True)]
    target = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    # Not rint, which sends a point between two voxels now up, now down.
    source = np.floor(world_to_voxel(voxel_to_world(target, target_affine), affine) + 0.5).astype(int)
    held = ((source >= 0) & (source < mask.shape)).all(axis=1)
    hit = np.zeros(len(target), bool)
    hit[held] = np.asarray(mask)[tuple(source[held].T)] != 0
    return np.asarray(target[hit])


def covered_share(
    labels: NDArray[np.integer[Any]],
    label_affine: ArrayLike,
    shape: tuple[int, ...],
    affine: ArrayLike,
) -> NDArray[np.float64]:
    """Return the share of each label that lies in a grid's field of view.

    Parameters
    ----------
    labels : array, shape (X, Y, Z)
        0 where there is none.
    label_affine : array, shape (4, 4)
        Their voxel index to RAS+ mm.
    shape, affine
        Of the grid that is asked about.

    Returns
    -------
    array, shape (highest label + 1,)
        0 to 1; NaN for a label that nothing has.

    """
    where = np.argwhere(labels > 0)
    values = labels[tuple(where.T)].astype(np.intp)
    source = world_to_voxel(voxel_to_world(where, label_affine), affine)
    held = ((source >= -0.5) & (source <= np.array(shape) - 0.5)).all(axis=1)
    total = np.bincount(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(values[held], minlength=len(total)) / total)


def lesioned_share(
    voxels: NDArray[np.intp], labels: NDArray[np.integer[Any]], sizes: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return the share of each label that is lesion.

    Parameters
    ----------
    voxels : array, shape (N, 3)
        Lesion voxels on the labels' grid, each once.
    labels : array, shape (X, Y, Z)
        0 where there is none.
    sizes : array, shape (highest label + 1,)
        Voxels of each label.

    Returns
    -------
    array, shape (highest label + 1,)
        0 to 1; the first entry and labels that nothing has mean nothing.

    """
    found = np.bincount(labels[tuple(voxels.T)].astype(np.intp), minlength=len(sizes))
    return np.asarray(found / np.maximum(sizes, 1))
