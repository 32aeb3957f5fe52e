"""Scalar maps of diffusion tensors: eigenvalues in closed form, anisotropy, diffusivities, main direction.

Eigenvalues of a symmetric 3 x 3 matrix by the trigonometric solution of its cubic (Smith 1961,
doi:10.1145/355578.366316); FA as in Basser and Pierpaoli 1996, doi:10.1006/jmrb.1996.0086.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

SMALLEST_DIFFUSIVITY = 1e-9
"""mm^2/s; noise makes eigenvalues negative, which no diffusivity is."""


@dataclass(frozen=True, eq=False)
class TensorMaps:
    """Scalars of some voxels, each of shape (N,)."""

    fa: NDArray[np.float64]
    """Fractional anisotropy, 0 to 1."""
    md: NDArray[np.float64]
    """Mean diffusivity in mm^2/s."""
    ad: NDArray[np.float64]
    """Axial diffusivity, the largest eigenvalue, in mm^2/s."""
    rd: NDArray[np.float64]
    """Radial diffusivity, the mean of the other two, in mm^2/s."""


def eigenvalues(elements: Floats) -> NDArray[np.float64]:
    """Return the eigenvalues of symmetric matrices, falling, shape (3, N).

    Parameters
    ----------
    elements : array (N, 6)
        xx, xy, yy, xz, yz, zz.

    Examples
    --------
    >>> eigenvalues(np.array([[2.0, 0.0, 3.0, 0.0, 0.0, 1.0]])).round(12).tolist()
    [[3.0], [2.0], [1.0]]

    """
    xx, xy, yy, xz, yz, zz = np.asarray(elements, np.float64).T
    mean = (xx + yy + zz) / 3.0
    a, b, c = xx - mean, yy - mean, zz - mean
    spread = np.sqrt((a * a + b * b + c * c + 2.0 * (xy * xy + xz * xz + yz * yz)) / 6.0)
    determinant = a * (b * c - yz * yz) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)
    safe = np.where(spread > 0, spread, 1.0)
    angle = np.arccos(np.clip(determinant / (2.0 * safe**3), -1.0, 1.0)) / 3.0
    first = mean + 2.0 * spread * np.cos(angle)
    last = mean + 2.0 * spread * np.cos(angle + 2.0 * np.pi / 3.0)
    return np.stack([first, 3.0 * mean - first - last, last])


def tensor_maps(elements: Floats) -> TensorMaps:
    """Compute the scalar maps of tensors.

    Parameters
    ----------
    elements : array (N, 6)
        xx, xy, yy, xz, yz, zz in mm^2/s. A voxel with a value that is not finite gives NaN.

    Examples
    --------
    >>> maps = tensor_maps(np.array([[1.7e-3, 0.0, 0.3e-3, 0.0, 0.0, 0.3e-3]]))
    >>> round(float(maps.fa[0]), 3), round(float(maps.md[0]) * 1e3, 3)
    (0.799, 0.767)

    """
    first, second, third = np.maximum(eigenvalues(elements), SMALLEST_DIFFUSIVITY)
    squares = first * first + second * second + third * third
    apart = (first - second) ** 2 + (second - third) ** 2 + (third - first) ** 2
    return TensorMaps(
        fa=np.sqrt(0.5 * apart / squares),
        md=(first + second + third) / 3.0,
        ad=first,
        rd=(second + third) / 2.0,
    )


def main_directions(elements: Floats) -> NDArray[np.float64]:
    """Return the unit eigenvector of the largest eigenvalue, shape (N, 3); its sign has no meaning.

    The rows of D - e2 I crossed with those of D - e3 I ... reduce to the columns of (D - e2)(D - e3), which
    are multiples of it; the longest is taken. Zero where all eigenvalues are equal.
    """
    xx, xy, yy, xz, yz, zz = np.asarray(elements, np.float64).T
    _, second, third = eigenvalues(elements)
    matrix = np.stack([np.stack([xx, xy, xz], -1), np.stack([xy, yy, yz], -1), np.stack([xz, yz, zz], -1)], 1)
    eye = np.eye(3)
    product = (matrix - second[:, None, None] * eye) @ (matrix - third[:, None, None] * eye)
    lengths = np.linalg.norm(product, axis=1)
    best = np.argmax(lengths, axis=1)
    column = np.take_along_axis(product, best[:, None, None], axis=2)[:, :, 0]
    length = np.take_along_axis(lengths, best[:, None], axis=1)
    return np.asarray(column / np.where(length > 0, length, 1.0))
