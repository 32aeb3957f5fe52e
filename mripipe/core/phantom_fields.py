"""Smooth random fields and linear sampling, the ground the phantoms stand on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float32]
AffineArray = NDArray[np.float64]


def grid_affine(low_mm: tuple[float, float, float], spacing_mm: float) -> AffineArray:
    """Return the affine (4, 4) of an RAS-aligned grid whose first voxel's centre lies at ``low_mm``."""
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = low_mm
    return affine


def grid_points(shape: tuple[int, ...], affine: AffineArray) -> FloatArray:
    """Return voxel centres in mm, shape (3, N), in C order of a grid of ``shape`` (X, Y, Z)."""
    axes = [affine[:3, axis, None] * np.arange(shape[axis]) for axis in range(3)]
    points = (
        axes[0][:, :, None, None]
        + axes[1][:, None, :, None]
        + axes[2][:, None, None, :]
        + affine[:3, 3, None, None, None]
    )
    return points.astype(np.float32).reshape(3, -1)


def apply_affine(affine: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Map points (3, N) by an affine (4, 4), in the points' own precision."""
    matrix = affine.astype(points.dtype)
    return np.asarray(matrix[:3, :3] @ points + matrix[:3, 3:])


def sample(
    volume: NDArray[np.generic],
    affine: AffineArray,
    points: NDArray[np.floating],
    *,
    outside: float | None = 0.0,
) -> NDArray[np.floating]:
    """Interpolate linearly at points in mm.

    Parameters
    ----------
    volume : array (X, Y, Z)
    affine : array (4, 4)
        Voxel index of ``volume`` to mm.
    points : array (3, N)
        Where to sample, mm in the volume's space.
    outside : float or None
        Value beyond the grid; None repeats the nearest edge.

    Returns
    -------
    array (N,)
        In the points' precision.

    """
    index = apply_affine(np.linalg.inv(affine), points)
    out = np.empty(points.shape[1], points.dtype)
    mode = "nearest" if outside is None else "constant"
    ndimage.map_coordinates(
        volume, index, output=out, order=1, mode=mode, cval=outside or 0.0, prefilter=False
    )
    return out


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma_voxels: float) -> FloatArray:
    """Draw Gaussian-smoothed white noise of mean 0 and standard deviation 1."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, sigma_voxels, mode="wrap", truncate=3.0)
    return np.asarray((smooth - smooth.mean()) / smooth.std(), np.float32)


def soft_step(distance_mm: NDArray[np.floating], width_mm: float = 1.0) -> NDArray[np.floating]:
    """Return 0 below, 1 above zero, with a linear ramp ``width_mm`` wide."""
    return np.asarray(np.clip(distance_mm / width_mm + 0.5, 0.0, 1.0))


def ball_distance(
    points: NDArray[np.floating], centre_mm: tuple[float, float, float], radii_mm: tuple[float, float, float]
) -> NDArray[np.floating]:
    """Approximate signed distance in mm to an ellipsoid, negative inside; points (3, N)."""
    centre = np.asarray(centre_mm, points.dtype)[:, None]
    radii = np.asarray(radii_mm, points.dtype)[:, None]
    reduced = np.sqrt((((points - centre) / radii) ** 2).sum(0))
    return np.asarray((reduced - 1.0) * min(radii_mm), points.dtype)
