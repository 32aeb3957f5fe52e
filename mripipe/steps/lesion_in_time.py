"""The infarct of one visit once more, with the patient's other visits as witnesses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mripipe.core.grid import Volume
from mripipe.core.lesion import LARGEST_EVIDENCE
from mripipe.core.roughspace import pull_to_template
from mripipe.model.stages import AlignedVisits, SegmentedVisit
from mripipe.steps.lesion import FoundInfarct, describe_infarct, infarct_from_log_odds
from mripipe.steps.load import load_image, load_plain, load_rough_map


def segment_in_time(
    segmented: SegmentedVisit, visits: tuple[SegmentedVisit, ...], aligned: AlignedVisits, *, folder: Path
) -> SegmentedVisit:
    """Segment one visit again, each voxel hearing what the same place says at the other visits.

    Every visit's own images still speak first, so that a border may move between visits; what is doubtful in
    one and plain in another is decided alike.

    Parameters
    ----------
    segmented : SegmentedVisit
    visits : tuple of SegmentedVisit
        All visits of the participant that could be segmented, in any order.
    aligned : AlignedVisits
        Of these visits.
    folder : Path
        Where files are written.

    Returns
    -------
    SegmentedVisit
        The same where an expert's mask or another program's map is used, where there is no other visit, and
        in the first days, when an infarct is seen by diffusion and still to take its shape.

    """
    prepared = segmented.prepared
    here = prepared.session.session_id
    others = sorted(
        (v for v in visits if v.prepared.session.session_id != here and not v.acute),
        key=lambda visit: visit.prepared.session.session_id,
    )
    if segmented.source == "manual" or segmented.acute or segmented.log_odds is None or not others:
        return segmented
    log_odds, reference = load_plain(segmented.log_odds), load_image(prepared.preproc)
    to_visit = dict(zip(aligned.session_ids, map(np.array, aligned.to_visit), strict=True))
    rough = load_rough_map(prepared)

    def carried(visit: SegmentedVisit) -> NDArray[np.float32]:
        then = to_visit[visit.prepared.session.session_id] @ np.linalg.inv(to_visit[here])
        shape, affine = log_odds.data.shape, log_odds.affine
        return pull_to_template(_log_odds_of(visit), rough, shape, affine, then=then, outside=np.nan)

    total, seen = np.zeros((2, *log_odds.data.shape), np.float32)
    for visit in others:
        said = carried(visit)
        total += np.nan_to_num(said)
        seen += np.isfinite(said)
    said_of = infarct_from_log_odds(log_odds, prepared, reference, total / np.maximum(seen, 1.0))
    found = FoundInfarct(
        prepared,
        *said_of,
        segmented.cavity,
        segmented.log_odds,
        segmented.native_log_odds,
        segmented.sequences,
    )
    return describe_infarct(found, found.probability, reference, folder)


def _log_odds_of(visit: SegmentedVisit) -> Volume:
    """Return a visit's log odds on its native grid; a mask from elsewhere is beyond doubt."""
    if visit.source == "auto" and visit.native_log_odds is not None:
        return load_plain(visit.native_log_odds)
    mask = load_plain(visit.final_mask)
    return Volume(np.where(mask.data > 0, LARGEST_EVIDENCE, -LARGEST_EVIDENCE), mask.affine)
