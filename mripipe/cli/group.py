"""``mripipe run BIDS OUT group``: tables, models, figures and one page from what the participants gave."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mripipe.bids.files import write_atomic
from mripipe.bids.names import OutputPaths
from mripipe.bids.phenotype import read_clinical
from mripipe.bids.tables import read_key
from mripipe.errors import RequestError
from mripipe.interfaces.locks import locked
from mripipe.model.group import Clinical, Measurement, Oddity
from mripipe.model.page import Picture
from mripipe.reports.group import render_group
from mripipe.stats.analysis import Analysis, analyse
from mripipe.stats.page import build_page, citation
from mripipe.stats.pictures import draw_pictures
from mripipe.stats.plan import Plan, read_plan
from mripipe.stats.tables import figure_rows, write_analysis
from mripipe.stats.unblinded import analyse_unblinded
from mripipe.steps.group_masks import Incidence, find_masks, measure_masks
from mripipe.steps.group_measurements import read_measurements
from mripipe.steps.load import save_image

OUTCOMES = "outcomes"
PAGE = "group.html"
UNBLINDED = "unblinded"
"""Folder of its own for what tells the arm."""


def run_group(given: Namespace) -> bool:
    """Run the group stage.

    Returns
    -------
    bool
        True: what cannot be computed is a row that says why.

    Raises
    ------
    RequestError
        Participants were chosen, the plan is unfit, there is nothing to analyse, or another run of the group
        stage writes into the same folder.

    """
    if given.participant_label or given.session_label:
        raise RequestError(
            "the group level takes everyone: leave out --participant-label and --session-label"
        )
    if given.dry_run:
        raise RequestError("the group level has no --dry-run: it writes group.html and outcomes/ anew")
    plan = read_plan(given.plan) if given.plan else Plan()
    out_dir = given.out_dir.absolute()
    measurements, incidence, oddities = _measured(given.masks, out_dir)
    clinical = _clinical(given.bids_dir, given.masks, measurements, plan)
    if given.unblind is not None and not given.unblind.is_file():
        raise RequestError(f"{given.unblind}: no such file; expected participant_id and the arm")
    with locked([OutputPaths(out_dir).logs / "locks" / "group.lock"]):
        arms = _unblind(given.unblind, out_dir) if given.unblind is not None else None
        analysis = analyse(measurements, clinical, plan, oddities=oddities)
        print(_publish(out_dir, analysis, plan, incidence))
        if arms is not None:
            told = analyse_unblinded(analysis, arms, plan)
            print(_publish(out_dir / UNBLINDED, told, plan, None))
    return True


def _measured(masks: Path | None, out_dir: Path) -> tuple[list[Measurement], Incidence, list[Oddity]]:
    """Read what was measured, and measure the masks in MNI."""
    if masks is not None:
        paths = find_masks(masks)
        print(f"measuring {len(paths)} masks", file=sys.stderr, flush=True)
        return measure_masks(paths)
    found, oddities = read_measurements(out_dir)
    days = {(m.participant_id, m.session_id): (m.days_from_onset, m.days_from_infusion) for m in found}
    names = OutputPaths(out_dir)
    own = {visit: path for visit in sorted(days) if (path := names.mni_lesion_mask(*visit)).is_file()}
    damage, incidence, more = measure_masks(own.values(), days=days, counted=_first_masks(own, days))
    # The participant stage has measured the rest, on the native grid.
    kept = [item for item in damage if item.name.startswith("damage_")]
    return [*found, *kept], incidence, [*oddities, *more]


def _first_masks(
    masks: dict[tuple[str, str], Path], days: dict[tuple[str, str], tuple[float | None, float | None]]
) -> set[Path]:
    """Return each participant's earliest mask."""
    first: dict[str, tuple[float, str, Path]] = {}
    for (who, session), path in masks.items():
        day = next((day for day in days[who, session] if day is not None), float("inf"))
        first[who] = min(first.get(who, (float("inf"), "\uffff", path)), (day, session, path))
    return {path for _, _, path in first.values()}


def _clinical(
    bids_dir: Path, masks: Path | None, measurements: Sequence[Measurement], plan: Plan
) -> Clinical:
    """Read the clinical tables: those beside the masks where there are any, else the dataset's."""
    beside = masks is not None and (masks / "participants.tsv").is_file()
    root = masks if beside and masks is not None else bids_dir
    if not root.is_dir():
        raise RequestError(f"{root}: no such folder; expected a BIDS dataset")
    measured = {item.participant_id for item in measurements}
    return read_clinical(root, measured=measured, wanted=plan.columns)


def _unblind(key: Path, out_dir: Path) -> dict[str, str]:
    """Record the act, then read the key."""
    try:
        digest = hashlib.sha256(key.read_bytes()).hexdigest()
    except OSError as error:
        raise RequestError(f"{key}: cannot be read ({error.strerror})") from error
    entry = {
        "act": "unblinded the group stage",
        "user": _user(),
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "key_sha256": digest,
    }
    record = OutputPaths(out_dir).logs / "unblinding.jsonl"
    earlier = record.read_text(encoding="utf-8") if record.is_file() else ""
    write_atomic(record, earlier + json.dumps(entry) + "\n")
    return read_key(key)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # No name is known for this process.
        return f"uid {os.getuid()}"


def _publish(out_dir: Path, analysis: Analysis, plan: Plan, incidence: Incidence | None) -> Path:
    """Write tables, figures, the methods and the page; return the page."""
    folder = out_dir / OUTCOMES
    write_analysis(folder, analysis, plan)
    pictures = draw_pictures(analysis, plan, incidence)
    _write_pictures(folder / "figures", pictures)
    if incidence is not None and incidence.n:
        counts = incidence.counts.astype(np.int16)
        save_image(folder / "figures" / "incidence.nii.gz", counts, incidence.affine, dtype=np.int16)
    unblinded = out_dir.name == UNBLINDED
    above = "../" if unblinded else ""
    reports = {
        who: f"{above}{who}.html"
        for who in analysis.joined.wide.index
        if (out_dir / above / f"{who}.html").is_file()
    }
    title = f"Group of {len(analysis.joined.wide)} participants"
    page = build_page(analysis, plan, pictures, reports=reports, title=title, unblinded=unblinded)
    write_atomic(folder / "CITATION.md", citation(page))
    return write_atomic(out_dir / PAGE, render_group(page))


def _write_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    for picture in pictures:
        write_atomic(folder / f"{picture.name}.svg", picture.svg + "\n")
        figure_rows(folder / f"{picture.name}.tsv", picture.header, picture.rows)
