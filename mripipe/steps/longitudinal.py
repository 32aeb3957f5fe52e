"""Bring all visits of a participant into one within-subject space."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mripipe.core.halfway import mean_image
from mripipe.core.rigid import mean_affine, rigid_part
from mripipe.core.serial import SerialVisit, align_rigidly
from mripipe.errors import ProcessingError
from mripipe.model.settings import RegistrationSettings
from mripipe.model.stages import AlignedVisits, Matrix, SegmentedVisit
from mripipe.model.study import REFERENCE_SUFFIXES
from mripipe.steps.load import load_image, load_own_mask, save_image

BRAIN_CENTRE_MM: Final = (0.0, -18.0, 8.0)
"""Near the middle of the brain in MNI: the rigid first guess agrees with the affine there."""


def align_visits(
    visits: tuple[SegmentedVisit, ...], *, settings: RegistrationSettings, folder: Path
) -> AlignedVisits:
    """Register all visits of a participant rigidly to a space halfway between them, and average them there.

    Visits in another order give the same matrices and the same template, byte for byte.

    Parameters
    ----------
    visits : tuple of SegmentedVisit
        One or more, of one participant.
    settings : RegistrationSettings
        At level ``fast`` the images are compared at about 4 mm, at level ``standard`` at about 2 mm too.
    folder : Path
        Where ``template.nii.gz`` is written: the mean image of the visits whose reference image is of the
        sequence preferred most among them, with a median of 1 in the brain.

    Returns
    -------
    AlignedVisits
        Matrices that map within-subject mm to each visit's native mm, and MNI mm to within-subject mm. A
        single visit's within-subject space is its native space, and it has no template.

    Raises
    ------
    InputError
        An image or mask cannot be read.
    ProcessingError
        A brain mask is empty or the image has no intensity in it.

    """
    sessions = tuple(visit.prepared.session.session_id for visit in visits)
    if len(visits) == 1:
        return AlignedVisits(sessions, (_as_matrix(np.eye(4)),), None, visits[0].prepared.affine_to_mni)
    loaded = [_load(visit) for visit in visits]
    to_visit = align_rigidly(loaded, refine=settings.level == "standard")
    # Ordered by content, as sums depend on the order in their last bits.
    order = sorted(range(len(visits)), key=lambda k: to_visit[k].tobytes())
    affines = [np.linalg.inv(to_visit[k]) @ np.array(visits[k].prepared.affine_to_mni) for k in order]
    best = min((visit.sequence for visit in loaded), key=REFERENCE_SUFFIXES.index)
    shown = [k for k in order if loaded[k].sequence == best]
    template = mean_image(
        [loaded[k].image for k in shown], [loaded[k].brain for k in shown], [to_visit[k] for k in shown]
    )
    path = save_image(folder / "template.nii.gz", template.data, template.affine)
    return AlignedVisits(
        sessions,
        tuple(map(_as_matrix, to_visit)),
        path,
        _as_matrix(mean_affine(affines)),
        _sequence_warnings(dict(zip(sessions, (visit.sequence for visit in loaded), strict=True))),
    )


def _load(visit: SegmentedVisit) -> SerialVisit:
    """Read what the alignment needs of a visit, with the rigid part of its way to MNI as first guess."""
    prepared = visit.prepared
    image = load_image(prepared.preproc)
    brain, lesion = load_own_mask(prepared.brain_mask), load_own_mask(visit.final_mask)
    if not brain.any() or not np.median(image.data[brain]) > 0:
        name = f"{prepared.session.participant_id} {prepared.session.session_id}"
        raise ProcessingError(
            f"{name}: no brain with intensities above 0 in {prepared.preproc.name}; look at the image"
        )
    start = rigid_part(np.array(prepared.affine_to_mni), BRAIN_CENTRE_MM)
    return SerialVisit(image, brain, lesion, start, prepared.reference_suffix)


def _sequence_warnings(sequences: dict[str, str]) -> tuple[str, ...]:
    """Say so where visits have reference images of different sequences."""
    if len(set(sequences.values())) == 1:
        return ()
    listed = ", ".join(f"{session} {sequence}" for session, sequence in sorted(sequences.items()))
    return (
        f"reference images differ in sequence ({listed}): visits are aligned less exactly and their "
        "volumes may differ for that reason; give every visit the same sequence",
    )


def _as_matrix(matrix: NDArray[np.floating]) -> Matrix:
    a, b, c, d = (tuple(float(value) for value in row) for row in matrix)
    return (a, b, c, d)  # type: ignore[return-value]
