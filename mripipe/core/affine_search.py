"""Coarse affine from any head image to the template: the pose in which a simple picture of a head fits best.

The picture is the template's tissue maps, each with the brightness that its sequence gives it, inside a dark
shell of CSF and skull.  The pose that maximises its correlation with the image is found from several starts.
Only brain and skull are compared: scalp, neck and face differ too much between heads and scans.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from mripipe.core.grid import Volume

Floats = NDArray[np.floating]

SEARCH_MM = 4.0
"""Grid of the search: coarse enough for seconds, fine enough for a few mm."""
SHELLS_MM = (3.0, 8.0)
"""Outer borders of the shells around the brain: CSF and dura, then skull; the scalp varies too much."""
STARTS_PITCH_DEG = (-20.0, 0.0, 20.0)
STARTS_SHIFT_MM = (-15.0, 0.0, 15.0)
BRIGHTNESS = {
    "T1w": (0.75, 1.0, 0.3, 0.3, 0.2),
    "T2w": (0.6, 0.4, 1.0, 0.6, 0.1),
    "FLAIR": (1.0, 0.85, 0.3, 0.3, 0.15),
}
"""Relative brightness of grey matter, white matter, CSF and the two shells, by BIDS suffix."""
PARAMETER_SCALES = np.array([10.0, 10.0, 10.0, 0.15, 0.15, 0.15, 0.1, 0.1, 0.1])
"""Typical size of each parameter's step: mm, radians, log scale."""
SIZE_PRIOR = 0.01
"""What one standard deviation of one scale costs, in correlation."""
SCALE_SPREAD = 0.12
"""Standard deviation of adult brain size about the template's, as log scale, for the mild prior."""


def in_contrast_of(sequence: str, t1: Floats, gm: Floats, wm: Floats, csf: Floats) -> NDArray[np.float32]:
    """Return the template's brain as a sequence shows it; the template's own image for a T1w."""
    if sequence == "T1w":
        return np.asarray(t1, np.float32)
    grey, white, fluid = BRIGHTNESS[sequence][:3]
    return np.asarray(grey * gm + white * wm + fluid * csf, np.float32)


def head_picture(
    gm: Floats, wm: Floats, mask: NDArray[np.bool_], *, sequence: str, step: int
) -> tuple[Floats, Floats]:
    """Return sampled voxel indices (N, 3) of brain and shells, and the expected brightness there (N,)."""
    outside = distance_transform_edt(~mask)
    borders = (0.0, *SHELLS_MM)
    shells = [(outside > low) & (outside <= high) for low, high in pairwise(borders)]
    csf = np.where(mask, np.clip(1.0 - gm - wm, 0.0, 1.0), 0.0)
    levels = BRIGHTNESS[sequence]
    picture = sum(
        level * np.asarray(m, np.float32) for level, m in zip(levels, (gm, wm, csf, *shells), strict=True)
    )
    region = np.zeros(mask.shape, bool)
    region[::step, ::step, ::step] = (outside <= SHELLS_MM[-1])[::step, ::step, ::step]
    return np.argwhere(region).astype(float), gaussian_filter(picture, step / 2.0)[region].astype(float)


def pose_matrix(parameters: Floats, centre: Floats, start: Floats) -> Floats:
    """Return the affine, template mm to image mm, of nine parameters (shift, rotation vector, log scales)."""
    matrix = np.eye(4)
    linear = Rotation.from_rotvec(parameters[3:6]).as_matrix() @ np.diag(np.exp(parameters[6:9]))
    matrix[:3, :3] = linear
    matrix[:3, 3] = start + parameters[:3] - linear @ centre
    return matrix


def search_affine(
    image: Volume, gm: Floats, wm: Floats, mask: NDArray[np.bool_], affine: Floats, *, sequence: str
) -> Floats:
    """Find the affine that lays the template over an image.

    Parameters
    ----------
    image : Volume
        Brain cut out of its head by `mripipe.core.rough_brain.isolate_brain`.
    gm, wm, mask : arrays of one shape (X, Y, Z)
        The template's grey- and white-matter probability and brain mask.
    affine : array (4, 4)
        The template's voxel index to RAS+ mm, about 1 mm voxels.
    sequence : str
        ``T1w``, ``T2w`` or ``FLAIR``.

    Returns
    -------
    array (4, 4)
        Maps template RAS mm to image RAS mm; good to a few mm, to start a registration from.

    """
    step = round(SEARCH_MM / float(np.linalg.norm(affine[:3, 0])))
    index, picture = head_picture(gm, wm, mask, sequence=sequence, step=step)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    centre = np.argwhere(mask).mean(axis=0) @ affine[:3, :3].T + affine[:3, 3]
    zooms = np.linalg.norm(image.affine[:3, :3], axis=0)
    small = Volume(gaussian_filter(image.data, SEARCH_MM / 2.0 / zooms), image.affine)
    start = np.argwhere(image.data > 0).mean(axis=0) @ image.affine[:3, :3].T + image.affine[:3, 3]
    coarse = _pose_cost(small, points[::8], picture[::8], centre, start)
    fine = _pose_cost(small, points[::2], picture[::2], centre, start)
    options = {"xtol": 1e-2, "ftol": 1e-5, "maxiter": 12}
    found = minimize(fine, _best_start(coarse), method="Powell", options=options)
    return pose_matrix(found.x * PARAMETER_SCALES, centre, start)


def _sample(image: Volume, matrix: Floats, points: Floats) -> Floats:
    """Return the image's values at template points (N, 3) carried by a matrix, 0 outside the image."""
    inside = np.linalg.inv(image.affine) @ matrix
    where = inside[:3, :3] @ points.T + inside[:3, 3:]
    return np.asarray(map_coordinates(image.data, where, order=1, mode="constant"), float)


def _pose_cost(
    image: Volume, points: Floats, picture: Floats, centre: Floats, start: Floats
) -> Callable[[Floats], float]:
    """Return the cost of a pose in `PARAMETER_SCALES`: one minus correlation, and a mild size prior."""
    wanted = picture - picture.mean()
    wanted /= np.linalg.norm(wanted)
    # Where the head lies outside the image nothing varies; the floor keeps such poses from winning.
    floor = 0.1 * len(points) * float(np.var(image.data))

    def cost(unit: Floats) -> float:
        parameters = unit * PARAMETER_SCALES
        values = _sample(image, pose_matrix(parameters, centre, start), points)
        values -= values.mean()
        correlation = float(wanted @ values) / np.sqrt(float(values @ values) + floor)
        prior = SIZE_PRIOR * float(np.sum((parameters[6:9] / SCALE_SPREAD) ** 2))
        return float(1.0 - correlation + prior)

    return cost


def _best_start(cost: Callable[[Floats], float]) -> Floats:
    """Return the best of a few short searches from different nods and heights."""
    found: list[tuple[float, int, Floats]] = []
    for pitch in STARTS_PITCH_DEG:
        for shift in STARTS_SHIFT_MM:
            first = np.zeros(9)
            first[2] = shift / PARAMETER_SCALES[2]
            first[3] = np.radians(pitch) / PARAMETER_SCALES[3]
            options = {"xtol": 0.1, "ftol": 1e-3, "maxiter": 2}
            short = minimize(cost, first, method="Powell", options=options)
            found.append((float(short.fun), len(found), short.x))
    return min(found)[2]
