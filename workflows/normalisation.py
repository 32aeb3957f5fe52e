"""One visit to MNI space, and what is measured there and on the native grid."""

from __future__ import annotations

from collections.abc import Sequence

from nipype import Node, Workflow

from mripipe.atlases.atlas import atlas_files
from mripipe.interfaces.step import step_node
from mripipe.model.settings import RegistrationSettings
from mripipe.model.study import Session
from mripipe.steps.measure import measure_visit
from mripipe.steps.normalisation import normalise_visit


def add_normalisation(
    workflow: Workflow, session: Session, segmented: Node, aligned: Node, settings: RegistrationSettings
) -> Node:
    """Add one visit's way to MNI, after its segmentation and the alignment; return the node."""
    visit = (session.participant_id, session.session_id)
    node = step_node(normalise_visit, f"{session.session_id}_normalise", visit=visit, settings=settings)
    workflow.connect(segmented, "result", node, "segmented")
    workflow.connect(aligned, "result", node, "aligned")
    return node


def add_measurement(
    workflow: Workflow, session: Session, normalised: Node, atlases: Sequence[str] = ()
) -> Node:
    """Add one visit's measurements; return the node, whose result is the visit's.

    `atlases` names installed ones in whose regions the infarct is measured too.
    """
    visit = (session.participant_id, session.session_id)
    files = tuple(atlas_files(name) for name in atlases)
    node = step_node(measure_visit, f"{session.session_id}_measure", visit=visit, atlases=files)
    workflow.connect(normalised, "result", node, "normalised")
    return node
