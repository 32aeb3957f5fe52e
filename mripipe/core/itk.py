"""Between arrays with RAS+ affines and ITK's images and transforms, whose points are LPS+."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mripipe.core.grid import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_itk(volume: Volume) -> sitk.Image:
    """Return the ITK image of a volume; a sheared grid has no ITK image and raises ValueError."""
    affine = LPS @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise ValueError("image grid: axes are not at right angles, which ITK cannot hold; resample it first")
    # The nearest rotation: headers keep 7 digits, ITK wants a clean one.
    u, _, vt = np.linalg.svd(direction)
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((u @ vt).ravel().tolist())
    return image


def affine_transform(matrix: NDArray[np.floating]) -> sitk.AffineTransform:
    """Return the ITK transform of a matrix that maps RAS mm to RAS mm, shape (4, 4)."""
    lps = LPS @ matrix @ LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def displacement_transform(
    displacement: NDArray[np.floating], affine: NDArray[np.floating]
) -> sitk.DisplacementFieldTransform:
    """Return the ITK transform of a displacement field.

    Parameters
    ----------
    displacement : array (X, Y, Z, 3)
        RAS mm.
    affine : array (4, 4)
        The field's voxel index to RAS+ mm.

    """
    field = displacement * np.diag(LPS)[:3]
    grid = np.asarray(affine, np.float64)
    parts = [to_itk(Volume(np.ascontiguousarray(field[..., axis], np.float64), grid)) for axis in range(3)]
    return sitk.DisplacementFieldTransform(sitk.Compose(parts))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let ITK use one thread: parts of a filter heed only the global number, and their sums depend on it."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def matrix_of(transform: sitk.Transform) -> NDArray[np.float64]:
    """Return the matrix (4, 4), RAS mm to RAS mm, of a linear ITK transform."""
    corners = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    origin, *ends = (np.array(transform.TransformPoint(corner)) for corner in corners)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([end - origin for end in ends], axis=1)
    matrix[:3, 3] = origin
    return np.asarray(LPS @ matrix @ LPS)
