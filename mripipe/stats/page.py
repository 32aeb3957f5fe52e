"""An analysis as the tables and words of the group's page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Final

from mripipe import __version__
from mripipe.model.page import Cell, GroupPage, PageTable, Picture
from mripipe.stats.analysis import Analysis
from mripipe.stats.effects import Effect
from mripipe.stats.join import NO_SESSION
from mripipe.stats.plan import Plan

LIBRARIES: Final = ("numpy", "scipy", "pandas", "statsmodels", "patsy", "nibabel", "nilearn", "matplotlib")
MAX_ODDITIES: Final = 40
MAX_OUTLIERS: Final = 25
_VERDICTS: Final = {"pass": "ok", "warning": "low_quality", "not_possible": "", "fail": "failed"}
MINUS: Final = "\u2212"

REFERENCES: Final = {
    "spearman": "Spearman C. The proof and measurement of association between two things. Am J Psychol 1904. "
    "doi:10.2307/1412159",
    "fdr": "Benjamini Y, Hochberg Y. Controlling the false discovery rate. J R Stat Soc B 1995. "
    "doi:10.1111/j.2517-6161.1995.tb02031.x",
    "ordinal": "McCullagh P. Regression models for ordinal data. J R Stat Soc B 1980. "
    "doi:10.1111/j.2517-6161.1980.tb01109.x",
    "brant": "Brant R. Assessing proportionality in the proportional odds model for ordinal logistic "
    "regression. Biometrics 1990. doi:10.2307/2532457",
    "mixed": "Laird NM, Ware JH. Random-effects models for longitudinal data. Biometrics 1982. "
    "doi:10.2307/2529876",
    "prediction": "Nadeau C, Bengio Y. Inference for the generalization error. Mach Learn 2003. "
    "doi:10.1023/A:1024068626366",
    "icc": "Shrout PE, Fleiss JL. Intraclass correlations: uses in assessing rater reliability. "
    "Psychol Bull 1979. doi:10.1037/0033-2909.86.2.420",
    "limits": "Bland JM, Altman DG. Statistical methods for assessing agreement between two methods "
    "of clinical measurement. Lancet 1986. doi:10.1016/S0140-6736(86)90837-8",
    "software": "Seabold S, Perktold J. statsmodels: econometric and statistical modeling with "
    "Python. SciPy 2010. doi:10.25080/Majora-92bf1922-011",
    "template": "Fonov V, Evans AC, Botteron K, et al. Unbiased average age-appropriate atlases for "
    "pediatric studies. NeuroImage 2011. doi:10.1016/j.neuroimage.2010.07.033",
}


def build_page(
    analysis: Analysis,
    plan: Plan,
    pictures: tuple[Picture, ...],
    *,
    reports: Mapping[str, str],
    title: str = "Group",
    unblinded: bool = False,
) -> GroupPage:
    """Lay an analysis out.

    Parameters
    ----------
    analysis : Analysis
    plan : Plan
    pictures : tuple of Picture
    reports : mapping of str to str
        Participant to report, relative to the page; those without have no link.
    title : str
    unblinded : bool
        Whether the arm is known in it.

    """
    tables = [
        _effects("Models", analysis.models, "models.tsv"),
        _checks(analysis),
        _effects("Associations", analysis.associations, "associations.tsv"),
        _attendance(analysis),
        _missing(analysis),
        _outliers(analysis),
        _reliability(analysis),
    ]
    return GroupPage(
        title,
        _facts(analysis, plan),
        _people(analysis, reports),
        _visits(analysis, reports),
        _warnings(analysis),
        pictures,
        tuple(table for table in tables if table.rows),
        methods(analysis, plan),
        references(analysis),
        (("mripipe", __version__), *((name, metadata.version(name)) for name in LIBRARIES)),
        unblinded,
    )


def _facts(analysis: Analysis, plan: Plan) -> tuple[str, ...]:
    joined = analysis.joined
    scans = len(joined.visits)
    scored = sum(
        1 for name in joined.wide for value in joined.wide[name] if name.startswith("mrs_") and value == value
    )
    effects = [*analysis.associations, *analysis.models]
    planned = sum(effect.planned and effect.tested for effect in effects)
    source = f"plan {plan.sha256[:12]}" if plan.sha256 else "no plan was given"
    facts = [
        f"{len(joined.wide)} participants",
        f"{scans} scanned visits",
        f"{scored} mRS scores in windows" if scored else "",
        f"{planned} planned tests, {sum(not e.planned and e.tested for e in effects)} exploratory ({source})",
    ]
    return tuple(fact for fact in facts if fact)


def _people(analysis: Analysis, reports: Mapping[str, str]) -> PageTable:
    """List every participant: what there is of them, and why something is not."""
    joined = analysis.joined
    scans: Counter[str] = Counter(joined.visits["participant_id"]) if len(joined.visits) else Counter()
    notes: dict[str, list[str]] = defaultdict(list)
    for oddity in analysis.oddities:
        if oddity.participant_id:
            notes[oddity.participant_id].append(oddity.message)
    failed: dict[str, set[str]] = defaultdict(set)
    scored = set()
    for value in joined.values:
        if value.kind == "score" and value.value is not None:
            scored.add(value.participant_id)
        if value.name in ("lesion_ml", "lesion_mni_ml") and value.value is None:
            failed[value.participant_id].add(f"{value.session_id}: {value.status.replace('_', ' ')}")
    rows = []
    for who, row in joined.wide.iterrows():
        why = [] if scans[who] else ["no scan measured: not in analyses of imaging"]
        if who not in scored:
            why.append("no score: not in analyses of outcome")
        why += sorted(failed[who])
        rows.append(
            (
                Cell(str(who), link=reports.get(str(who), "")),
                number(row["age"], 0),
                Cell(row["sex"] if isinstance(row["sex"], str) else "n/a"),
                number(float(scans[who]), 0),
                Cell("complete" if not why else "in part", kind="chip ok" if not why else "chip low_quality"),
                Cell("; ".join(dict.fromkeys(why)) or ""),
                Cell(f"{len(notes[who])}" if notes[who] else "", kind="num"),
            )
        )
    return PageTable(
        "Participants",
        ("Participant", "Age", "Sex", "Scans", "In the analyses", "Why not wholly", "Remarks"),
        tuple(rows), "Remarks: lines about the participant in oddities.tsv.", "outcomes/wide.tsv",
    )  # fmt: skip


def _visits(analysis: Analysis, reports: Mapping[str, str]) -> PageTable:
    """List every scanned visit with its main numbers."""
    visits = analysis.joined.visits
    shown = [
        (name, head, digits)
        for name, head, digits in (
            ("days_from_onset", "Days from onset", 0),
            ("days_from_infusion", "Days from infusion", 0),
            ("lesion_ml", "Infarct, mL", 1),
            ("lesion_mni_ml", "Infarct in MNI, mL", 1),
            ("mca_territory_percent", "MCA territory, %", 1),
            ("ventricle_ipsi_ml", "Ventricle ipsi, mL", 1),
            ("lesion_ml_change", "Change from baseline, mL", 1),
        )
        if name in visits and visits[name].notna().any()
    ]
    low = {
        (v.participant_id, v.session_id)
        for v in analysis.joined.values
        if v.kind == "imaging" and v.status == "low_quality"
    }
    rows = []
    for _, row in visits.iterrows():
        who, session = row["participant_id"], row["session_id"]
        rows.append(
            (
                Cell(who, link=reports.get(who, "")),
                Cell(session if session != NO_SESSION else "one scan"),
                Cell(row["window"] if isinstance(row["window"], str) else "n/a"),
                *(number(row[name], digits) for name, _, digits in shown),
                Cell("low quality", kind="chip low_quality")
                if (who, session) in low
                else Cell("ok", kind="chip ok"),
            )
        )
    heads = ("Participant", "Visit", "Window", *(head for _, head, _ in shown), "Status")
    return PageTable("Visits", heads, tuple(rows), "Click a column's head to sort.", "outcomes/visits.tsv")


def _warnings(analysis: Analysis) -> tuple[str, ...]:
    lines = [
        f"{check.analysis}: {check.note}" for check in analysis.checks if check.verdict in ("warning", "fail")
    ]
    if analysis.joined.low_quality:
        lines.append(
            f"{analysis.joined.low_quality} visits did not pass a quality check; look at their reports"
        )
    shown = [
        f"{oddity.file}{f' line {oddity.line}' if oddity.line else ''}: {oddity.message}"
        for oddity in analysis.oddities
    ]
    more = len(shown) - MAX_ODDITIES
    return (*lines, *shown[:MAX_ODDITIES], *([f"{more} more in outcomes/oddities.tsv"] if more > 0 else []))


def _effects(title: str, effects: Iterable[Effect], file: str) -> PageTable:
    rows = []
    for e in effects:
        rows.append(
            (
                Cell(e.analysis),
                Cell(e.term if e.tested else f"{e.term} (adjustment)"),
                Cell(e.formula.partition("~")[2].strip()),
                Cell("planned" if e.planned else "exploratory"),
                number(float(e.n), 0),
                number(float(e.n_missing), 0),
                Cell(_estimate(e), sort=_key(e.estimate), kind="num"),
                Cell(p_text(e.p), sort=_key(e.p), kind="num"),
                Cell(p_text(e.q), sort=_key(e.q), kind="num"),
                Cell(e.status.replace("_", " "), kind=f"chip {'ok' if e.status == 'ok' else 'low_quality'}"),
                Cell(e.note),
            )
        )
    head = (
        "Analysis",
        "Term",
        "Formula",
        "Plan",
        "n",
        "Missing",
        "Estimate (95 %)",
        "p",
        "q",
        "Status",
        "Note",
    )
    note = "q: Benjamini-Hochberg within the family. Odds ratios (OR) are for one unit more."
    return PageTable(title, head, tuple(rows), note, f"outcomes/{file}")


def _estimate(e: Effect) -> str:
    if e.estimate is None:
        return "n/a"
    if e.ratio is not None and e.ratio_lower is not None and e.ratio_upper is not None:
        return f"OR {_odds(e.ratio)} ({_odds(e.ratio_lower)} to {_odds(e.ratio_upper)})"
    if e.lower is None or e.upper is None:
        return f"{e.estimate:.3g}".replace("-", MINUS)
    return f"{e.estimate:.3g} ({e.lower:.3g} to {e.upper:.3g})".replace("-", MINUS)


def _odds(ratio: float) -> str:
    """Write a ratio; near 1 with decimals enough to tell it from 1."""
    return f"{ratio:.3f}" if 0.1 < ratio < 10 else f"{ratio:.3g}"


def _checks(analysis: Analysis) -> PageTable:
    rows = [
        (
            Cell(check.analysis),
            Cell(check.check.replace("_", " ")),
            Cell(p_text(check.p), sort=_key(check.p), kind="num"),
            Cell(
                check.verdict.replace("_", " "),
                kind=f"chip {_VERDICTS[check.verdict]}",
            ),
            Cell(check.note),
        )
        for check in analysis.checks
    ]
    head = ("Analysis", "Check", "p", "Verdict", "Details")
    return PageTable("Checks of the models", head, tuple(rows), "", "outcomes/model_checks.tsv")


def _attendance(analysis: Analysis) -> PageTable:
    rows = [
        (Cell(a.window), Cell(a.item), *(number(float(n), 0) for n in (a.seen, a.missing, a.died)))
        for a in analysis.attendance
    ]
    head = ("Window", "Item", "Seen", "Missing", "Died before")
    return PageTable("Attendance", head, tuple(rows), "", "outcomes/attendance.tsv")


def _missing(analysis: Analysis) -> PageTable:
    rows = [
        (
            Cell(c.window), Cell(c.item), Cell(c.variable),
            Cell(_spread(c.median_seen, c.lower_seen, c.upper_seen, c.n_seen), kind="num"),
            Cell(_spread(c.median_missing, c.lower_missing, c.upper_missing, c.n_missing), kind="num"),
            Cell(p_text(c.p), sort=_key(c.p), kind="num"),
        )
        for c in analysis.missing
    ]  # fmt: skip
    head = (
        "Window",
        "Item",
        "At baseline",
        "Seen: median (quartiles)",
        "Missing or dead: median (quartiles)",
        "p",
    )
    note = "Drop-out may be informative: models use whoever has the variables, and say how many have not."
    return PageTable(
        "Missing visits, and what these participants looked like at baseline",
        head,
        tuple(rows),
        note,
        "outcomes/missing.tsv",
    )


def _spread(median: float | None, lower: float | None, upper: float | None, n: int) -> str:
    if median is None:
        return "n/a"
    return f"{median:.3g} ({lower:.3g} to {upper:.3g}), n = {n}".replace("-", MINUS)


def _outliers(analysis: Analysis) -> PageTable:
    rows = [
        (
            Cell(o.participant_id), Cell(o.session_id or "n/a"), Cell(o.variable), number(o.value, 2),
            number(o.robust_z, 1), Cell(o.reason),
        )
        for o in analysis.outliers[:MAX_OUTLIERS]
    ]  # fmt: skip
    head = ("Participant", "Visit", "Variable", "Value", "Robust z", "Reason")
    note = f"To be looked at; nothing was removed. The {MAX_OUTLIERS} farthest, of {len(analysis.outliers)}."
    return PageTable("Outliers", head, tuple(rows), note, "outcomes/outliers.tsv")


def _reliability(analysis: Analysis) -> PageTable:
    rows = []
    for r in analysis.reliability:
        limits = (
            f"{r.limits.bias:.3g} ({r.limits.lower:.3g} to {r.limits.upper:.3g})".replace("-", MINUS)
            if r.limits
            else "n/a"
        )
        icc = "n/a" if r.icc is None else f"{r.icc:.3f}"
        if r.icc is not None and r.icc_lower is not None and r.icc_upper is not None:
            icc += f" ({r.icc_lower:.3f} to {r.icc_upper:.3f})"
        rows.append(
            (
                Cell(r.measure), Cell(", ".join(r.raters)), number(float(r.n), 0),
                Cell(icc.replace("-", MINUS), sort=_key(r.icc), kind="num"), number(r.within_sd, 3),
                number(r.minimal_change, 3), Cell(limits, kind="num"), Cell(r.note),
            )
        )  # fmt: skip
    head = (
        "Measure",
        "Raters",
        "n",
        "ICC(2,1) (95 %)",
        "Within-subject SD",
        "Minimal detectable change",
        "Bias (limits)",
        "Note",
    )
    return PageTable("Reliability", head, tuple(rows), "", "outcomes/reliability.tsv")


def number(value: float | None, digits: int) -> Cell:
    """Format a number; the cell sorts by its value."""
    if value is None or value != value:
        return Cell("n/a", kind="num na")
    return Cell(f"{value:.{digits}f}".replace("-", MINUS), sort=f"{float(value):.9g}", kind="num")


def p_text(p: float | None) -> str:
    """Write a p value as journals do.

    Examples
    --------
    >>> p_text(0.00004), p_text(0.0312), p_text(0.4567), p_text(None)
    ('< 0.001', '0.031', '0.46', 'n/a')

    """
    if p is None:
        return "n/a"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _key(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"


def methods(analysis: Analysis, plan: Plan) -> tuple[str, ...]:
    """Return the methods in words, of what was done and nothing else."""
    kinds = {effect.kind for effect in (*analysis.associations, *analysis.models)}
    told = [
        (True, _joining(plan)),
        (
            _has_damage(analysis),
            "Lesion masks were laid over arterial territories in MNI152NLin2009aSym [template]; damage is "
            "the share of a territory that is lesion.",
        ),
        *((kind in kinds, text) for kind, text in _models_in_words(plan).items()),
        (
            bool(analysis.reliability),
            "Reliability is given as ICC(2,1) [icc] and limits of agreement [limits].",
        ),
        (
            True,
            "Intervals and p values of models use t with participants minus parameters degrees of freedom. "
            "p values are two-sided; q values are Benjamini and Hochberg's [fdr], within each family, "
            "planned and exploratory tests apart. Models were fitted with statsmodels [software]. "
            "Associations do not show causes.",
        ),
    ]
    return tuple(text for done, text in told if done)


def _joining(plan: Plan) -> str:
    """Say how tables were joined."""
    clocks = {"days_from_infusion": "first infusion", "days_from_onset": "onset"}
    windows = "; ".join(
        f"{w.name}, days {w.start:g} to {w.end:g} from {clocks[w.clock]}" for w in plan.windows
    )
    planned = (
        f"The analyses marked planned stand in a plan (SHA-256 {plan.sha256}); all others are exploratory."
        if plan.sha256
        else "No plan was given: all analyses are exploratory."
    )
    return (
        f"Measurements and scores were joined by participant and visit window ({windows}); of two visits "
        f"in a window the one nearer to its target counts. {planned} Death is an mRS of 6 in all later "
        "windows. No value was imputed: each analysis uses the participants who have all of its variables "
        "and names the others' number."
    )


def _models_in_words(plan: Plan) -> dict[str, str]:
    """Return what is said of each kind of analysis."""
    return {
        "spearman": "Associations are Spearman's rank correlations [spearman], with 95 % intervals from "
        f"{plan.bootstrap} bootstrap resamples of participants on Fisher's z scale.",
        "partial_spearman": "Adjusted associations are partial for the named variables.",
        "ordinal": "The shift of the mRS was modelled by proportional odds [ordinal]; the assumption was "
        f"checked by Brant's test [brant], its p value from {plan.assumption_resamples} draws of the fitted "
        "model.",
        "logistic": "An mRS of 0 to 2 was modelled by logistic regression after separation had been excluded "
        "by a linear program.",
        "mixed": "Courses over visits were modelled by linear mixed models with a random intercept and "
        "slope of months for each participant [mixed], by restricted maximum likelihood.",
        "prediction": f"Prediction with and without imaging was compared by {plan.repeats} times repeated "
        f"{plan.folds}-fold cross-validation, never on the participants a model was fitted to; intervals "
        "allow for overlapping training sets [prediction].",
    }


def _has_damage(analysis: Analysis) -> bool:
    return any(value.name.startswith("damage_") for value in analysis.joined.values)


def references(analysis: Analysis) -> tuple[str, ...]:
    """Return the references that the methods name, in their order, each as ``key: text``."""
    kinds = {effect.kind for effect in (*analysis.associations, *analysis.models)}
    wanted = {
        "template": _has_damage(analysis),
        "spearman": bool(kinds & {"spearman", "partial_spearman"}),
        "ordinal": "ordinal" in kinds,
        "brant": "ordinal" in kinds,
        "mixed": "mixed" in kinds,
        "prediction": "prediction" in kinds,
        "icc": bool(analysis.reliability),
        "limits": bool(analysis.reliability),
        "fdr": True,
        "software": True,
    }
    return tuple(f"{key}: {REFERENCES[key]}" for key, use in wanted.items() if use)


def citation(page: GroupPage) -> str:
    """Write ``CITATION.md`` of the group stage: methods, references, versions; fit to be pasted."""
    lines = ["# Methods of the group stage", ""]
    for text in page.methods:
        lines += [numbered(text, page), ""]
    listed = [f"{n}. {text.partition(': ')[2]}" for n, text in enumerate(page.references, start=1)]
    lines += ["## References", "", *listed, "", "## Computed with", ""]
    return "\n".join([*lines, *(f"- {name} {version}" for name, version in page.versions)]) + "\n"


def numbered(text: str, page: GroupPage) -> str:
    """Put a reference's number in place of its key, such as ``[fdr]``."""
    for n, reference in enumerate(page.references, start=1):
        text = text.replace(f"[{reference.partition(':')[0]}]", f"[{n}]")
    return text
