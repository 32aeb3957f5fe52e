"""Decide which series belong to which visit, and which of them is its T1w, T2w, FLAIR or diffusion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from mripipe.bids.visit_key import KeyRow
from mripipe.model.dicom import Finding, Level, Series
from mripipe.model.protocol import Protocol, Rule, reason_left_out, why_not

REASONS: Final = (
    "not_mr_magnitude_or_excluded",
    "no_rule",
    "derived",
    "contrast_agent",
    "outside_limits",
    "several_rules",
    "several_series",
    "interrupted",
    "not_preferred",
    "not_chosen",
    "unfit",
)
"""Why a series is not used, as the table of series has it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one series."""

    series: Series
    suffix: str | None
    outcome: str
    """``used``, ``left_out``, ``ambiguous``, ``interrupted`` or ``unfit``."""
    reason: str | None = None
    """One of `REASONS`."""


@dataclass
class Visit:
    """One visit and what is decided of it."""

    participant_id: str
    session_id: str
    rows: tuple[KeyRow, ...]
    series: list[Series]
    positions: list[int]
    """Of the series in the study."""
    findings: list[Finding] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    candidates: dict[str, list[Series]] = field(default_factory=dict)
    """Suffix to the series that may be it; more than one only where conversion can tell."""

    def say(self, level: Level, code: str, message: str, where: str = "") -> None:
        """Record a finding of this visit."""
        text = f"{self.participant_id} {self.session_id}: {message}"
        self.findings.append(Finding(level, code, text, self.participant_id, self.session_id, where))

    def decide(self, series: Series, suffix: str | None, outcome: str, reason: str | None = None) -> None:
        """Record what became of a series."""
        self.outcomes.append(Outcome(series, suffix, outcome, reason))

    @property
    def scanned(self) -> date | None:
        """Day of the (first) scan."""
        days = [series.study_date for series in self.series if series.study_date is not None]
        return min(days) if days else None

    @property
    def days(self) -> Mapping[str, float]:
        """Days since onset and first infusion, as far as they are known."""
        return self.rows[0].days_at(self.scanned)


def assign(series: Sequence[Series], rows: Sequence[KeyRow]) -> tuple[tuple[Visit, ...], tuple[Finding, ...]]:
    """Sort series into visits by the mapping table.

    A series that no row names, or rows of different visits do, is an error and belongs to none; a visit that
    one row gives two days is left out.

    Returns
    -------
    tuple
        Visits in the order of participant and day, and findings that belong to no visit.

    """
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    used: dict[tuple[str, str], list[KeyRow]] = defaultdict(list)
    lost: dict[str, list[Series]] = defaultdict(list)
    for at, one in enumerate(series):
        fitting = [row for row in rows if row.fits(one)]
        visits = {(row.participant_id, row.session_id) for row in fitting}
        if len(visits) == 1:
            found[visits.copy().pop()].append(at)
            used[visits.pop()] += [row for row in fitting if row not in used[_visit_of(fitting)]]
        else:
            lost["two_visits" if visits else "unmapped"].append(one)
    findings = [_lost(code, them) for code, them in lost.items()]
    for row in rows:
        if (row.participant_id, row.session_id) not in found:
            text = f"{row.participant_id} {row.session_id}: no series of it in the input"
            findings.append(Finding("note", "no_series", text, row.participant_id, row.session_id))
    built = [
        Visit(*who, tuple(used[who]), [series[at] for at in places], places) for who, places in found.items()
    ]
    built.sort(key=lambda visit: (visit.participant_id, visit.scanned or date.min, visit.session_id))
    kept = tuple(visit for visit in built if not _has_two_days(visit, findings))
    findings += _mixed_up(kept)
    return kept, tuple(findings)


def classify(visit: Visit, protocol: Protocol) -> None:
    """Decide, as far as headers tell, what each of a visit's series is; the answers are put into `visit`."""
    chosen = {
        choice.series_number: choice.suffix
        for choice in protocol.choices
        if (choice.participant_id, choice.session_id) == (visit.participant_id, visit.session_id)
    }
    by_suffix: dict[str, list[Series]] = defaultdict(list)
    for series in visit.series:
        suffix = chosen.get(series.number) if series.number is not None else None
        if suffix is None:
            suffix = _suffix_by_rules(visit, series, protocol)
        if suffix is None:
            continue
        if suffix in chosen.values() and chosen.get(series.number or -1) != suffix:
            visit.decide(series, suffix, "left_out", "not_chosen")
        else:
            by_suffix[suffix].append(series)
    for rule in protocol.rules:
        if rule.suffix in by_suffix:
            _narrow(visit, rule, by_suffix[rule.suffix])
        elif rule.suffix not in {outcome.suffix for outcome in visit.outcomes}:
            visit.say("error" if rule.required else "note", "missing", f"no {rule.suffix} in the input")


def refuse_several(visit: Visit, suffix: str, series: Sequence[Series]) -> None:
    """Record that several series may be one suffix, and that none is taken."""
    numbers = ", ".join(str(one.number) for one in series)
    visit.say(
        "error",
        "ambiguous",
        f"series {numbers} may each be the {suffix}, none is used; name one in a [[choice]]",
        " | ".join(one.description for one in series),
    )
    for one in series:
        visit.decide(one, suffix, "ambiguous", "several_series")


def _visit_of(rows: Sequence[KeyRow]) -> tuple[str, str]:
    return rows[0].participant_id, rows[0].session_id


def _lost(code: str, series: Sequence[Series]) -> Finding:
    what = "no row" if code == "unmapped" else "rows of different visits"
    text = f"{len(series)} series: {what} of the mapping table names them; left out, mend the table"
    return Finding("error", code, text, where=series[0].files[0].name)


def _has_two_days(visit: Visit, findings: list[Finding]) -> bool:
    """Say whether series of different days fell into a visit that no two rows give it on purpose."""
    days = {series.study_date for series in visit.series if series.study_date is not None}
    named = {row.dates.get("study_date") for row in visit.rows}
    if len(days) < 2 or days <= named:
        return False
    text = (
        f"{visit.participant_id} {visit.session_id}: series of {len(days)} different days; left out, "
        "give study_date in the mapping table"
    )
    findings.append(Finding("error", "two_days", text, visit.participant_id, visit.session_id))
    return True


def _mixed_up(visits: Sequence[Visit]) -> list[Finding]:
    """Warn where a participant's visits have different birth dates or sexes."""
    findings = []
    for what in ("birth_date", "sex"):
        told: dict[str, set[str]] = defaultdict(set)
        for visit in visits:
            told[visit.participant_id] |= {
                text for series in visit.series if (text := getattr(series, what)) and text.isalnum()
            }
        for who, values in told.items():
            if len(values) > 1:
                text = f"{who}: visits differ in {what.replace('_', ' ')}; are two patients mixed up?"
                findings.append(Finding("warning", "mixed_up", text, who))
    return findings


def _suffix_by_rules(visit: Visit, series: Series, protocol: Protocol) -> str | None:
    """Return the suffix that exactly one rule gives a series; record why where there is none."""
    if reason_left_out(series, protocol) is not None:
        visit.decide(series, None, "left_out", "not_mr_magnitude_or_excluded")
        return None
    answers = {rule.suffix: why_not(rule, series) for rule in protocol.rules}
    taken = [suffix for suffix, reason in answers.items() if reason is None]
    if len(taken) == 1:
        return taken[0]
    if taken:
        rules = " and ".join(taken)
        text = (
            f"{series.label} fits the rules of {rules}, not used; name it in a [[choice]] or mend the rules"
        )
        visit.say("error", "ambiguous", text, series.description)
        visit.decide(series, None, "ambiguous", "several_rules")
        return None
    near = {suffix: reason for suffix, reason in answers.items() if reason not in (None, "name")}
    code = "no_rule"
    for suffix, reason in near.items():
        code = {"derived from other images": "derived", "after contrast agent": "contrast_agent"}.get(
            str(reason), "outside_limits"
        )
        if code == "outside_limits":
            text = f"{series.label} has the name of a {suffix}, but {reason}; not used"
            visit.say("warning", "unmatched", text, series.description)
    visit.decide(series, None, "left_out", code)
    return None


def _narrow(visit: Visit, rule: Rule, series: list[Series]) -> None:
    """Keep of a suffix's series those that are whole, and of several the preferred one."""
    whole = [one for one in series if not one.faults]
    for one in series:
        if one.faults:
            visit.say(
                "warning" if whole else "error",
                "interrupted",
                f"{one.label} ({rule.suffix}) is not whole: {'; '.join(one.faults)}; not used",
                one.description,
            )
            visit.decide(one, rule.suffix, "interrupted", "interrupted")
    solid = [one for one in whole if one.acquisition == "3D"]
    if rule.prefer_3d and len(whole) > 1 and len(solid) == 1:
        for one in whole:
            if one is not solid[0]:
                visit.decide(one, rule.suffix, "left_out", "not_preferred")
        whole = solid
    # Conversion tells a diffusion series from its trace; of other kinds it tells nothing more.
    if len(whole) > 1 and not rule.directions_min:
        refuse_several(visit, rule.suffix, whole)
    elif whole:
        visit.candidates[rule.suffix] = whole
