"""Blank the face of an anatomical image before it is published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mripipe.bids.nifti import parse_header
from mripipe.core.deface import face_region
from mripipe.errors import InputError, ProcessingError
from mripipe.model.study import Scan, Session
from mripipe.steps.anatomical import PLAUSIBLE_BRAIN_ML, prepare_visit
from mripipe.steps.ingest_convert import Converted
from mripipe.steps.load import load_image


def deface(one: Converted, folder: Path) -> Converted:
    """Blank the face of a T1w, T2w or FLAIR; diffusion is returned as it is.

    Parameters
    ----------
    one : Converted
        As `convert_series` made it.
    folder : Path
        For what is made on the way.

    Returns
    -------
    Converted
        Voxels of the face are 0, all others as they were; the sidecar says ``"Defaced": true``.

    Raises
    ------
    InputError
        No brain of a plausible volume was found, so the face could not be told from it.

    """
    if one.suffix == "dwi":
        return one
    folder.mkdir(parents=True)
    path = folder / "image.nii"
    path.write_bytes(one.image)
    try:
        prepared = prepare_visit(Session("sub-x", "ses-x", (Scan(path, one.suffix),)), folder=folder)
    except (InputError, ProcessingError) as error:
        raise InputError(f"{one.series.label}: no brain found, so it cannot be defaced") from error
    found = load_image(prepared.brain_mask)
    brain = found.data > 0.5
    volume_ml = float(brain.sum()) * found.voxel_volume_ml
    low, high = PLAUSIBLE_BRAIN_ML
    if not low <= volume_ml <= high:
        raise InputError(
            f"{one.series.label}: a brain of {volume_ml:.0f} mL was found, expected {low:.0f} to {high:.0f}, "
            "so it cannot be defaced"
        )
    # A plane's normal goes from MNI to the head by the inverse transpose of the points' matrix.
    normals = np.linalg.inv(np.asarray(prepared.affine_to_mni)[:3, :3]).T
    face = face_region(
        brain, found.affine, anterior=normals @ [0.0, 1.0, 0.0], inferior=normals @ [0.0, 0.0, -1.0]
    )
    return replace(one, image=_blanked(one, face), sidecar={**one.sidecar, "Defaced": True})


def _blanked(one: Converted, face: NDArray[np.bool_]) -> bytes:
    """Return the file with the face's voxels set to 0, every other byte as it was."""
    header = parse_header(one.image, one.series.label).raw
    offset, dtype = int(header["vox_offset"]), header.get_data_dtype()
    voxels = np.frombuffer(one.image, dtype=dtype, count=face.size, offset=offset).copy()
    voxels[face.ravel(order="F")] = 0
    end = offset + voxels.nbytes
    return one.image[:offset] + voxels.tobytes() + one.image[end:]
