"""All visits of a participant through one unbiased within-subject template."""

from __future__ import annotations

from collections.abc import Sequence

from nipype import Node, Workflow

from mripipe.interfaces.step import step_node
from mripipe.model.settings import RegistrationSettings
from mripipe.steps.longitudinal import align_visits


def add_alignment(
    workflow: Workflow, participant_id: str, segmented: Sequence[Node], settings: RegistrationSettings
) -> Node:
    """Add the alignment of a participant's segmented visits; return the node."""
    many = {"visits": len(segmented)}
    visit = (participant_id, None)
    node = step_node(align_visits, "align", visit=visit, many=many, settings=settings)
    for number, source in enumerate(segmented, start=1):
        workflow.connect(source, "result", node, f"visits_{number}")
    return node
