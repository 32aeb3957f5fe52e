"""Tracts of one visit: diffusion in its anatomy."""

from __future__ import annotations

from collections.abc import Sequence

from nipype import Node, Workflow

from mripipe.atlases.atlas import atlas_files
from mripipe.interfaces.step import step_node
from mripipe.model.study import Session
from mripipe.steps.tracts import measure_tracts


def add_tracts(
    workflow: Workflow, session: Session, fitted: Node, normalised: Node, atlases: Sequence[str] = ()
) -> Node:
    """Add the measurement of one visit's tracts, after its tensor and its way to MNI; return the node.

    `atlases` names installed ones whose tracts are measured too: their files' content is an input.
    """
    visit = (session.participant_id, session.session_id)
    files = tuple(atlas_files(name) for name in atlases)
    node = step_node(measure_tracts, f"{session.session_id}_tracts", visit=visit, atlases=files)
    workflow.connect(fitted, "result", node, "diffusion")
    workflow.connect(normalised, "result", node, "normalised")
    return node
