"""Anatomy of one visit: orientation, bias field, brain."""

from __future__ import annotations

from nipype import Node, Workflow

from mripipe.interfaces.step import step_node
from mripipe.model.study import Session
from mripipe.steps.anatomical import prepare_visit


def add_anatomy(workflow: Workflow, session: Session) -> Node:
    """Add the preparation of one visit's images; return the node."""
    visit = (session.participant_id, session.session_id)
    node = step_node(prepare_visit, f"{session.session_id}_prepare", visit=visit, session=session)
    workflow.add_nodes([node])
    return node
