"""Prepare one visit: find the brain, remove the bias field, lay the FLAIR over the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from mripipe.atlases.template import Template, load_template
from mripipe.core.affine_search import in_contrast_of, search_affine
from mripipe.core.bias import correct_bias
from mripipe.core.brain import carry_mask, extract_brain
from mripipe.core.coregistration import register_sequence
from mripipe.core.grid import Volume
from mripipe.core.itk import affine_transform
from mripipe.core.placement import check_placement
from mripipe.core.registration import register_affine
from mripipe.core.rough_brain import isolate_brain
from mripipe.errors import InputError
from mripipe.model.stages import Matrix, PreparedVisit
from mripipe.model.study import Session
from mripipe.steps.load import load_image, load_mask, save_image
from mripipe.steps.transforms import write_transform

AFFINE_ITERATIONS = "100x50x0"
AFFINE_RIM_VOXELS = 3
PLAUSIBLE_BRAIN_ML = (800.0, 2200.0)
"""Adult brains with their CSF lie well inside; outside, the brain was probably not found."""
LARGEST_MOVE_MM = 30.0
"""A head that moved further between a visit's sequences did so on paper: their headers disagree."""
PLAUSIBLE_MOVE_MM = 15.0
"""What a head coil and its padding leave a head to move in; patients move by some millimetres."""
LEAST_IN_VIEW = 0.5
"""A sequence that shows less of the brain is a slab, or lies elsewhere."""


def prepare_visit(session: Session, *, lesion_mask: Path | None = None, folder: Path) -> PreparedVisit:
    """Prepare a visit's images for all later steps.

    Parameters
    ----------
    session : Session
        With a reference image (T1w, failing that T2w, failing that FLAIR); a FLAIR beside it is used too.
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
    image, beside = load_image(scan.path), _load_flair(session)
    _check_expert_mask(lesion_mask, scan.suffix, image, beside)
    template = load_template()
    matrix = _affine_to(image, scan.suffix, scan.path.name, template)
    first = _carried_mask(template, matrix, image)
    corrected = correct_bias(image, first)
    picture = Volume(_contrast(template, scan.suffix), template.affine)
    brain = extract_brain(corrected, picture, template.mask, matrix, sequence=scan.suffix)
    flair, to_flair, flair_warnings = _prepare_flair(beside, corrected, brain.mask, folder)
    volume_ml = float(brain.mask.sum()) * image.voxel_volume_ml
    low, high = PLAUSIBLE_BRAIN_ML
    warnings = list(flair_warnings)
    if not low <= volume_ml <= high:
        warnings.append(f"brain of {volume_ml:.0f} mL, expected {low:.0f} to {high:.0f}: look at its outline")
    return PreparedVisit(
        session=session,
        reference_suffix=scan.suffix,
        preproc=save_image(folder / "preproc.nii.gz", corrected.data, image.affine),
        brain_mask=save_image(folder / "brain_mask.nii.gz", brain.mask, image.affine, dtype=np.uint8),
        affine_to_mni=as_rows(matrix),
        rough_warp=save_image(folder / "rough_warp.nii.gz", brain.map.displacement, brain.map.affine),
        flair=flair,
        flair_to_reference=to_flair,
        warnings=tuple(warnings),
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


def _load_flair(session: Session) -> tuple[Volume, str] | None:
    """Read the FLAIR beside the reference image, if there is one; return it with its file's name."""
    scan = session.scan("FLAIR")
    if scan is None or scan == session.reference:
        return None
    return load_image(scan.path), scan.path.name


def _check_expert_mask(
    lesion_mask: Path | None, suffix: str, image: Volume, beside: tuple[Volume, str] | None
) -> None:
    """Refuse an unfit mask at once, rather than after a minute's work on the images."""
    if lesion_mask is None:
        return
    grids = {suffix: (image.shape, image.affine)}
    if beside is not None:
        grids["FLAIR"] = (beside[0].shape, beside[0].affine)
    load_mask(lesion_mask, grids)


def _prepare_flair(
    beside: tuple[Volume, str] | None, reference: Volume, brain: NDArray[np.bool_], folder: Path
) -> tuple[Path | None, Path | None, tuple[str, ...]]:
    """Register and correct the FLAIR beside the reference; return its path, its transform and warnings."""
    if beside is None:
        return None, None, ()
    flair, name = beside
    start, warnings = _start_between(reference, brain, flair, name)
    matrix = register_sequence(reference, brain, flair, start)
    warnings += _misplaced(reference, brain, flair, name, matrix, start)
    seen = carry_mask(brain, reference.affine, matrix, flair)
    corrected = correct_bias(flair, seen)
    path = save_image(folder / "flair.nii.gz", corrected.data, flair.affine)
    transform = write_transform(affine_transform(matrix), folder / "flair_to_reference.h5")
    return path, transform, warnings


def _misplaced(
    reference: Volume,
    brain: NDArray[np.bool_],
    flair: Volume,
    name: str,
    matrix: NDArray[np.floating],
    start: NDArray[np.floating],
) -> tuple[str, ...]:
    """Say what speaks against the place of a FLAIR over the reference."""
    placed = check_placement(reference, brain, flair, matrix, start)
    doubts = []
    if placed.gain is not None and placed.gain > 0:
        doubts.append("another position, a centimetre or more away, fits the reference better")
    if placed.moved_mm > PLAUSIBLE_MOVE_MM:
        doubts.append(
            f"it was moved by {placed.moved_mm:.0f} mm from the scanner's position, expected"
            f" {PLAUSIBLE_MOVE_MM:.0f} mm or less"
        )
    if placed.in_view < LEAST_IN_VIEW:
        doubts.append(f"only {100 * placed.in_view:.0f} % of the brain lies in its field of view")
    return tuple(f"FLAIR may be misplaced ({name}): {doubt}; look at its pictures" for doubt in doubts)


def _start_between(
    reference: Volume, brain: NDArray[np.bool_], flair: Volume, name: str
) -> tuple[NDArray[np.floating], tuple[str, ...]]:
    """Trust the headers unless the brains lie apart; then start from one brain over the other."""
    isolated = _isolated(flair, "FLAIR", name)
    there = np.argwhere(isolated.data > 0).mean(axis=0) @ isolated.affine[:3, :3].T + isolated.affine[:3, 3]
    here = np.argwhere(brain).mean(axis=0) @ reference.affine[:3, :3].T + reference.affine[:3, 3]
    start = np.eye(4)
    apart = float(np.linalg.norm(there - here))
    if apart <= LARGEST_MOVE_MM:
        return start, ()
    start[:3, 3] = there - here
    return start, (f"{name}: lies {apart:.0f} mm from the reference by its header; check their alignment",)
