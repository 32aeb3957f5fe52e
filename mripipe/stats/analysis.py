"""All of the group stage's numbers from what was read: one call, one result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mripipe.model.group import Clinical, Measurement, Oddity
from mripipe.stats.associations import associations
from mripipe.stats.defaults import usual_associations, usual_models
from mripipe.stats.effects import Check, Effect, with_q
from mripipe.stats.join import Joined, join
from mripipe.stats.missing import Attendance, Comparison, Outlier, attendance, compare_missing, outliers
from mripipe.stats.models import run_models
from mripipe.stats.plan import Plan
from mripipe.stats.reliability import Reliability, reliabilities


@dataclass(frozen=True)
class Analysis:
    """Everything that was computed."""

    joined: Joined
    associations: tuple[Effect, ...]
    models: tuple[Effect, ...]
    checks: tuple[Check, ...]
    attendance: tuple[Attendance, ...]
    missing: tuple[Comparison, ...]
    outliers: tuple[Outlier, ...]
    reliability: tuple[Reliability, ...]
    oddities: tuple[Oddity, ...]


def analyse(
    measurements: Sequence[Measurement], clinical: Clinical, plan: Plan, *, oddities: Sequence[Oddity] = ()
) -> Analysis:
    """Join, associate, model and check.

    Parameters
    ----------
    measurements : sequence of Measurement
    clinical : Clinical
    plan : Plan
    oddities : sequence of Oddity
        Found while reading the measurements.

    """
    joined = join(measurements, clinical, plan)
    wanted = [*plan.associations, *(usual_associations(joined.wide, plan) if plan.exploratory else [])]
    models = [*plan.models, *(usual_models(joined.wide, joined.visits, plan) if plan.exploratory else [])]
    related = associations(wanted, joined.wide, plan)
    effects, checks = run_models(models, joined.wide, joined.visits, plan)
    corrected = with_q([*related, *effects])
    return Analysis(
        joined,
        tuple(corrected[: len(related)]),
        tuple(corrected[len(related) :]),
        tuple(checks),
        tuple(attendance(joined, plan)),
        tuple(compare_missing(joined, plan)),
        tuple(outliers(joined)),
        tuple(reliabilities(clinical.ratings)),
        (*oddities, *clinical.oddities, *joined.oddities),
    )
