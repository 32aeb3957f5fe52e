"""Read images and masks, refusing what is unfit in one line, and write images the same bytes every time."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from mripipe.bids.files import write_atomic
from mripipe.bids.nifti import Header, check_length, parse_header, read_bytes
from mripipe.core.grid import Volume, axis_codes, check_affine, corner_distance_mm, reorient, same_grid
from mripipe.core.roughspace import RoughMap
from mripipe.errors import InputError, ProcessingError
from mripipe.model.stages import PreparedVisit

MIN_SLICES: Final = 8
"""Fewest voxels along any axis: fewer slices do not show the brain from its base to its top."""

PROBABILITY_THRESHOLD: Final = 0.5
"""A mask of fractions (0 to 1) counts as lesion from here on."""

INTEGER_TOLERANCE: Final = 1e-3
"""A stored scale factor (such as 1/255) leaves whole numbers this far off at most."""

GZIP_LEVEL: Final = 3
"""Higher levels cost several times the time for a few percent of the size."""


@dataclass(frozen=True, eq=False)
class LoadedMap:
    """A lesion mask, or another program's probability, and the grid it is on."""

    data: NDArray[Any]
    """bool, or float32 from 0 to 1, read-only, in the axis order of the grid it fits."""
    affine: NDArray[np.float64]
    """That grid's affine, voxel index to RAS+ mm, shape (4, 4)."""
    grid: str
    """Name of the grid it fits, as given."""


def load_image(path: Path) -> Volume:
    """Read a 3D image in full.

    Parameters
    ----------
    path : Path
        NIfTI-1, NIfTI-2 or MGH file, packed or not. A 4D file with one volume is read as 3D.

    Returns
    -------
    Volume
        Single-precision intensities, axes as stored; the header's affine.

    Raises
    ------
    InputError
        One line that starts with the file's name: missing, truncated or damaged, no NIfTI image, no usable
        orientation or voxel size (`mripipe.bids.nifti.parse_header`), more than one volume, fewer than
        `MIN_SLICES` voxels along an axis, values that are not finite, or one value everywhere.

    """
    header, data = _read(path)
    if min(data.shape) < MIN_SLICES:
        shape = " x ".join(str(size) for size in data.shape)
        raise InputError(
            f"{path.name}: {shape} voxels, expected {MIN_SLICES} or more along each axis; give the whole head"
        )
    if float(data.min()) == float(data.max()):
        raise InputError(f"{path.name}: every voxel is {data.flat[0]:g}: an empty image; export it again")
    return Volume(data, header.affine)


def load_mask(path: Path, grids: Mapping[str, tuple[tuple[int, ...], ArrayLike]]) -> LoadedMap:
    """Read an expert lesion mask, and say which of a visit's grids it was drawn on; nothing is resampled.

    Whole numbers: every voxel other than 0 is lesion, so a mask of several labels is their union. Fractions
    between 0 and 1: lesion from `PROBABILITY_THRESHOLD` on. A mask whose axes are stored in another order but
    whose voxels lie where the grid's do is put into the grid's order.

    Parameters
    ----------
    path : Path
        The mask.
    grids : mapping
        Name to (shape, affine), for example ``{"T1w": ..., "FLAIR": ...}``; the first that fits is taken.

    Raises
    ------
    InputError
        One line that starts with the file's name: unreadable (as `load_image`), fits no grid, values that
        are neither whole numbers of 0 or more nor fractions, or no lesion voxel.

    """
    data, affine, name = _on_grid(path, grids)
    mask = _binary(data, path.name)
    mask.setflags(write=False)
    return LoadedMap(mask, affine, name)


def load_probability(path: Path, grids: Mapping[str, tuple[tuple[int, ...], ArrayLike]]) -> LoadedMap:
    """Read another program's lesion probability, 0 to 1, or its mask; it may be empty. Grids as `load_mask`.

    Raises
    ------
    InputError
        One line that starts with the file's name: unreadable, fits no grid, or values outside 0 to 1.

    """
    data, affine, name = _on_grid(path, grids)
    low, high = float(data.min()), float(data.max())
    if low < 0 or high > 1:
        raise InputError(
            f"{path.name}: expected probabilities of 0 to 1, found {low:g} to {high:g}; scale them, or store"
            " a mask of 0 and 1"
        )
    probability = data.astype(np.float32)
    probability.setflags(write=False)
    return LoadedMap(probability, affine, name)


def _on_grid(
    path: Path, grids: Mapping[str, tuple[tuple[int, ...], ArrayLike]]
) -> tuple[NDArray[np.float32], NDArray[np.float64], str]:
    """Read a map in the order of the grid that it fits; return that grid's affine and name too."""
    header, data = _read(path)
    for name, (shape, affine) in grids.items():
        ordered, ordered_affine = reorient(data, header.affine, codes=axis_codes(affine))
        if same_grid(ordered.shape, ordered_affine, shape, affine):
            return ordered, check_affine(affine), name
    misfits = "; ".join(_misfit(header, name, *grid) for name, grid in grids.items())
    raise InputError(f"{path.name}: mask on another grid ({misfits}); draw or resample it on one of these")


def load_own_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask that the program made, which is empty where no lesion was found; shape (X, Y, Z)."""
    return np.asarray(np.asanyarray(nib.Nifti1Image.from_filename(path).dataobj) > 0)


def load_plain(path: Path) -> Volume:
    """Read a map that the program made; it may be the same everywhere."""
    image = nib.Nifti1Image.from_filename(path)
    return Volume(np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float))


def load_rough_map(prepared: PreparedVisit) -> RoughMap:
    """Read a prepared visit's rough map, MNI mm to native mm."""
    image = nib.Nifti1Image.from_filename(prepared.rough_warp)
    displacement = np.asarray(image.dataobj, np.float32)
    return RoughMap(np.array(prepared.affine_to_mni), displacement, np.asarray(image.affine, float))


def save_image(path: Path, data: NDArray[Any], affine: ArrayLike, *, dtype: DTypeLike = np.float32) -> Path:
    """Write a NIfTI-1 image: whole or not at all, the same bytes for the same input.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz`` or ``.nii``.
    data : array, shape (X, Y, Z[, N])
        Masks may be Boolean.
    affine : array, shape (4, 4)
        Voxel index to RAS+ mm, written as sform, and as qform too where it has no shear (which a qform cannot
        hold). Both are stored in single precision.
    dtype : dtype
        Type on disk, without scale factor; ``np.uint8`` for masks.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ProcessingError
        If a value is not finite or does not fit `dtype`, or the file cannot be written.

    """
    stored = _cast(np.asarray(data), np.dtype(dtype), path.name)
    matrix = check_affine(affine)
    image = nib.Nifti1Image(stored, matrix)
    image.header.set_xyzt_units("mm", "sec" if stored.ndim > 3 else None)
    image.set_sform(matrix, code="scanner")
    try:
        image.set_qform(matrix, code="scanner", strip_shears=False)
    except nib.spatialimages.HeaderDataError:
        image.set_qform(None, code="unknown")
    raw = image.to_bytes()
    if path.name.endswith(".gz"):
        # No name and no time in the gzip header: they would make every run's bytes different.
        packed = BytesIO()
        with gzip.GzipFile(
            filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=packed, mtime=0
        ) as stream:
            stream.write(raw)
        raw = packed.getvalue()
    return write_atomic(path, raw)


def _read(path: Path) -> tuple[Header, NDArray[np.float32]]:
    """Return a checked header and the 3D data, finite and in single precision."""
    raw = read_bytes(path)
    header = parse_header(raw[:544], path.name)
    if len(header.shape) != 3:
        raise InputError(
            f"{path.name}: {header.shape[-1]} volumes of a 4D image, expected one 3D volume; choose one"
        )
    check_length(header, len(raw), path.name)
    try:
        # An overflow to infinity on the way to single precision is caught below, with NaN.
        with np.errstate(all="ignore"):
            values = header.raw.data_from_fileobj(BytesIO(raw))
            data = np.asarray(values, dtype=np.float32).reshape(header.shape)
    except (nib.spatialimages.HeaderDataError, ValueError, OSError) as error:
        raise InputError(f"{path.name}: its voxels cannot be read: {error}") from error
    n_bad = int(data.size - np.count_nonzero(np.isfinite(data)))
    if n_bad:
        share = 100 * n_bad / data.size
        raise InputError(
            f"{path.name}: {share:.3g} % of its voxels are not finite (NaN or infinite); export it again"
        )
    return header, data


def _binary(data: NDArray[np.float32], name: str) -> NDArray[np.bool_]:
    """Apply the rule of `load_mask` to the values."""
    whole = bool((np.abs(data - np.rint(data)) <= INTEGER_TOLERANCE).all())
    low, high = float(data.min()), float(data.max())
    if low < -INTEGER_TOLERANCE or (not whole and high > 1 + INTEGER_TOLERANCE):
        raise InputError(
            f"{name}: mask values from {low:g} to {high:g}: expected whole numbers (0 is outside) "
            "or fractions from 0 to 1"
        )
    mask = np.asarray(data >= PROBABILITY_THRESHOLD)
    if not mask.any():
        raise InputError(f"{name}: the mask is empty; remove it to have the lesion found automatically")
    return mask


def _misfit(header: Header, name: str, shape: tuple[int, ...], affine: ArrayLike) -> str:
    """Say how a mask misses a grid."""
    wanted = " x ".join(str(size) for size in shape)
    if sorted(header.shape) != sorted(shape):
        found = " x ".join(str(size) for size in header.shape)
        return f"{name}: {wanted} voxels expected, found {found}"
    if header.shape != tuple(shape) or axis_codes(header.affine) != axis_codes(affine):
        return f"{name}: its axes {axis_codes(affine)} expected, found {axis_codes(header.affine)}"
    return f"{name}: {corner_distance_mm(shape, header.affine, affine):.1f} mm away"


def _cast(data: NDArray[Any], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Convert to the type on disk without losing a value silently."""
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise ProcessingError(f"{name}: not written: some values are not finite")
    with np.errstate(all="ignore"):
        stored = data.astype(dtype)
    fits = np.array_equal(stored, data) if dtype.kind in "iu" else bool(np.isfinite(stored).all())
    if not fits:
        raise ProcessingError(f"{name}: not written: some values do not fit {dtype}")
    return stored
