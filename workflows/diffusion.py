"""Diffusion of one visit: its series prepared, its tensor."""

from __future__ import annotations

from dataclasses import replace

from nipype import Node, Workflow

from mripipe.interfaces.step import step_node
from mripipe.model.settings import DiffusionSettings
from mripipe.model.study import FIELD_MAPS, Session
from mripipe.steps.diffusion import fit_diffusion


def add_diffusion(workflow: Workflow, session: Session, settings: DiffusionSettings) -> Node:
    """Add the preparation of one visit's diffusion series, which waits for nothing; return the node."""
    visit = (session.participant_id, session.session_id)
    series = _series_only(session)
    # Tracking and tracts come later: what is asked of them does not redo the series.
    settings = replace(settings, tracking=True, atlases=())
    node = step_node(
        fit_diffusion, f"{session.session_id}_diffusion", visit=visit, session=series, settings=settings
    )
    workflow.add_nodes([node])
    return node


def _series_only(session: Session) -> Session:
    """Leave out what this stage does not use, so that a change of it does not redo the work."""
    scans = tuple(scan for scan in session.scans if scan.suffix in ("dwi", *FIELD_MAPS))
    return replace(
        session, scans=scans, lesion_mask=None, days_from_onset=None, days_from_infusion=None, problems=()
    )
