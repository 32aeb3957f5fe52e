"""ITK composite transforms on disk: written for any reader of ITK, small, the same bytes every time."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mripipe.core.grid import Volume
from mripipe.core.itk import to_itk

VOLATILE = ("HDFVersion", "ITKVersion", "OSName", "OSVersion")
"""What ITK notes about the machine; it would differ between nodes of one cluster."""


def write_transform(transform: sitk.Transform, path: Path) -> Path:
    """Write a transform as ITK HDF5, packed; whole or not at all."""
    raw = path.with_name(f".{path.stem}.raw.h5")
    packed = path.with_name(f".{path.stem}.packed.h5")
    try:
        sitk.WriteTransform(transform, str(raw))
        with h5py.File(raw, "r") as source, h5py.File(packed, "w", libver="earliest") as target:
            _copy(source, target)
        os.replace(packed, path)
    finally:
        raw.unlink(missing_ok=True)
        packed.unlink(missing_ok=True)
    return path


def resample(
    image: Volume,
    onto: Volume,
    transform: sitk.Transform,
    *,
    cubic: bool = False,
    nearest: bool = False,
) -> NDArray[np.float32]:
    """Resample an image once onto another grid; 0 outside.

    Parameters
    ----------
    image, onto : Volume
    transform : SimpleITK.Transform
        Maps points of ``onto`` to points of ``image``.
    cubic : bool
        Cubic spline, cut at the image's own range, rather than linear.
    nearest : bool
        The nearest voxel's value.

    """
    method = sitk.sitkBSpline if cubic else sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    moved = sitk.Resample(to_itk(image), to_itk(onto), transform, method, 0.0, sitk.sitkFloat32)
    data = sitk.GetArrayFromImage(moved).transpose(2, 1, 0)
    return np.asarray(np.clip(data, float(image.data.min()), float(image.data.max())))


def _copy(source: h5py.Group, target: h5py.Group) -> None:
    """Copy what matters of a transform file, packing large arrays."""
    for name, item in source.items():
        if name in VOLATILE:
            target.create_dataset(name, data=np.array([b"n/a"], dtype=item.dtype))
        elif isinstance(item, h5py.Group):
            _copy(item, target.create_group(name))
        elif item.size > 1000:
            # Rounding to single precision changes a point by less than a tenth of a micrometre.
            data = item[()].astype(np.float32).astype(item.dtype)
            target.create_dataset(name, data=data, compression="gzip", compression_opts=4, shuffle=True)
        else:
            target.create_dataset(name, data=item[()], dtype=item.dtype)
