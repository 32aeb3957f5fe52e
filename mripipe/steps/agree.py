"""Compare masks in files, one pair at a time: what reads them refuses what cannot be compared, by name."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mripipe.bids.nifti import check_length, parse_header, read_bytes
from mripipe.core.agreement import Agreement, agreement
from mripipe.core.grid import axis_codes, reorient, same_grid
from mripipe.errors import InputError
from mripipe.steps.load import load_mask

HEADER_BYTES: Final = 544
"""Holds the header of every format that is read."""


def read_mask(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Read a mask on its own grid; one that is only measured or compared may be empty.

    Returns
    -------
    tuple
        Mask of shape (X, Y, Z), axes as stored, and its affine, voxel index to RAS+ mm. Values count as in
        `mripipe.steps.load.load_mask`.

    Raises
    ------
    InputError
        It cannot be read, is not 3D, or has no voxel size or orientation.

    """
    raw = read_bytes(path)
    header = parse_header(raw[:HEADER_BYTES], path.name)
    check_length(header, len(raw), path.name)
    if len(header.shape) == 3 and not np.any(header.raw.data_from_fileobj(BytesIO(raw))):
        return np.zeros(header.shape, dtype=bool), header.affine
    return load_mask(path, {"mask": (header.shape, header.affine)}).data, header.affine


def compare_files(reference: Path, test: Path) -> Agreement:
    """Compare a mask with a reference on the same grid; their axes may be stored in different orders.

    Raises
    ------
    InputError
        One cannot be read, or their grids differ; nothing is resampled.

    """
    first, affine = read_mask(reference)
    second, other = read_mask(test)
    second, other = reorient(second, other, codes=axis_codes(affine))
    if not same_grid(first.shape, affine, second.shape, other):
        raise InputError(
            f"{test.name}: lies on another grid than {reference.name} "
            f"({second.shape} voxels, expected {first.shape}, in the same place); resample one onto the other"
        )
    return agreement(first, second, affine)
