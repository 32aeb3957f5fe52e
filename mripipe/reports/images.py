"""The few image files a report looks at, read for display only."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray
from SimpleITK import ReadTransform

from mripipe.core.grid import Volume
from mripipe.core.itk import LPS
from mripipe.errors import InputError


def read_volume(path: Path) -> Volume:
    """Read a 3D NIfTI image with its affine.

    Parameters
    ----------
    path : Path
        Any orientation.

    Returns
    -------
    Volume
        float32, NaN and infinities as 0, axes as stored.

    Raises
    ------
    InputError
        If the file cannot be read, is not 3D, or has no usable affine.

    """
    data, affine = _read(path)
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise InputError(f"{path.name}: expected a 3D image for the report, found shape {data.shape}")
    try:
        return Volume(np.nan_to_num(data, posinf=0.0, neginf=0.0), affine)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def read_vectors(path: Path) -> NDArray[np.float32]:
    """Read an image of directions, shape (X, Y, Z, 3).

    Raises
    ------
    InputError
        If the file cannot be read, or has not three numbers a voxel.

    """
    data, _ = _read(path)
    if data.ndim != 4 or data.shape[3] != 3:
        raise InputError(
            f"{path.name}: expected three numbers a voxel for the report, found shape {data.shape}"
        )
    return np.nan_to_num(data, posinf=0.0, neginf=0.0)


def _read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    try:
        image = nib.load(path)
        if not isinstance(image, SpatialImage):
            raise ImageFileError(f"{type(image).__name__} holds no voxels")
        return np.asarray(image.dataobj, np.float32), np.asarray(image.affine, np.float64)
    except (OSError, EOFError, ValueError, ImageFileError) as error:
        raise InputError(f"{path.name}: cannot be read for the report ({type(error).__name__})") from error


def read_linear_transform(path: Path) -> NDArray[np.float64]:
    """Read a rigid or affine ITK transform as a matrix between RAS+ points.

    Parameters
    ----------
    path : Path
        A transform that SimpleITK reads; it maps points A (say the reference's) to points B (say FLAIR's).

    Returns
    -------
    ndarray, shape (4, 4)
        Takes a RAS+ point A (mm) to its RAS+ point B (mm).

    Raises
    ------
    InputError
        If the file cannot be read, or its transform is not linear.

    """
    try:
        transform = ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(f"{path.name}: cannot be read as an ITK transform for the report") from error
    if not transform.IsLinear():
        raise InputError(
            f"{path.name}: expected a rigid or affine transform for the report, found a deformable one"
        )
    columns = [transform.TransformPoint(point) for point in np.eye(4, 3, k=-1).tolist()]
    matrix = np.eye(4)
    matrix[:3, 3] = columns[0]
    matrix[:3, :3] = (np.array(columns[1:]) - columns[0]).T
    return LPS @ matrix @ LPS


def move_to_reference(volume: Volume, reference_to_volume: NDArray[np.float64]) -> Volume:
    """Give a volume the affine it has in the reference's space; its voxels are untouched.

    Parameters
    ----------
    volume : Volume
        On its own grid, in its own space.
    reference_to_volume : ndarray, shape (4, 4)
        Takes the reference's RAS+ points (mm) to the volume's.

    """
    return Volume(volume.data, np.linalg.inv(reference_to_volume) @ volume.affine)
