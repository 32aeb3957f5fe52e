"""Refine a pose between two images of different contrast, by what each shows in small cubes.

Within a cube the moving image should be a polynomial of third degree in the fixed one (Guimond et al. 2001,
doi:10.1109/42.906425, have one for the whole image), whatever its coefficients are: shading does not matter
there, nor that fluid is bright in one image and dark in the other. Mutual information of whole heads is
drawn aside by both, by a fifth of a millimetre between an image at b = 0 and weighted ones.

The coefficients are eliminated from the unknowns (Golub and Pereyra 1973, doi:10.1137/0710036), and six are
left for Gauss-Newton steps. A cube counts by the inverse of what its polynomial does not explain, which
makes the cost the sum of the cubes' log variances: an infarct's border or a vessel has little say. The cost
itself is not looked at: interpolation takes noise away, and so it is higher where voxels meet voxels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mripipe.core.grid import Volume, voxel_sizes_mm
from mripipe.core.rigid import motion_matrix
from mripipe.core.smooth_volume import moved, smooth_with_slopes, value_at

Floats = NDArray[np.floating]

CUBE_MM = 12.0
CUBE_VOXELS = 60
"""A cube holds about as many at least: the polynomial takes four numbers of them."""
LEAST_FULL = 0.4
"""Cubes that the mask fills by less are left out."""
DEGREE = 3
STEPS = 25
"""What has not settled after as many is not believed."""
SMALLEST_STEP = (1e-4, 0.003)
"""Radians and mm."""
LONGEST_STEP = (0.02, 1.0)
LEAST_VARIANCE = 0.2
"""Added to a cube's variance, times the cubes' median: a cube of air must not rule."""
RIDGE = 1e-9


def refine_pose(fixed: Volume, mask: NDArray[np.bool_], moving: Volume, start: Floats) -> NDArray[np.float64]:
    """Refine the rigid matrix that lays one image over another of any contrast.

    Parameters
    ----------
    fixed : Volume
        The richer contrast: what differs in the moving image differs here too.
    mask : array of bool, shape of ``fixed.data``
        What is compared.
    moving : Volume
        On any grid.
    start : array (4, 4)
        Fixed RAS mm to moving RAS mm, right to a few millimetres.

    Returns
    -------
    array (4, 4)
        Fixed RAS mm to moving RAS mm; ``start`` where nothing can be compared or the search does
        not settle.

    """
    points = np.argwhere(mask) @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    full, cube = _cubes(points, fixed.affine)
    if not full.any():
        return np.array(start, np.float64)
    known = smooth_with_slopes(fixed.data, fixed.affine)[0][mask][full].astype(np.float64)
    volume, points = smooth_with_slopes(moving.data, moving.affine), points[full]
    basis = _basis(known, cube)
    count, middle = np.bincount(cube), points.mean(axis=0)
    pose = np.array(start, np.float64)
    for _ in range(STEPS):
        head, centre = moved(points, pose), moved(middle[None], pose)[0]
        value, *slopes = value_at(volume, moving.affine, head, slopes=True)
        slope = np.stack(slopes, axis=1)
        rest = _unexplained(value, basis, cube)
        variance = np.bincount(cube, rest**2) / count
        variance = variance + LEAST_VARIANCE * np.median(variance) + np.finfo(float).tiny
        design = np.column_stack([np.cross(head - centre, slope), slope])
        step = _step(np.column_stack([_unexplained(c, basis, cube) for c in design.T]), rest, variance[cube])
        pose = about_origin(motion_matrix(step), centre) @ pose
        if np.abs(step[:3]).max() < SMALLEST_STEP[0] and np.abs(step[3:]).max() < SMALLEST_STEP[1]:
            return pose
    return np.array(start, np.float64)


def _cubes(points: Floats, affine: Floats) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which points lie in cubes that are full enough, and the number of the cube of each of these."""
    if len(points) == 0:
        return np.zeros(0, bool), np.zeros(0, np.int64)
    edge = max(CUBE_MM, float((CUBE_VOXELS * np.prod(voxel_sizes_mm(affine))) ** (1.0 / 3.0)))
    index = np.floor((points - points.min(axis=0)) / edge).astype(np.int64)
    cube = np.ravel_multi_index(tuple(index.T), tuple(index.max(axis=0) + 1))
    full = (np.bincount(cube) >= LEAST_FULL * np.bincount(cube).max())[cube]
    return full, np.unique(cube[full], return_inverse=True)[1].ravel()


def _basis(known: Floats, cube: NDArray[np.int64]) -> list[Floats]:
    """Return the powers of the fixed image, orthogonal and of length 1 within each cube."""
    count = np.bincount(cube)
    basis: list[Floats] = [1.0 / np.sqrt(count[cube])]
    centred = _unexplained(known, basis, cube)
    for degree in range(1, DEGREE + 1):
        power = _unexplained(centred**degree, basis, cube)
        length = np.bincount(cube, power**2)
        # Where an image is even, its powers are noise of rounding.
        basis.append(power / np.sqrt(length + RIDGE * length.mean() + np.finfo(float).tiny)[cube])
    return basis


def _unexplained(values: Floats, basis: list[Floats], cube: NDArray[np.int64]) -> Floats:
    for direction in basis:
        values = values - np.bincount(cube, values * direction)[cube] * direction
    return values


def _step(design: Floats, rest: Floats, variance: Floats) -> NDArray[np.float64]:
    """Return the step, rotation in radians and shift in mm, that leaves least of the rest."""
    weighted = design / variance[:, None]
    normal, right = design.T @ weighted, -weighted.T @ rest
    size = np.sqrt(np.diag(normal))
    # What no voxel tells, as in an even image, stays.
    size = np.where(size > 0, size, 1.0)
    step = np.linalg.solve(normal / np.outer(size, size) + RIDGE * np.eye(6), right / size) / size
    limit = np.repeat(LONGEST_STEP, 3)
    return np.asarray(np.clip(step, -limit, limit))


def about_origin(poses: Floats, centre: Floats) -> NDArray[np.float64]:
    """Write matrices (..., 4, 4) that turn about a point in mm as they are about the origin."""
    shift = np.eye(4)
    shift[:3, 3] = centre
    return np.asarray(shift @ poses @ np.linalg.inv(shift))
