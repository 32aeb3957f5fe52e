"""One participant: every visit's stages and the alignment that joins them."""

from __future__ import annotations

from nipype import Workflow

from mripipe.model.settings import Settings
from mripipe.model.study import Subject

from .anatomical import add_anatomy
from .diffusion import add_diffusion
from .lesion import add_lesion, add_lesion_in_time
from .longitudinal import add_alignment
from .normalisation import add_measurement, add_normalisation
from .tracking import add_tracking
from .tracts import add_tracts


def build_subject(subject: Subject, settings: Settings) -> Workflow:
    """Build a participant's workflow from the visits that can run; it may be empty."""
    workflow = Workflow(name=subject.participant_id)
    sessions = [session for session in subject.sessions if session.can_run]
    segmented = []
    for session in sessions:
        prepared = add_anatomy(workflow, session, diffusion=not settings.diffusion.skip)
        segmented.append(add_lesion(workflow, session, prepared, settings.lesion))
    if not segmented:
        return workflow
    aligned = add_alignment(workflow, subject.participant_id, segmented, settings.registration)
    for session, source in zip(sessions, segmented, strict=True):
        final = source
        if len(segmented) > 1:
            final = add_lesion_in_time(workflow, session, segmented, source, aligned)
        normalised = add_normalisation(workflow, session, final, aligned, settings.registration)
        add_measurement(workflow, session, normalised, settings.diffusion.atlases)
        if session.scan("dwi") is not None and not settings.diffusion.skip:
            fitted = add_diffusion(workflow, session, settings.diffusion)
            measured = add_tracts(workflow, session, fitted, normalised, settings.diffusion.atlases)
            if settings.tracks:
                add_tracking(workflow, session, fitted, measured, normalised)
    return workflow
