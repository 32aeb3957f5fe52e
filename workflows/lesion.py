"""Infarct of one visit, by itself and beside the participant's other visits."""

from __future__ import annotations

from collections.abc import Sequence

from nipype import Node, Workflow

from mripipe.interfaces.step import step_node
from mripipe.model.settings import LesionSettings
from mripipe.model.study import Session
from mripipe.steps.lesion import segment_visit
from mripipe.steps.lesion_in_time import segment_in_time


def add_lesion(workflow: Workflow, session: Session, prepared: Node, settings: LesionSettings) -> Node:
    """Add the segmentation of one visit's infarct, after its preparation; return the node."""
    visit = (session.participant_id, session.session_id)
    masks = Session(
        *visit,
        lesion_mask=session.lesion_mask,
        external_lesion=session.external_lesion,
        # The day matters in the first days alone; a corrected date of a later visit redoes nothing.
        days_from_onset=session.days_from_onset if session.is_acute else None,
    )
    node = step_node(
        segment_visit, f"{session.session_id}_segment", visit=visit, masks=masks, settings=settings
    )
    workflow.connect(prepared, "result", node, "prepared")
    return node


def add_lesion_in_time(
    workflow: Workflow, session: Session, segmented: Sequence[Node], own: Node, aligned: Node
) -> Node:
    """Add the second look at one visit's infarct, after the alignment of all; return the node."""
    visit, many = (session.participant_id, session.session_id), {"visits": len(segmented)}
    node = step_node(segment_in_time, f"{session.session_id}_segment_in_time", visit=visit, many=many)
    workflow.connect(own, "result", node, "segmented")
    workflow.connect(aligned, "result", node, "aligned")
    for number, source in enumerate(segmented, start=1):
        workflow.connect(source, "result", node, f"visits_{number}")
    return node
