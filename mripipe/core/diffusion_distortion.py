"""Distortion by the field, from two images whose phase was encoded in opposite directions.

Both show one head, pushed the one way and the other along the phase-encoding axis and brightened where it was
pressed together (Andersson et al. 2003, doi:10.1016/S1053-8119(03)00336-7). With u(x) the displacement in mm,
u' its slope along that axis, and r the ratio of what the field does in the two images,

    J1(x) = I1(x + u e) (1 + u')        J2(x) = I2(R x - r u e) (1 - r u')

are the same image: u minimises the squares of J1 - J2 and of its own gradient, by Gauss-Newton steps from
coarse to fine (Holland et al. 2010, doi:10.1016/j.neuroimage.2009.11.044; Ruthotto et al. 2012,
doi:10.1088/0031-9155/57/18/5715). R is the head's motion between the images. A motion along the
phase-encoding axis cannot be told from a field that is the same everywhere, and counts as field.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from mripipe.core.field_algebra import part_along, slope_along, slope_turned, solve_symmetric, stretched
from mripipe.core.grid import Volume, voxel_to_world, world_to_voxel
from mripipe.core.rigid import motion_matrix

Floats = NDArray[np.floating]

LEVELS_MM = (8.0, 4.0, 2.0)
"""Grid of each round, never finer than the image's own."""
STEPS = (8, 6, 3)
"""Gauss-Newton steps of each round, at most."""
STILL_MM = 0.02
"""A round ends with a step that moves no point further."""
SMOOTHNESS = 0.01
"""Weight of the squared gradient of u (mm/mm) beside squared differences of signals, the head's being 1."""
STEEPEST = 0.9
"""Largest slope of u: at 1 the head would be folded upon itself."""
HEAD_PERCENTILE = 90.0
"""Signal of the head: what is brighter is a tenth of the image, fluid and fat."""
AIR = 0.1
"""Of the head's signal: less is air."""
MARGIN_MM = 16.0
"""Around the head, into which the second image may be displaced."""


@dataclass(frozen=True, eq=False)
class ReversedPair:
    """Two images of one head, encoded in opposite directions along one axis."""

    first: Volume
    second: Volume
    """On any grid."""
    axis: int
    """Array axis of the first image's phase encoding."""
    second_axis: int
    """Array axis of the second image's."""
    ratio: float = 1.0
    """How far the field displaces the second image, in mm, where it displaces the first by 1 mm the other
    way: readout time times voxel size, over the first image's."""


@dataclass(frozen=True, eq=False)
class FoundField:
    """Displacement by the field, and the head's motion between the two images."""

    displacement_mm: NDArray[np.float32]
    """On the first image's grid, along its phase-encoding axis in array order (X, Y, Z): what belongs at x
    is found at x + u in the first image."""
    pose: NDArray[np.float64]
    """From where the head lay in the first image to where it lay in the second, RAS mm, (4, 4)."""


@dataclass(frozen=True, eq=False)
class _Level:
    """A round's grid, and both images smoothed for it, each with its gradient in RAS mm (4, X, Y, Z)."""

    points: Floats
    """RAS mm of the grid, (3, x, y, z)."""
    step_mm: Floats
    """Between its points along each axis."""
    images: tuple[Floats, Floats]


def estimate_field(pair: ReversedPair) -> FoundField:
    """Find the displacement that makes two images of opposite phase encoding the same.

    Parameters
    ----------
    pair : ReversedPair
        Images without diffusion weighting; they may differ in gain.

    Returns
    -------
    FoundField

    """
    head, corner = _around_the_head(pair.first)
    near = replace(pair, first=head)
    along = [_along(image, axis) for image, axis in ((head, pair.axis), (pair.second, pair.second_axis))]
    if along[0] @ along[1] < 0:
        along[1] = -along[1]
    centre = voxel_to_world((np.array(head.shape) - 1) / 2, head.affine)
    u: Floats = np.zeros((2, 2, 2), np.float32)
    pose: Floats = np.eye(4)
    for level_mm, steps in zip(LEVELS_MM, STEPS, strict=True):
        level = _level(near, level_mm)
        u = stretched(u, level.points.shape[1:])
        for _ in range(steps):
            before = u
            u = _field_step(level, near, along, u, pose, centre)
            pose = _pose_step(level, near, along, u, pose, centre)
            if float(np.abs(u - before).max()) < STILL_MM:
                break
    whole = stretched(u, head.shape)
    ends = [(c, n - c - m) for c, n, m in zip(corner, pair.first.shape, head.shape, strict=True)]
    return FoundField(np.pad(whole, ends, mode="edge"), _about(pose, centre))


def _around_the_head(image: Volume) -> tuple[Volume, tuple[int, ...]]:
    """Cut the head out with a margin; return where the cut begins too."""
    smooth = gaussian_filter(image.data, 4.0 / image.voxel_sizes_mm)
    bright = smooth > AIR * np.percentile(smooth, HEAD_PERCENTILE)
    margin = np.ceil(MARGIN_MM / image.voxel_sizes_mm).astype(int)
    index = np.argwhere(bright) if bright.any() else np.argwhere(~bright)
    low = np.maximum(index.min(axis=0) - margin, 0)
    high = np.minimum(index.max(axis=0) + margin + 1, image.shape)
    cut = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = image.affine.copy()
    affine[:3, 3] = voxel_to_world(low, image.affine)
    return Volume(image.data[cut], affine), tuple(int(a) for a in low)


def _along(image: Volume, axis: int) -> Floats:
    column = image.affine[:3, axis]
    return np.asarray(column / np.linalg.norm(column))


def _level(pair: ReversedPair, level_mm: float) -> _Level:
    zooms = pair.first.voxel_sizes_mm
    shape = tuple(
        max(int(np.ceil((n - 1) * z / max(level_mm, z))) + 1, 2)
        for n, z in zip(pair.first.shape, zooms, strict=True)
    )
    steps = [
        np.linspace(0.0, n - 1, count, dtype=np.float32)
        for n, count in zip(pair.first.shape, shape, strict=True)
    ]
    index = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)
    points = np.moveaxis(voxel_to_world(index, pair.first.affine), -1, 0).astype(np.float32)
    apart = np.array([(n - 1) * z / (c - 1) for n, z, c in zip(pair.first.shape, zooms, shape, strict=True)])
    return _Level(points, apart, (_smooth(pair.first, level_mm), _smooth(pair.second, level_mm)))


def _smooth(image: Volume, level_mm: float) -> Floats:
    """Return an image at the signal 1, smoothed, with its gradient in RAS mm, (4, X, Y, Z)."""
    signal = max(float(np.percentile(image.data, HEAD_PERCENTILE)), 1e-12)
    # At the finest level a little more than the interpolation would do by itself.
    smooth = gaussian_filter(image.data.astype(np.float32) / signal, 0.5 * level_mm / image.voxel_sizes_mm)
    turn = np.linalg.inv(image.affine[:3, :3]).T.astype(np.float32)
    return np.concatenate([smooth[None], np.tensordot(turn, np.stack(np.gradient(smooth)), axes=1)])


def _sampled(image: Floats, affine: Floats, points: Floats) -> Floats:
    """Look an image and its gradient up at RAS mm (3, ...); (4, ...)."""
    where = np.moveaxis(world_to_voxel(np.moveaxis(points, 0, -1), affine), -1, 0).astype(np.float32)
    return np.stack([map_coordinates(part, where, order=1, mode="nearest") for part in image])


def _both(
    level: _Level, pair: ReversedPair, along: list[Floats], u: Floats, pose: Floats, centre: Floats
) -> tuple[Floats, Floats]:
    """Look both images up where the field puts them, each with its gradient."""
    shape = (3, 1, 1, 1)
    first = level.points + along[0].reshape(shape) * u
    second = _moved(level.points, pose, centre) - pair.ratio * along[1].reshape(shape) * u
    return (
        _sampled(level.images[0], pair.first.affine, first),
        _sampled(level.images[1], pair.second.affine, second),
    )


def _moved(points: Floats, pose: Floats, centre: Floats) -> Floats:
    """Move RAS mm (3, ...) by a pose that turns about the centre."""
    middle = centre.reshape(3, 1, 1, 1)
    moved = np.tensordot(pose[:3, :3], points - middle, axes=1) + pose[:3, 3].reshape(3, 1, 1, 1) + middle
    return np.asarray(moved, np.float32)


def _about(pose: Floats, centre: Floats) -> NDArray[np.float64]:
    """Return the matrix of a pose that turns about the centre."""
    matrix = np.eye(4)
    matrix[:3, :3] = pose[:3, :3]
    matrix[:3, 3] = pose[:3, 3] + centre - pose[:3, :3] @ centre
    return matrix


def _field_step(
    level: _Level, pair: ReversedPair, along: list[Floats], u: Floats, pose: Floats, centre: Floats
) -> Floats:
    """Improve the field by a Gauss-Newton step, shortened until it helps."""
    axis, step_mm, r = pair.axis, float(level.step_mm[pair.axis]), pair.ratio
    one, two = _both(level, pair, along, u, pose, centre)
    slope = slope_along(u, step_mm, axis)
    gain = _gain(one[0] * (1 + slope), two[0] * (1 - r * slope))
    rest = one[0] * (1 + slope) - gain * two[0] * (1 - r * slope)
    change = np.tensordot(along[0], one[1:], axes=1) * (1 + slope)
    change += gain * r * np.tensordot(along[1], two[1:], axes=1) * (1 - r * slope)
    spread = one[0] + gain * r * two[0]
    change, spread = change.astype(np.float32), spread.astype(np.float32)
    right = -(change * rest + slope_turned(spread * rest, step_mm, axis) + _stiff(u, level.step_mm))

    def system(x: Floats) -> Floats:
        inner = change * x + spread * slope_along(x, step_mm, axis)
        turned = change * inner + slope_turned(spread * inner, step_mm, axis)
        return np.asarray(turned + _stiff(x, level.step_mm))

    diagonal = change**2 + spread**2 / (2 * step_mm**2) + SMOOTHNESS * float((2 / level.step_mm**2).sum())
    step = solve_symmetric(system, right.astype(np.float32), diagonal)
    before = _cost(rest, u, level.step_mm)
    for part in (1.0, 0.5, 0.25, 0.125):
        tried = np.asarray(u + np.float32(part) * step)
        slope = slope_along(tried, step_mm, axis)
        if max(1.0, r) * float(np.abs(slope).max()) > STEEPEST:
            continue
        a, b = _both(level, pair, along, tried, pose, centre)
        rest = a[0] * (1 + slope) - gain * b[0] * (1 - r * slope)
        if _cost(rest, tried, level.step_mm) < before:
            return tried
    return u


def _pose_step(
    level: _Level, pair: ReversedPair, along: list[Floats], u: Floats, pose: Floats, centre: Floats
) -> Floats:
    """Improve the head's motion between the images; along the phase encoding is all field."""
    slope = slope_along(u, float(level.step_mm[pair.axis]), pair.axis)
    one, two = _both(level, pair, along, u, pose, centre)
    first, factor = one[0] * (1 + slope), 1 - pair.ratio * slope
    gain = _gain(first, two[0] * factor)
    rest = (first - gain * two[0] * factor).ravel()
    gradient = (gain * two[1:] * factor).reshape(3, -1).T
    moved = (_moved(level.points, pose, centre) - centre.reshape(3, 1, 1, 1)).reshape(3, -1).T
    shifts = np.linalg.svd(along[1][None])[2][1:]
    design = np.column_stack([np.cross(moved, gradient), gradient @ shifts.T]).astype(np.float64)
    scale = np.sqrt((design**2).mean(axis=0)) + 1e-9
    design /= scale
    normal = design.T @ design + 1e-6 * len(design) * np.eye(design.shape[1])
    found = np.linalg.solve(normal, design.T @ rest) / scale
    step = np.concatenate([np.clip(found[:3], -0.05, 0.05), np.clip(found[3:], -4.0, 4.0) @ shifts])
    return np.asarray(motion_matrix(step) @ pose)


def _gain(first: Floats, second: Floats) -> float:
    return float((first * second).sum() / max(float((second**2).sum()), 1e-12))


def _stiff(u: Floats, step_mm: Floats) -> Floats:
    """Return the gradient of the field's roughness, the sum of its squared slopes."""
    out = np.zeros_like(u)
    for axis in range(3):
        weight = np.float32(SMOOTHNESS / step_mm[axis] ** 2)
        ahead, behind = part_along(axis, 1, None), part_along(axis, None, -1)
        apart = weight * (u[ahead] - u[behind])
        out[ahead] += apart
        out[behind] -= apart
    return out


def _cost(rest: Floats, u: Floats, step_mm: Floats) -> float:
    return float((rest.astype(np.float64) ** 2).sum() + (u * _stiff(u, step_mm)).astype(np.float64).sum())
