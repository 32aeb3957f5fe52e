"""Prepare one visit: find the brain, remove the bias field, lay the other sequences over the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from mripipe.atlases.template import Template, load_template
from mripipe.core.affine_search import in_contrast_of, search_affine
from mripipe.core.bias import correct_bias
from mripipe.core.brain import carry_mask, extract_brain
from mripipe.core.grid import Volume
from mripipe.core.registration import register_affine
from mripipe.core.rough_brain import isolate_brain
from mripipe.errors import InputError
from mripipe.model.stages import CoregisteredImage, Matrix, PreparedVisit
from mripipe.model.study import Session
from mripipe.steps.load import load_image, load_mask, save_image
from mripipe.steps.sequences import BESIDE, Scanned, place_beside, read_beside

AFFINE_ITERATIONS = "100x50x0"
AFFINE_RIM_VOXELS = 3
PLAUSIBLE_BRAIN_ML = (800.0, 2200.0)
"""Adult brains with their CSF lie well inside; outside, the brain was probably not found."""


def prepare_visit(session: Session, *, lesion_mask: Path | None = None, folder: Path) -> PreparedVisit:
    """Prepare a visit's images for all later steps.

    Parameters
    ----------
    session : Session
        With a reference image (T1w, failing that T2w, failing that FLAIR); T2w, FLAIR and diffusion beside it
        are used too.
    lesion_mask : Path, optional
        An expert mask that will be used later: it is only looked at, to refuse an unfit one at once.
    folder : Path
        Where files are written.

    Returns
    -------
    PreparedVisit

    Raises
    ------
    InputError
        An image is unfit for use, or shows no head; an expert mask is empty or lies on no grid of the visit.

    """
    scan = session.reference
    if scan is None:
        raise InputError(f"{session.session_id}: expected a T1w, T2w or FLAIR, found none; add one")
    image = load_image(scan.path)
    beside, warnings = read_beside(session)
    _check_expert_mask(lesion_mask, scan.suffix, image, beside)
    template = load_template()
    matrix = _affine_to(image, scan.suffix, scan.path.name, template)
    first = _carried_mask(template, matrix, image)
    corrected = correct_bias(image, first)
    picture = Volume(_contrast(template, scan.suffix), template.affine)
    brain = extract_brain(corrected, picture, template.mask, matrix, sequence=scan.suffix)
    coregistered: list[CoregisteredImage] = []
    for scanned in beside:
        placed, doubts = place_beside(scanned, corrected, brain.mask, folder)
        coregistered += placed
        warnings += doubts
    volume_ml = float(brain.mask.sum()) * image.voxel_volume_ml
    low, high = PLAUSIBLE_BRAIN_ML
    if not low <= volume_ml <= high:
        warnings += (f"brain of {volume_ml:.0f} mL, expected {low:.0f} to {high:.0f}: look at its outline",)
    return PreparedVisit(
        session=session,
        reference_suffix=scan.suffix,
        preproc=save_image(folder / "preproc.nii.gz", corrected.data, image.affine),
        brain_mask=save_image(folder / "brain_mask.nii.gz", brain.mask, image.affine, dtype=np.uint8),
        affine_to_mni=as_rows(matrix),
        rough_warp=save_image(folder / "rough_warp.nii.gz", brain.map.displacement, brain.map.affine),
        coregistered=tuple(coregistered),
        warnings=warnings,
    )


def as_rows(matrix: NDArray[np.floating]) -> Matrix:
    """Return a matrix as nested tuples."""
    a, b, c, d = (tuple(float(value) for value in row) for row in matrix)
    return (a, b, c, d)  # type: ignore[return-value]  # numpy does not know that rows have four values


def _contrast(template: Template, suffix: str) -> NDArray[np.float32]:
    return in_contrast_of(suffix, template.t1, template.gm, template.wm, template.csf)


def _affine_to(image: Volume, suffix: str, name: str, template: Template) -> NDArray[np.floating]:
    """Return the affine that maps MNI mm to native mm."""
    isolated = _isolated(image, suffix, name)
    start = search_affine(isolated, template.gm, template.wm, template.mask, template.affine, sequence=suffix)
    region = binary_dilation(template.mask, iterations=AFFINE_RIM_VOXELS)
    picture = Volume(_contrast(template, suffix), template.affine)
    return register_affine(
        picture, isolated, start, fixed_mask=region, model="affine", iterations=AFFINE_ITERATIONS
    )


def _isolated(image: Volume, suffix: str, name: str) -> Volume:
    """Cut out the brain, or say which file shows none."""
    try:
        return isolate_brain(image, sequence=suffix)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error


def _carried_mask(template: Template, matrix: NDArray[np.floating], image: Volume) -> NDArray[np.bool_]:
    return carry_mask(template.mask, template.affine, matrix, image)


def _check_expert_mask(
    lesion_mask: Path | None, suffix: str, image: Volume, beside: tuple[Scanned, ...]
) -> None:
    """Refuse an unfit mask at once, rather than after a minute's work on the images."""
    if lesion_mask is None:
        return
    drawn_on = [(suffix, image), *((scan.suffix, scan.guide) for scan in beside if scan.suffix in BESIDE)]
    load_mask(lesion_mask, {name: (volume.shape, volume.affine) for name, volume in drawn_on})
