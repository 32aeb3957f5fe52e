"""White matter of a phantom patient: where its fibres run, and how anisotropic diffusion is there.

Drawn by itself, not from the tract atlas, so that nothing is measured against what it was made from.
Bundles are tubes about bent centre lines. The white matter between them is cut into wedges about an oblique
axis through each hemisphere; by turns they hold fibres that fan out to the cortex and fibres that arch from
one region to another. Both kinds stay within their wedge: a step along a fibre ends in the same fibre, one
along a direction of the wrong sign or order leaves it, as in a brain.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mripipe.core.phantom_fields import soft_step

Floats = NDArray[np.floating]
Points = tuple[tuple[float, float, float], ...]

CST_PATH_MM = (
    (-60.0, 3.0, -36.0, 4.5, 4.5),
    (-50.0, 4.2, -29.5, 4.5, 4.5),
    (-40.0, 5.5, -25.5, 5.5, 6.5),
    (-30.0, 7.0, -22.5, 5.0, 7.0),
    (-22.0, 9.5, -20.0, 4.5, 7.0),
    (-14.0, 14.5, -16.0, 4.0, 6.5),
    (-7.0, 17.5, -13.5, 5.0, 6.0),
    (0.0, 19.5, -13.0, 5.0, 6.5),
    (10.0, 23.0, -12.0, 5.0, 11.0),
    (20.0, 25.0, -11.0, 5.5, 15.0),
    (30.0, 26.0, -12.0, 7.0, 17.0),
    (40.0, 24.5, -13.0, 6.5, 19.5),
    (50.0, 23.0, -16.0, 10.5, 21.0),
    (58.0, 23.5, -15.5, 17.5, 21.5),
    (64.0, 23.5, -15.0, 19.0, 21.0),
    (70.0, 19.0, -13.5, 16.0, 24.0),
)
"""Corticospinal tract in MNI mm: height z, distance from the midline, y, and half axes along x and y.

Middle and spread (two deviations) of a tract averaged over many people (HCP1065, Yeh 2022,
doi:10.1038/s41467-022-32595-4) at these heights, both sides' mean, to half a millimetre: it fans out above
the capsule. A thin tube up to the cortex is no such tract, and what is measured of it is what lies beside it.
"""
BRAIN_STEM_MM = 20.0
"""Up to about here the tract is white even where the template's tissue is grey."""
CALLOSUM_MM = ((30.0, 2.0), (24.0, 14.0), (8.0, 24.0), (-12.0, 26.0), (-30.0, 20.0), (-38.0, 9.0))
"""Arc of the corpus callosum in the midline: y, z."""
CALLOSUM_REACH_MM = 22.0
BUNDLES: tuple[tuple[float, Points], ...] = (
    (6.5, ((40, 24, 28), (37, 6, 35), (36, -14, 38), (37, -36, 36), (43, -56, 32))),
    (5.5, ((28, 48, -2), (30, 26, -4), (31, 4, -8), (34, -20, -6), (34, -44, 0))),
    (6.0, ((24, -24, -2), (34, -30, 0), (35, -48, 6), (26, -68, 8), (12, -88, 6))),
)
"""Half width in mm and centre line (distance from the midline, y, z in MNI mm): superior longitudinal and
inferior fronto-occipital fasciculus, optic radiation."""
FAN_CENTRE_MM = (20.0, -16.0, -2.0)
"""Distance from the midline, y, z: where each hemisphere's fan begins, below the internal capsule."""
FAN_AXIS = (0.62, 0.52, 0.59)
"""Oblique to all three axes of the head, so that no flip of an axis carries a wedge into itself."""
WEDGES = 26
BESIDE_MM = (22.0, 32.0)
"""Distance from the corticospinal tract along x and y within which no other fibres run along it."""
SHELL_MM = 8.0
"""There fibres run around the fan's centre, in one direction and square to it by turns."""

TRACT_MD, TRACT_FA = 0.75e-3, 0.72
OTHER_FA = 0.42


def corticospinal(mni: Floats, side: str) -> Floats:
    """Return how much of the corticospinal tract's course there is at MNI points (3, N), 0 to 1."""
    _, lateral, y = _cst_course(mni[2])
    sign = -1.0 if side == "left" else 1.0
    heights, _, _, across, along = (np.array(column) for column in zip(*CST_PATH_MM, strict=True))
    half = [np.interp(mni[2], heights, axis).astype(mni.dtype) for axis in (across, along)]
    away = np.hypot((mni[0] - sign * lateral) / half[0], (mni[1] - y) / half[1])
    # About the distance from the ellipse's border, in mm.
    depth = (1.0 - away) * np.minimum(*half)
    within = (mni[2] > CST_PATH_MM[0][0]) & (mni[2] < CST_PATH_MM[-1][0])
    return np.where(within, soft_step(depth, 2.0), 0.0)


def white_matter(mni: Floats, side: str, fa_ratio: float) -> tuple[Floats, Floats, Floats]:
    """Return what diffusion is in white matter, wherever that is.

    Parameters
    ----------
    mni : array (3, N)
        Points in MNI mm.
    side : ``left``, ``right`` or ``none``
        Whose corticospinal tract is damaged.
    fa_ratio : float
        Its anisotropy over that of the other side.

    Returns
    -------
    md : array (N,)
        mm^2/s.
    fa : array (N,)
    fibres : array (3, N)
        Unit direction in MNI axes.

    """
    x, y, z = mni
    sign = np.where(x < 0, -1.0, 1.0).astype(mni.dtype)
    # Both hemispheres are one, mirrored.
    fibres = _bundles(np.array([np.abs(x), y, z])) * np.array([sign, np.ones_like(x), np.ones_like(x)])
    fa = np.full(x.shape, OTHER_FA, mni.dtype)
    arc, above = _callosum(y, z)
    callosum = (np.abs(x) < CALLOSUM_REACH_MM) & (arc < 6.0 + 0.15 * np.abs(x))
    cingulum = (np.abs(x) > 5.0) & (np.abs(x) < 13.0) & (arc >= 6.0) & (arc < 12.0) & above
    for chosen, way in (
        (callosum, np.array([np.ones_like(x), 0 * x, 0.3 * sign * (np.abs(x) > 8)])),
        (cingulum, np.array([0 * x, np.ones_like(x), -0.02 * y])),
    ):
        fibres = np.where(chosen, way, fibres)
        fa = np.where(chosen, TRACT_FA, fa)
    course = np.array([sign, np.ones_like(x), np.ones_like(x)]) * _cst_tangent(z)
    for name in ("left", "right"):
        tract = corticospinal(mni, name) >= 0.5
        fibres = np.where(tract, course, fibres)
        fa = np.where(tract, TRACT_FA * (fa_ratio if name == side else 1.0), fa)
    fibres = _unit(fibres).astype(mni.dtype)
    return np.full(x.shape, TRACT_MD, mni.dtype), fa.astype(mni.dtype), fibres


def _bundles(points: Floats) -> Floats:
    """Direction (3, N) at points (3, N) of the right hemisphere: of the nearest bundle, else of the wedge."""
    best = np.zeros(points.shape[1], points.dtype)
    fibres = _wedges(points)
    for radius, nodes in BUNDLES:
        centres = np.array(nodes, points.dtype)
        tangents = np.gradient(centres, axis=0)
        low, high = centres.min(axis=0) - radius, centres.max(axis=0) + radius
        near = np.flatnonzero(np.all((points > low[:, None]) & (points < high[:, None]), axis=0))
        for k, step in enumerate(np.diff(centres, axis=0)):
            rest = points[:, near] - centres[k][:, None]
            share = np.clip(step @ rest / (step @ step), 0.0, 1.0)
            depth = radius - np.linalg.norm(rest - step[:, None] * share, axis=0)
            deeper = depth > best[near]
            chosen, share = near[deeper], share[deeper]
            fibres[:, chosen] = tangents[k][:, None] * (1.0 - share) + tangents[k + 1][:, None] * share
            best[chosen] = depth[deeper]
    return fibres


def _wedges(points: Floats) -> Floats:
    """Direction (3, N) at points (3, N) of the right hemisphere: away from a centre, or around it."""
    axis = np.array(FAN_AXIS, points.dtype)
    axis /= np.linalg.norm(axis)
    first = np.cross(axis, np.array([0.0, 0.0, 1.0], points.dtype))
    first /= np.linalg.norm(first)
    away = points - np.array(FAN_CENTRE_MM, points.dtype)[:, None]
    turn = np.arctan2(np.cross(axis, first) @ away, first @ away)
    fans = np.floor(turn * (WEDGES / (2.0 * np.pi))) % 2 == 0
    # In the plane of the axis and the point, square to the line from the centre.
    arch = axis[:, None] * (away**2).sum(axis=0) - away * (axis @ away)
    # Beside the corticospinal tract run fibres that cross it, so that what runs along it is the tract.
    _, lateral, y = _cst_course(points[2])
    beside = np.hypot((points[0] - lateral) / BESIDE_MM[0], (points[1] - y) / BESIDE_MM[1]) < 1.0
    around = np.cross(axis, away, axisb=0, axisc=0)
    outer = np.floor(np.linalg.norm(away, axis=0) / SHELL_MM) % 2 == 0
    fan, arch = (_unit(way) for way in (away, np.where(beside & outer, around, arch)))
    tangent = _cst_tangent(points[2])
    crossing = np.abs((fan * tangent).sum(axis=0)) < np.abs((arch * tangent).sum(axis=0))
    return np.where(np.where(beside, crossing, fans), fan, arch)


def _unit(ways: Floats) -> Floats:
    return np.asarray(ways / np.maximum(np.linalg.norm(ways, axis=0), 1e-6))


def _cst_tangent(z: Floats) -> Floats:
    """Direction (3, N) of the right corticospinal tract at heights z in mm."""
    slopes, _, _ = _cst_course(z)
    tangent = np.array([*slopes, np.ones_like(z)], z.dtype)
    return _unit(tangent)


def _cst_course(z: Floats) -> tuple[tuple[Floats, Floats], Floats, Floats]:
    """Slope (of |x| and y on z), |x| and y of the corticospinal tract at heights z in mm."""
    height, lateral, y, _, _ = (np.array(column) for column in zip(*CST_PATH_MM, strict=True))
    piece = np.clip(np.searchsorted(height, z) - 1, 0, len(height) - 2)
    slopes = (np.diff(lateral) / np.diff(height))[piece], (np.diff(y) / np.diff(height))[piece]
    return slopes, np.interp(z, height, lateral).astype(z.dtype), np.interp(z, height, y).astype(z.dtype)


def _callosum(y: Floats, z: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Distance in mm to the callosal arc in the sagittal plane, and whether a point lies outside the arc."""
    best = np.full(y.shape, np.inf, y.dtype)
    for (y0, z0), (y1, z1) in pairwise(CALLOSUM_MM):
        length = (y1 - y0) ** 2 + (z1 - z0) ** 2
        t = np.clip(((y - y0) * (y1 - y0) + (z - z0) * (z1 - z0)) / length, 0.0, 1.0)
        best = np.minimum(best, np.hypot(y - y0 - t * (y1 - y0), z - z0 - t * (z1 - z0)))
    outside = ((y + 4.0) / 34.0) ** 2 + ((z - 4.0) / 22.0) ** 2 > 1.0
    return best, outside
