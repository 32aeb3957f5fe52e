"""Scanner side of a phantom: grids of any orientation, head pose, bias field and noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mripipe.core.phantom_fields import AffineArray, FloatArray, grid_points

AXIS_OF_LETTER = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
FIELD_OF_VIEW_MM = (200.0, 248.0, 232.0)
"""Right-left, front-back, foot-head: the whole head and the upper neck."""
SLAB_OF_VIEW_MM = (200.0, 240.0, 192.0)
"""The whole brain and little more, as for thick-slice and diffusion scans."""
SLAB_VOXELS = 1_500_000


@dataclass(frozen=True)
class PhantomGrid:
    """Voxels of an image in native scanner space."""

    shape: tuple[int, int, int]
    affine: AffineArray
    """Voxel index to native RAS+ mm (4, 4)."""

    @property
    def zooms_mm(self) -> tuple[float, float, float]:
        """Voxel size along each array axis."""
        sizes = np.sqrt((self.affine[:3, :3] ** 2).sum(0))
        return (float(sizes[0]), float(sizes[1]), float(sizes[2]))

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)


def rotation(angles_deg: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the rotation (3, 3) about x, then y, then z, right-handed."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles_deg)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def draw_pose(rng: np.random.Generator, *, degrees: float, millimetres: float) -> AffineArray:
    """Draw a rigid motion (4, 4) with angles and shifts up to the given limits."""
    pose = np.eye(4)
    angles = rng.uniform(-degrees, degrees, 3)
    pose[:3, :3] = rotation((angles[0], angles[1], angles[2]))
    pose[:3, 3] = rng.uniform(-millimetres, millimetres, 3)
    return pose


def make_grid(
    centre_mm: NDArray[np.floating],
    *,
    zooms_mm: tuple[float, float, float],
    view_mm: tuple[float, float, float] = FIELD_OF_VIEW_MM,
    orientation: str = "RAS",
    oblique_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> PhantomGrid:
    """Lay a grid around a point.

    Parameters
    ----------
    centre_mm : array (3,)
        Centre of the field of view, native RAS+ mm.
    zooms_mm : tuple
        Voxel size along right-left, front-back and foot-head, whatever the array's order.
    view_mm : tuple
        Extent along right-left, front-back and foot-head.
    orientation : str
        Where the array axes point, e.g. ``"PSR"``: first axis to posterior.
    oblique_deg : tuple
        Rotation of the grid about x, y and z through its centre.

    Examples
    --------
    >>> grid = make_grid(np.zeros(3), zooms_mm=(1, 1, 4), view_mm=(8, 10, 12), orientation="LAS")
    >>> grid.shape, grid.affine[0].tolist()
    ((8, 10, 3), [-1.0, 0.0, 0.0, 3.5])

    """
    turned = rotation(oblique_deg)
    linear = np.zeros((3, 3))
    shape = [0, 0, 0]
    for array_axis, letter in enumerate(orientation):
        axis, sign = AXIS_OF_LETTER[letter]
        linear[:, array_axis] = turned[:, axis] * sign * zooms_mm[axis]
        shape[array_axis] = int(np.ceil(view_mm[axis] / zooms_mm[axis]))
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = centre_mm - linear @ ((np.array(shape) - 1) / 2)
    # Headers hold single precision: the truth is told for the affine that a file can store.
    return PhantomGrid((shape[0], shape[1], shape[2]), affine.astype(np.float32).astype(np.float64))


def bias_field(rng: np.random.Generator, shape: tuple[int, int, int], *, strength: float) -> FloatArray:
    """Draw a smooth positive field (X, Y, Z) between 1 - ``strength`` and 1 + ``strength``.

    A random cubic polynomial over the field of view, as from a surface coil.
    """
    axes = [np.linspace(-1.0, 1.0, n, dtype=np.float32) for n in shape]
    powers = [(i, j, k) for i in range(4) for j in range(4) for k in range(4) if 0 < i + j + k <= 3]
    coefficients = rng.standard_normal((4, 4, 4))
    kept = np.zeros((4, 4, 4))
    for power in powers:
        kept[power] = coefficients[power] / sum(power)
    vander = [np.polynomial.legendre.legvander(axis, 3).astype(np.float32) for axis in axes]
    field = np.einsum("xi,yj,zk,ijk->xyz", *vander, kept.astype(np.float32), optimize=True)
    low, high = float(field.min()), float(field.max())
    return np.asarray(1.0 - strength + 2.0 * strength * (field - low) / (high - low), np.float32)


def add_rician_noise(rng: np.random.Generator, signal: FloatArray, *, sigma: float) -> FloatArray:
    """Return the magnitude of the signal with complex Gaussian noise of deviation ``sigma`` a channel."""
    real = signal + np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.asarray(np.hypot(real, imaginary), np.float32)


def slice_offsets(grid: PhantomGrid, subslices: int) -> list[NDArray[np.float64]]:
    """Return sub-slice centres along the thickest axis, in voxels from the slice's centre (3,) each."""
    direction = np.eye(3)[int(np.argmax(grid.zooms_mm))]
    return [direction * ((k + 0.5) / subslices - 0.5) for k in range(subslices)]


def subvoxel_offsets(grid: PhantomGrid) -> list[NDArray[np.float64]]:
    """Return points at most 1 mm apart that fill a voxel, in voxels from its centre (3,) each."""
    counts = [int(np.ceil(zoom - 1e-3)) for zoom in grid.zooms_mm]
    steps = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
    return [np.array([i, j, k]) for i in steps[0] for j in steps[1] for k in steps[2]]


def voxel_slabs(
    grid: PhantomGrid, native_from_patient: AffineArray, offset: NDArray[np.float64]
) -> Iterator[tuple[tuple[slice], FloatArray]]:
    """Cut a grid into slabs along its first axis, to bound memory.

    Yields
    ------
    tuple
        Index of the slab, and patient mm (3, N) of its voxels moved by ``offset`` voxels.

    """
    step = max(1, SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    patient_from_voxel = np.linalg.inv(native_from_patient) @ grid.affine
    for start in range(0, grid.shape[0], step):
        stop = min(start + step, grid.shape[0])
        slab = patient_from_voxel.copy()
        slab[:3, 3] += slab[:3, :3] @ (offset + np.array([start, 0.0, 0.0]))
        yield (slice(start, stop),), grid_points((stop - start, *grid.shape[1:]), slab)
