"""Anatomy of one visit: orientation, bias field, brain."""

from __future__ import annotations

from dataclasses import replace

from nipype import Node, Workflow

from mripipe.interfaces.step import step_node
from mripipe.model.study import DIFFUSION_MAPS, REFERENCE_SUFFIXES, Session
from mripipe.steps.anatomical import prepare_visit


def add_anatomy(workflow: Workflow, session: Session, *, diffusion: bool) -> Node:
    """Add the preparation of one visit's images; return the node."""
    visit = (session.participant_id, session.session_id)
    images = _images_only(session, diffusion=diffusion)
    # Its mask is looked at here, so that an unfit one ends the visit at once; the images do not depend on it.
    mask = {"lesion_mask": session.lesion_mask}
    node = step_node(prepare_visit, f"{session.session_id}_prepare", visit=visit, beside=mask, session=images)
    workflow.add_nodes([node])
    return node


def _images_only(session: Session, *, diffusion: bool) -> Session:
    """Leave out what this step does not use, so that a corrected date or sidecar does not redo its work."""
    used = REFERENCE_SUFFIXES if not diffusion else (*REFERENCE_SUFFIXES, *DIFFUSION_MAPS, "dwi")
    scans = tuple(replace(scan, sidecar=None) for scan in session.scans if scan.suffix in used)
    return replace(
        session, scans=scans, lesion_mask=None, external_lesion=None,
        days_from_onset=None, days_from_infusion=None, problems=(),
    )  # fmt: skip
