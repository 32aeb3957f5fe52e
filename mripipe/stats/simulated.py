"""Tables of a made-up trial with planted effects and planted absences of effect, to try the analyses on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mripipe.bids.files import write_atomic
from mripipe.model.group import Clinical, Measurement, Person, Score

DAYS: Final = {"baseline": -5.0, "day90": 90.0, "day180": 180.0, "day365": 365.0}
"""Visits and their days after the first infusion."""
CUTS: Final = (-4.0, -2.6, -1.3, 0.2, 2.0, 4.2)
"""Thresholds of the modified Rankin Scale on the scale of log odds: most patients end at 3 or 4."""
MEAN_ML: Final = 110.0


@dataclass(frozen=True)
class Truth:
    """What is planted."""

    age: float = 0.04
    """Log odds of a higher mRS for a year."""
    nihss: float = 0.15
    """For a point."""
    lesion_ml: float = 0.012
    """For a millilitre."""
    course_ml: float = -1.5
    """Change of lesion volume in mL a month."""
    marker: float = 0.0
    """Log odds for one standard deviation of ``rfa_CST_pons``; 0: it tells nothing."""


def simulate_trial(
    seed: int, *, patients: int = 60, truth: Truth | None = None, drop_out: float = 0.0
) -> tuple[tuple[Measurement, ...], Clinical]:
    """Draw a trial.

    Parameters
    ----------
    seed : int
        Same seed, same trial.
    patients : int
    truth : Truth, optional
        Effects; the defaults where not given.
    drop_out : float
        Chance that a later visit is missed.

    Returns
    -------
    tuple
        Measurements of ``lesion_ml`` and ``rfa_CST_pons`` at every visit, and people with NIHSS at baseline
        and mRS at 90 days.

    """
    planted = truth or Truth()
    rng = np.random.default_rng(seed)
    age = np.clip(rng.normal(62, 10, patients), 30, 90).round()
    nihss = rng.integers(15, 26, patients)
    volume = np.clip(rng.lognormal(np.log(100), 0.5, patients), 15, 300)
    marker = rng.normal(0, 1, patients)
    eta = planted.age * (age - 62) + planted.nihss * (nihss - 20) + planted.lesion_ml * (volume - MEAN_ML)
    latent = eta + planted.marker * marker + rng.logistic(0, 1, patients)
    mrs = np.searchsorted(CUTS, latent)
    slope = planted.course_ml + rng.normal(0, 1.0, patients)
    people: list[Person] = []
    scores: list[Score] = []
    rows: list[Measurement] = []
    for k in range(patients):
        who = f"sub-{k + 1:03d}"
        people.append(Person(who, float(age[k]), sex="F" if rng.random() < 0.4 else "M"))
        scores.append(_score(who, "nihss", float(nihss[k]), "baseline", 2 * k + 2))
        scores.append(_score(who, "mrs", float(mrs[k]), "day90", 2 * k + 3))
        for visit, day in DAYS.items():
            noise = rng.normal(0, 4.0)
            missed = visit != "baseline" and rng.random() < drop_out
            if missed:
                continue
            # The scan before the infusion is where the course starts.
            months = (day - DAYS["baseline"]) * 12 / 365.25
            lesion = float(
                volume[k] if visit == "baseline" else max(volume[k] + slope[k] * months + noise, 0)
            )
            rfa = 0.8 + 0.08 * float(marker[k]) + (rng.normal(0, 0.02) if visit != "baseline" else 0.0)
            line = len(rows) + 2
            rows.append(_measured(who, visit, day, "lesion_ml", lesion, "mL", line))
            rows.append(_measured(who, visit, day, "rfa_CST_pons", rfa, "1", line + 1))
    return tuple(rows), Clinical(tuple(people), tuple(scores))


def write_trial(
    folder: Path, seed: int, *, patients: int = 60, truth: Truth | None = None, drop_out: float = 0.0
) -> tuple[Path, Path]:
    """Write a drawn trial as the tables of a BIDS dataset and of a participant stage's output.

    Returns
    -------
    tuple
        ``folder/bids`` and ``folder/out``.

    """
    rows, clinical = simulate_trial(seed, patients=patients, truth=truth, drop_out=drop_out)
    bids, out = folder / "bids", folder / "out"
    people = [[p.participant_id, f"{p.age:g}", p.sex or ""] for p in clinical.people]
    _write(bids / "participants.tsv", ["participant_id", "age", "sex"], people)
    for person in clinical.people:
        who = person.participant_id
        visits = [[f"ses-{visit}", f"{day + 50:g}", f"{day:g}"] for visit, day in DAYS.items()]
        header = ["session_id", "days_from_onset", "days_from_infusion"]
        _write(bids / who / f"{who}_sessions.tsv", header, visits)
    for name in ("nihss", "mrs"):
        scores = [
            [s.participant_id, s.session_id or "", f"{s.value:g}"] for s in clinical.scores if s.name == name
        ]
        _write(bids / "phenotype" / f"{name}.tsv", ["participant_id", "session_id", name], scores)
    _write(out / "measurements.tsv", _HEADER, [_long_row(row) for row in rows])
    return bids, out


_HEADER: Final = [
    "participant_id", "session_id", "days_from_onset", "days_from_infusion", "measure", "region", "side",
    "value", "unit", "status", "qc", "software",
]  # fmt: skip


def _long_row(row: Measurement) -> list[str]:
    day = row.days_from_infusion or 0.0
    measure = ["lesion_volume", "brain", "left"]
    if row.name != "lesion_ml":
        measure = ["rfa", "CST_pons", "bilateral"]
    end = [f"{row.value:.4f}", row.unit, row.status, "pass", "simulated"]
    return [row.participant_id, row.session_id, f"{day + 50:g}", f"{day:g}", *measure, *end]


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    write_atomic(path, "".join("\t".join(cells) + "\n" for cells in [header, *rows]))


def _score(who: str, name: str, value: float, visit: str, line: int) -> Score:
    return Score(who, name, value, "ok", f"{name}.tsv", line, f"ses-{visit}", None, DAYS[visit])


def _measured(who: str, visit: str, day: float, name: str, value: float, unit: str, line: int) -> Measurement:
    return Measurement(
        who, f"ses-{visit}", name, value, unit, "ok", "measurements.tsv", line, days_from_infusion=day
    )
