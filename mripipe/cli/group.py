"""``mripipe run BIDS OUT group``: tables, models, figures and one page from what the participants gave."""

from __future__ import annotations

from argparse import Namespace

from mripipe.bids.phenotype import read_clinical
from mripipe.stats.analysis import analyse
from mripipe.stats.plan import Plan, read_plan
from mripipe.stats.tables import write_analysis
from mripipe.steps.group_measurements import read_measurements


def run_group(given: Namespace) -> bool:
    """Run the group stage; True, for what cannot be computed is a row that says why."""
    plan = read_plan(given.plan) if given.plan else Plan()
    measurements, oddities = read_measurements(given.out_dir)
    measured = {item.participant_id for item in measurements}
    clinical = read_clinical(given.bids_dir, measured=measured, wanted=plan.columns)
    analysis = analyse(measurements, clinical, plan, oddities=oddities)
    write_analysis(given.out_dir / "outcomes", analysis, plan)
    return True
