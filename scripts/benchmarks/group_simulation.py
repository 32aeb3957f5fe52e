"""How often the group stage finds what is not there, and how often its intervals hold what is.

Draws many phantom trials (tables, no images) with planted effects and one variable that tells nothing,
analyses each as `mripipe run ... group` does, and compares with the truth: the rate of p < 0.05 for the
variable that tells nothing must lie in the binomial interval of 5 %, the coverage of the planted effects'
intervals in that of 95 %. From the root of the repository:

    python scripts/benchmarks/group_simulation.py --trials 1000 --patients 60
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
from scipy import stats

from mripipe.stats.associations import associations
from mripipe.stats.join import join
from mripipe.stats.models import run_models
from mripipe.stats.plan import Association, Model, Plan
from mripipe.stats.simulated import Truth, simulate_trial

VOLUME, MARKER = "lesion_ml_baseline", "rfa_CST_pons_baseline"
ADJUSTED = f"age + nihss_baseline + {VOLUME} + {MARKER}"

PLAN = Plan(
    bootstrap=400,
    assumption_resamples=39,
    associations=(
        Association(x=VOLUME, y="mrs_day90"),
        Association(x=MARKER, y="mrs_day90"),
        Association(x=MARKER, y="mrs_day90", adjust=("age", "nihss_baseline", VOLUME)),
    ),
    models=(
        Model(name="shift", kind="ordinal", formula=f"mrs_day90 ~ {ADJUSTED}"),
        Model(name="good", kind="logistic", formula=f"mrs02_day90 ~ {VOLUME} + {MARKER}"),
        Model(name="course", kind="mixed", formula=f"lesion_ml ~ months * {MARKER}"),
        Model(name="change", kind="mixed", formula=f"lesion_ml_change ~ months + {VOLUME} + {MARKER}"),
    ),
)


def rank_truth(truth: Truth) -> float:
    """Return Spearman's coefficient of volume and mRS in a trial large enough to be the truth."""
    rows, clinical = simulate_trial(10**6, patients=100_000, truth=truth)
    volume = [row.value for row in rows if row.name == "lesion_ml" and row.session_id == "ses-baseline"]
    mrs = [score.value for score in clinical.scores if score.name == "mrs"]
    return float(stats.spearmanr(volume, mrs)[0])


def main() -> None:
    """Run the simulation and print rates with their binomial intervals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--drop-out", type=float, default=0.15)
    given = parser.parse_args()
    truth = Truth()
    planted = {
        ("shift", VOLUME): truth.lesion_ml,
        ("shift", "age"): truth.age,
        ("shift", "nihss_baseline"): truth.nihss,
        ("course", "months"): truth.course_ml,
        ("change", "months"): truth.course_ml,
        (f"mrs_day90 with {VOLUME}", VOLUME): rank_truth(truth),
    }
    null_p: dict[str, list[float]] = defaultdict(list)
    covered: dict[str, list[bool]] = defaultdict(list)
    found: dict[str, list[float]] = defaultdict(list)
    lost: dict[str, int] = defaultdict(int)
    assumption: list[float] = []
    for trial in range(given.trials):
        rows, clinical = simulate_trial(trial, patients=given.patients, truth=truth, drop_out=given.drop_out)
        data = join(rows, clinical, PLAN)
        # The marker's part in the slope is asked for at mean marker, so that months alone is the mean slope.
        data.visits[MARKER] -= 0.8
        fitted, checks = run_models(PLAN.models, data.wide, data.visits, PLAN)
        effects = [*associations(PLAN.associations, data.wide, PLAN), *fitted]
        assumption += [c.p for c in checks if c.check == "proportional_odds" and c.p is not None]
        for effect in effects:
            key = (effect.analysis, effect.term)
            name = f"{effect.kind}: {effect.analysis}, {effect.term}"
            if effect.p is None:
                lost[f"{effect.kind}: {effect.analysis} ({effect.status})"] += 1
            elif MARKER in effect.term:
                null_p[name].append(effect.p)
            elif key in planted:
                covered[name].append(effect.lower <= planted[key] <= effect.upper)
                found[name].append(effect.p)
    null_p["Brant's test, odds proportional in truth"] = assumption
    print(f"{given.trials} trials of {given.patients} patients, {given.drop_out:.0%} of later visits missed")
    for name, values in sorted(null_p.items()):
        _print("false findings", name, np.mean(np.array(values) < 0.05), len(values), 0.05)
    for name, flags in sorted(covered.items()):
        power = np.mean(np.array(found[name]) < 0.05)
        _print(f"coverage (found in {power:.0%})", name, np.mean(flags), len(flags), 0.95)
    for name, count in sorted(lost.items()):
        print(f"no estimate: {name}: {count}")


def _print(what: str, name: str, rate: float, count: int, wanted: float) -> None:
    low, high = (stats.binom.ppf(level, count, wanted) / count for level in (0.025, 0.975))
    verdict = "within" if low <= rate <= high else "OUTSIDE"
    print(f"{rate:6.3f}  {verdict} {low:.3f} to {high:.3f}  {what}: {name}  (n = {count})")


if __name__ == "__main__":
    main()
