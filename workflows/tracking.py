"""Tracts of one visit, followed in the person's own diffusion."""

from __future__ import annotations

from nipype import Node, Workflow

from mripipe.interfaces.step import step_node
from mripipe.model.study import Session
from mripipe.steps.tracking import track_visit


def add_tracking(
    workflow: Workflow, session: Session, fitted: Node, measured: Node, normalised: Node
) -> Node:
    """Add tracking after a visit's tracts, whose atlas it starts from; return the node."""
    visit = (session.participant_id, session.session_id)
    node = step_node(track_visit, f"{session.session_id}_tracking", visit=visit)
    workflow.connect(fitted, "result", node, "diffusion")
    workflow.connect(measured, "result", node, "tracts")
    workflow.connect(normalised, "result", node, "normalised")
    return node
