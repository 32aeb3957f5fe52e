"""Motion and eddy currents of a series: every volume registered to what the others say it should look like.

A weighted volume is compared with the prediction of a tensor fitted to all others (its own part is taken out
by its leverage), never with b = 0 alone, whose contrast is another one (Andersson and Sotiropoulos 2016,
doi:10.1016/j.neuroimage.2015.10.019), by Gauss-Newton steps on a sample of the head's voxels. Volumes at
b = 0 are registered to the first of them, and that one to the weighted ones' mean: by mutual information,
and then by what the two show from place to place (`mripipe.core.contrast_pose`).

Eddy currents of the diffusion gradients add a field that is, in its main part, linear in space: it scales
and shears a weighted volume along its phase-encoding axis (Jezzard et al. 1998, doi:10.1002/mrm.1910390518).
Three numbers a volume tell it, found with the motion. What all volumes have in common cannot be seen by
comparing them; the field is proportional to the gradient, and so there is none without a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from mripipe.core.contrast_pose import about_origin, refine_pose
from mripipe.core.coregistration import register_sequence
from mripipe.core.gradients import GradientTable
from mripipe.core.grid import Volume
from mripipe.core.rigid import motion_matrix
from mripipe.core.smooth_volume import moved, smooth_with_slopes, value_at
from mripipe.core.tensor import B_MAX, B_TOLERANCE, design_matrix

Floats = NDArray[np.floating]

SAMPLES = 16000
STEPS = (6, 3, 3)
"""Gauss-Newton steps of each round."""
STILL_MM = 0.4
"""A volume that moved the head's voxels by less is not interpolated: so little may be an error."""


STEEPEST = 0.06
"""mm of displacement a mm by eddy currents: more is no eddy current."""

RIDGE = 1e-10
"""Keeps a step small in a direction that no voxel tells."""


@dataclass(frozen=True, eq=False)
class SeriesMotion:
    """Where the head lay in each volume, and how eddy currents displaced it there."""

    matrices: NDArray[np.float64]
    """From the first volume's mm to each volume's, RAS, shape (N, 4, 4); the first is the identity."""
    largest_mm: NDArray[np.float64]
    """How far the head's voxels moved against the first volume, at most, shape (N,)."""
    eddy: NDArray[np.float64] | None = None
    """From where the head lay in a volume to where eddy currents show it, RAS mm, shape (N, 4, 4): scale and
    shear along the phase encoding. None where it was not sought."""
    eddy_mm: NDArray[np.float64] | None = None
    """How far eddy currents displaced the head's voxels, at most, shape (N,)."""

    @property
    def whole(self) -> NDArray[np.float64]:
        """From the first volume's mm to where a volume shows it, motion and eddy currents, (N, 4, 4)."""
        return self.matrices if self.eddy is None else np.asarray(self.eddy @ self.matrices)


def still(n_volumes: int) -> SeriesMotion:
    """Return no motion at all."""
    return SeriesMotion(np.tile(np.eye(4), (n_volumes, 1, 1)), np.zeros(n_volumes))


def estimate_motion(
    data: NDArray[np.float32],
    affine: NDArray[np.float64],
    table: GradientTable,
    mask: NDArray[np.bool_],
    *,
    eddy_axis: int | None = None,
) -> SeriesMotion:
    """Find the rigid motion of every volume, and what eddy currents do to the weighted ones.

    Parameters
    ----------
    data : array (X, Y, Z, N)
    affine : array (4, 4)
    table : GradientTable
    mask : array of bool (X, Y, Z)
        Of the head's tissue.
    eddy_axis : int, optional
        Array axis of the phase encoding; eddy currents are not sought where it is not given.

    Returns
    -------
    SeriesMotion

    """
    affine = np.asarray(affine, np.float64)
    points = _sample_points(mask, affine)
    centre = points.mean(axis=0)
    weighted, plain = np.flatnonzero(~table.is_b0), np.flatnonzero(table.is_b0)
    matrices, eddy = (np.tile(np.eye(4), (data.shape[3], 1, 1)) for _ in range(2))
    along = None if eddy_axis is None else affine[:3, eddy_axis] / np.linalg.norm(affine[:3, eddy_axis])
    if len(weighted):
        matrices[weighted], eddy[weighted] = _weighted_poses(
            data[..., weighted], affine, table.take(weighted), points, centre, along
        )
    if len(plain):
        if len(weighted):
            mean = _aligned_mean(data[..., weighted], affine, (eddy @ matrices)[weighted], mask)
            first = Volume(np.ascontiguousarray(data[..., plain[0]]), affine)
            matrices[weighted] = matrices[weighted] @ _link(first, Volume(mean, affine), mask)
        matrices[plain] = _plain_poses(data[..., plain], affine, points, centre)
    matrices = matrices @ np.linalg.inv(matrices[0])
    if along is None:
        return SeriesMotion(matrices, _largest(points, matrices))
    return SeriesMotion(matrices, _largest(points, matrices), eddy, _largest(points, eddy))


def _largest(points: Floats, matrices: Floats) -> NDArray[np.float64]:
    return np.array([np.linalg.norm(moved(points, matrix) - points, axis=1).max() for matrix in matrices])


def _link(plain: Volume, weighted: Volume, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the way from the image at b = 0 to the weighted ones' mean.

    Mutual information finds about where it lies; what the images show from place to place then says it more
    exactly. The image at b = 0 explains the weighted one and not the other way round: air and fluid are both
    dark in the latter.
    """
    start = register_sequence(weighted, mask, plain, np.eye(4))
    return refine_pose(plain, mask, weighted, np.linalg.inv(start))


def _weighted_poses(
    data: NDArray[np.float32],
    affine: Floats,
    table: GradientTable,
    points: Floats,
    centre: Floats,
    along: Floats | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Register weighted volumes to what the others predict.

    Returns the head's motion from their common space to each, and eddy currents' doing there, (N, 4, 4) both.
    """
    volumes = [smooth_with_slopes(data[..., k], affine) for k in range(data.shape[3])]
    poses = np.tile(np.eye(4), (len(volumes), 1, 1))
    bends = np.zeros((len(volumes), 3))
    for n_steps in STEPS:
        samples = np.stack(
            [
                value_at(volume, affine, _turned(points, centre, _bent(bend, along) @ pose))[0]
                for volume, pose, bend in zip(volumes, poses, bends, strict=True)
            ],
            1,
        )
        targets = _targets(samples, table, poses, first=n_steps == STEPS[0])
        for k, volume in enumerate(volumes):
            poses[k], bends[k] = _register(
                volume, affine, points, centre, targets[:, k], poses[k], n_steps, along, bends[k]
            )
    bends = bends - _in_common(bends, table)
    eddy = np.stack([_bent(bend, along) for bend in bends])
    return about_origin(poses, centre), about_origin(eddy, centre)


def _bent(bend: Floats, along: Floats | None) -> NDArray[np.float64]:
    """Return the matrix (4, 4) that displaces along the phase encoding by ``bend`` mm a mm."""
    matrix = np.eye(4)
    if along is not None:
        matrix[:3, :3] += np.outer(along, bend)
    return matrix


def _in_common(bends: Floats, table: GradientTable) -> Floats:
    """Return what all volumes have in common that is not proportional to the gradient, (3,)."""
    gradients = table.directions * np.sqrt(table.b_values / table.b_values.max())[:, None]
    design = np.column_stack([np.ones(len(bends)), gradients])
    return np.asarray(np.linalg.lstsq(design, bends, rcond=1e-3)[0][0])


def _plain_poses(
    data: NDArray[np.float32], affine: Floats, points: Floats, centre: Floats
) -> NDArray[np.float64]:
    """Register volumes at b = 0 to the first of them, (N, 4, 4)."""
    poses = np.tile(np.eye(4), (data.shape[3], 1, 1))
    target = value_at(smooth_with_slopes(data[..., 0], affine), affine, points)[0]
    for k in range(1, len(poses)):
        volume = smooth_with_slopes(data[..., k], affine)
        poses[k], _ = _register(
            volume, affine, points, centre, target, poses[k], sum(STEPS), None, np.zeros(3)
        )
    return about_origin(poses, centre)


def _aligned_mean(
    data: NDArray[np.float32], affine: Floats, matrices: Floats, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the mean of the weighted volumes in their common space; outside the mask as they are."""
    points = moved(np.argwhere(mask).astype(np.float64), affine)
    inverse = np.linalg.inv(affine)
    total = np.zeros(len(points))
    for k, matrix in enumerate(matrices):
        where = moved(moved(points, matrix), inverse)
        total += map_coordinates(data[..., k], where.T, order=1, mode="nearest")
    mean = np.asarray(data.mean(axis=3), np.float32)
    mean[mask] = total / len(matrices)
    return mean


def turned_table(table: GradientTable, motion: SeriesMotion) -> GradientTable:
    """Turn each direction with the head, back to how it lay in the first volume."""
    return table.turned(np.transpose(motion.matrices[:, :3, :3], (0, 2, 1)))


def motion_numbers(motion: SeriesMotion, centre_mm: Floats) -> tuple[tuple[float, ...], ...]:
    """Return shift in mm of a point, and turn in degrees about x, y and z, of every volume."""
    rows = []
    for matrix in motion.matrices:
        moved = matrix[:3, :3] @ centre_mm + matrix[:3, 3] - centre_mm
        r = matrix[:3, :3]
        angles = np.rad2deg([np.arctan2(r[2, 1], r[2, 2]), np.arcsin(-r[2, 0]), np.arctan2(r[1, 0], r[0, 0])])
        rows.append(tuple(round(float(value), 4) for value in (*moved, *angles)))
    return tuple(rows)


def _sample_points(mask: NDArray[np.bool_], affine: Floats) -> Floats:
    index = np.argwhere(mask)
    step = max(1, len(index) // SAMPLES)
    # A prime step does not fall in with the rows of the grid.
    while step > 2 and any(step % d == 0 for d in range(2, int(step**0.5) + 1)):
        step += 1
    chosen = index[::step]
    return np.asarray(chosen @ affine[:3, :3].T + affine[:3, 3])


def _turned(points: Floats, centre: Floats, pose: Floats) -> Floats:
    """Move points by a pose that turns about the centre."""
    return moved(points - centre, pose) + centre


def _targets(samples: Floats, table: GradientTable, poses: Floats, *, first: bool) -> Floats:
    """Return what each weighted volume should look like at the points, (M, N)."""
    if first:
        targets = np.empty_like(samples)
        for shell in range(len(table.shells)):
            members = table.shell_index == shell
            targets[:, members] = samples[:, members].mean(axis=1, keepdims=True)
        return targets
    return _predicted(samples, table.turned(np.transpose(poses[:, :3, :3], (0, 2, 1))))


def _predicted(samples: Floats, table: GradientTable) -> Floats:
    """Predict every volume from all others by a tensor; beyond its b-values by the shell's mean."""
    logs = np.log(np.maximum(samples, 1e-3 * max(float(samples.max()), 1e-12)))
    usable = table.b_values <= B_MAX + B_TOLERANCE
    design = design_matrix(table)[usable]
    hat = design @ np.linalg.pinv(design)
    leverage = np.minimum(np.diag(hat), 0.9)
    rest = logs[:, usable] - logs[:, usable] @ hat.T
    out = np.empty_like(logs)
    out[:, usable] = logs[:, usable] - rest / (1.0 - leverage)
    for shell in range(len(table.shells)):
        members = (table.shell_index == shell) & ~usable
        if members.any():
            out[:, members] = logs[:, members].mean(axis=1, keepdims=True)
    return np.asarray(np.exp(np.minimum(out, logs.max())))


def _register(
    volume: Floats,
    affine: Floats,
    points: Floats,
    centre: Floats,
    target: Floats,
    pose: Floats,
    n_steps: int,
    along: Floats | None,
    bend: Floats,
) -> tuple[Floats, Floats]:
    """Refine the pose and eddy currents with which a volume looks like its target; gain and offset free."""
    for _ in range(n_steps):
        bent = _bent(bend, along)
        head = moved(points - centre, pose)
        value, *slope = value_at(volume, affine, moved(head, bent) + centre, slopes=True)
        gradient = np.stack(slope, axis=1)
        own = gradient @ bent[:3, :3]
        parts = [np.cross(head, own), own]
        if along is not None:
            parts.append(head * (gradient @ along)[:, None])
        n_free = 3 * len(parts)
        design = np.column_stack([*parts, -target, -np.ones_like(target)])
        # Voxels that disagree most are edges of what no model says: artefacts and the infarct's rim.
        scale = design.std(axis=0) + 1e-9
        start = np.linalg.lstsq(design[:, n_free:], -value, rcond=None)[0]
        rest = value + design[:, n_free:] @ start
        limit = 3.0 * 1.4826 * np.median(np.abs(rest)) + 1e-9
        weight = np.sqrt(np.minimum(1.0, limit / np.maximum(np.abs(rest), 1e-9)))
        scaled = design * weight[:, None] / scale
        # The normal equations: columns are of one size, and thousands of rows are slow to decompose.
        normal = scaled.T @ scaled + RIDGE * len(points) * np.eye(len(scale))
        found = np.linalg.solve(normal, scaled.T @ (-value * weight)) / scale
        # A step is at most what a head moves between two volumes; more is the linear model's error.
        step = np.clip(found[:6], [-0.05] * 3 + [-3.0] * 3, [0.05] * 3 + [3.0] * 3)
        pose = motion_matrix(step) @ pose
        if along is not None:
            bend = np.clip(bend + found[6:9], -STEEPEST, STEEPEST)
    return pose, bend
