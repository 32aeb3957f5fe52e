"""Read an image file's bytes and header, and refuse a header that does not say where the voxels lie.

A header is never corrected: guessing at an orientation swaps left and right.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import nibabel as nib
import numpy as np
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from mripipe.core.grid import check_affine, corner_distance_mm
from mripipe.errors import InputError

FORM_TOLERANCE_MM: Final = 0.5
"""The sform and the qform may put a corner this far apart. A qform cannot hold shear and is rounded, which
moves corners by less; a wrong flip, shift or rotation moves them by more than half a fine voxel."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_HEADER_BYTES: Final = 544
_CHUNK_BYTES: Final = 1 << 22


@dataclass(frozen=True, eq=False)
class Header:
    """What a header says, checked: where the voxels lie and how many bytes hold them."""

    shape: tuple[int, ...]
    """(X, Y, Z[, N]), without trailing axes of length one."""
    affine: NDArray[np.float64]
    """Voxel index to RAS+ mm, shape (4, 4); the sform where there is one, else the qform."""
    n_bytes: int
    """Least length of the (unpacked) file that holds all voxels."""
    raw: Any
    """The nibabel header it was read from."""


def read_bytes(path: Path) -> bytes:
    """Return a whole file, unpacked if it is a gzip file.

    Raises
    ------
    InputError
        If it is missing, cannot be read, or its gzip stream is truncated or damaged.

    """
    with _opened(path) as stream:
        return stream.read()


def read_header(path: Path) -> Header:
    """Read and check a header alone; the voxels are not looked at.

    Raises
    ------
    InputError
        As `parse_header`, or if the file cannot be read.

    """
    with _opened(path) as stream:
        start = stream.read(_HEADER_BYTES)
    return parse_header(start, path.name)


def check_complete(path: Path) -> Header:
    """Read a file to its end in pieces, so that a large one needs little memory, and return its header.

    Raises
    ------
    InputError
        As `read_bytes` and `parse_header`, or if the file ends before its last voxel.

    """
    with _opened(path) as stream:
        start = stream.read(_HEADER_BYTES)
        found = len(start)
        while piece := stream.read(_CHUNK_BYTES):
            found += len(piece)
    header = parse_header(start, path.name)
    check_length(header, found, path.name)
    return header


def check_length(header: Header, found: int, name: str) -> None:
    """Raise InputError where a file of `found` (unpacked) bytes is too short for its voxels."""
    if found < header.n_bytes:
        raise InputError(
            f"{name}: truncated: its header announces {header.n_bytes} bytes, found {found}; copy it again"
        )


def parse_header(start: bytes, name: str) -> Header:
    """Check the first bytes of an image file (NIfTI-1, NIfTI-2 or MGH).

    Parameters
    ----------
    start : bytes
        At least the first 544 bytes of the unpacked file.
    name : str
        File name for messages.

    Raises
    ------
    InputError
        If it is no such image; does not hold real numbers; has a voxel size that is zero, negative or not
        finite; has units other than millimetres; has no orientation; or its sform and qform disagree.

    """
    try:
        # Absurd numbers overflow in nibabel's arithmetic; what comes of it is checked here.
        with np.errstate(all="ignore"):
            return _checked(_raw_header(start, name))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (nib.spatialimages.HeaderDataError, WrapStructError, LookupError, ValueError, TypeError) as error:
        raise InputError(
            f"{name}: its header is damaged or not as the format has it; convert it again"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacked, with every failure to read turned into one line."""
    try:
        with path.open("rb") as packed:
            is_gzip = packed.read(2) == _GZIP_MAGIC
            packed.seek(0)
            yield cast(BinaryIO, gzip.GzipFile(fileobj=packed)) if is_gzip else packed
    except FileNotFoundError as error:
        hint = (
            "a link to a file that is not there; fetch its content" if path.is_symlink() else "no such file"
        )
        raise InputError(f"{path.name}: {hint}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path.name}: truncated or damaged gzip file; copy it again") from error
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read: {error.strerror or error}") from error


def _raw_header(start: bytes, name: str) -> Any:
    """Return the nibabel header as written: nibabel's own checks would silently repair a voxel size of 0."""
    kinds: tuple[tuple[Any, bytes, slice], ...] = (
        (nib.Nifti1Header, b"n+1\0", slice(344, 348)),
        (nib.Nifti2Header, b"n+2\0\r\n\x1a\n", slice(4, 12)),
    )
    for kind, magic, where in kinds:
        if start[where] == magic and len(start) >= kind.sizeof_hdr:
            return kind(start[: kind.sizeof_hdr], check=False)
    if name.endswith((".mgh", ".mgz")):
        return nib.freesurfer.mghformat.MGHHeader(start[:284], check=False)
    raise InputError("not a NIfTI image (.nii or .nii.gz); convert it")


def _checked(raw: Any) -> Header:
    """Check what a header says."""
    shape = tuple(int(size) for size in raw.get_data_shape())
    if len(shape) < 3 or min(shape) < 1:
        raise InputError(f"not a 3D image: its header gives shape {shape}")
    dtype = raw.get_data_dtype()
    if dtype.kind not in "iuf":
        raise InputError(f"expected one real number a voxel, found type {dtype}; convert it")
    n_bytes = int(raw.get_data_offset()) + prod(shape) * dtype.itemsize
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    affine = check_affine(_placed(raw, shape))
    affine.setflags(write=False)
    return Header(shape=shape, affine=affine, n_bytes=n_bytes, raw=raw)


def _placed(raw: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the affine that the header's orientation gives."""
    if not isinstance(raw, nib.Nifti1Header):
        return np.asarray(raw.get_affine(), dtype=np.float64)
    _check_voxel_size(raw)
    # The format reads an unset handedness as +1.
    if raw["pixdim"][0] == 0:
        raw["pixdim"][0] = 1
    sform, s_code = raw.get_sform(coded=True)
    try:
        qform, q_code = raw.get_qform(coded=True)
    except (nib.spatialimages.HeaderDataError, ValueError) as error:
        raise InputError("its qform is not a rotation; correct the header") from error
    if not s_code and not q_code:
        raise InputError(
            "no orientation: sform and qform codes are both 0, left and right are unknown; "
            "convert the image again from its source"
        )
    if s_code and q_code:
        apart = corner_distance_mm(shape, check_affine(sform), check_affine(qform))
        if apart > FORM_TOLERANCE_MM:
            raise InputError(
                f"sform and qform disagree by {apart:.1f} mm (at most {FORM_TOLERANCE_MM} mm); "
                "keep the right one and set the other's code to 0"
            )
    return np.asarray(sform if s_code else qform, dtype=np.float64)


def _check_voxel_size(raw: Any) -> None:
    """Refuse a voxel size that cannot be one."""
    sizes = np.asarray(raw["pixdim"][1:4], dtype=np.float64)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        shown = " x ".join(f"{size:g}" for size in sizes)
        raise InputError(f"voxel size {shown}: expected three positive numbers of mm; correct the header")
    units = raw.get_xyzt_units()[0]
    if units not in ("mm", "unknown"):
        raise InputError(f"its lengths are in units of {units}, expected mm; correct the header")
