"""Infarct of one visit."""

from __future__ import annotations

from nipype import Node, Workflow

from mripipe.interfaces.step import step_node
from mripipe.model.settings import LesionSettings
from mripipe.model.study import Session
from mripipe.steps.lesion import segment_visit


def add_lesion(workflow: Workflow, session: Session, prepared: Node, settings: LesionSettings) -> Node:
    """Add the segmentation of one visit's infarct, after its preparation; return the node."""
    visit = (session.participant_id, session.session_id)
    node = step_node(segment_visit, f"{session.session_id}_segment", visit=visit, settings=settings)
    workflow.connect(prepared, "result", node, "prepared")
    return node
