"""Run a study's participants and publish what came of it; what is done and unchanged is left alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mripipe import __version__
from mripipe.bids.names import OutputPaths
from mripipe.errors import InputError, RequestError
from mripipe.interfaces.digests import code_digest, file_digest, library_versions
from mripipe.interfaces.execution import Execution
from mripipe.interfaces.locks import locked
from mripipe.interfaces.record import PlannedStep, StepRecord, step_code
from mripipe.interfaces.results import result_of
from mripipe.interfaces.stored import read_plan, stored_state, write_plan
from mripipe.model.diffusion import DiffusionResult, TrackedVisit
from mripipe.model.failure import Failure
from mripipe.model.results import SubjectResult, VisitResult
from mripipe.model.settings import Settings
from mripipe.model.study import Session, Study, Subject
from mripipe.steps.provenance import write_provenance
from mripipe.steps.publish import Origin, Trace, publish_subject, write_changed, write_dataset_files
from mripipe.steps.tables import read_subject_results, write_subject_results, write_tables
from mripipe.steps.tracked import with_tracked, without_tracking
from mripipe.steps.tracts import tracts_without_diffusion

# The workflow engine, the report and the steps behind them are loaded where they are needed: a run that finds
# everything done needs none of them.
if TYPE_CHECKING:
    from nipype import Workflow

CHECK_STEP = "check"
MEASURING = ("measure_visit", "measure_tracts", "track_visit")
"""The steps whose results are published."""
PUBLISHING = (
    "mripipe.reports.subject:render_report",
    "mripipe.steps.publish:publish_subject",
    "mripipe.steps.tables:write_tables",
)
"""A change of their code may change a published file."""
TABLES_WAIT_SECONDS = 600.0
"""Longer than hundreds of runs that end together take to write the tables one after the other."""


@dataclass(frozen=True)
class RunOutcome:
    """What a run ended with."""

    subjects: tuple[SubjectResult, ...]
    """The participants that were asked for."""
    failures: tuple[Failure, ...]
    """One for each visit without a result, and for each report that could not be made."""


def plan_participants(
    study: Study, out_dir: Path, *, work_dir: Path, settings: Settings, retry: bool = True
) -> tuple[PlannedStep, ...]:
    """Say what a run would do; writes and computes nothing. See `mripipe.interfaces.engine.plan_graph`."""
    from mripipe.interfaces.engine import plan_graph

    logs = OutputPaths(out_dir.absolute()).logs
    for subject in study.subjects:
        read_plan(logs, subject.participant_id)
    workflow = _build(study, out_dir, work_dir, settings)
    return plan_graph(workflow, retry=retry, logs=logs) if workflow.list_node_names() else ()


def run_participants(
    study: Study,
    out_dir: Path,
    *,
    work_dir: Path,
    settings: Settings,
    execution: Execution | None = None,
    only: str | None = None,
) -> RunOutcome:
    """Run every visit that can run, then publish files, reports and tables.

    Parameters
    ----------
    study : Study
        Its participants and visits are the ones to run.
    out_dir, work_dir : Path
        Made if need be.
    settings : Settings
    execution : Execution, optional
        How to run; all processors where not given.
    only : str, optional
        Run no more than what this visit needs, as ``ses-...``.

    Raises
    ------
    RequestError
        A folder cannot be made, or another run is at work in it.
    ProcessingError
        A file cannot be written.

    """
    out_dir, work_dir = out_dir.absolute(), work_dir.absolute()
    make_folder(out_dir)
    make_folder(work_dir)
    with locked(_participant_locks(study, OutputPaths(out_dir).logs, work_dir)):
        steps, records = _run_steps(study, out_dir, work_dir, settings, execution or Execution(), only)
        return _publish(study, steps, _traces(records), out_dir, settings)


def _run_steps(
    study: Study, out_dir: Path, work_dir: Path, settings: Settings, execution: Execution, only: str | None
) -> tuple[tuple[PlannedStep, ...], tuple[StepRecord, ...]]:
    """Run what is not done, and keep what `status` has to know before and after."""
    logs = OutputPaths(out_dir).logs
    found = _all_done(study, logs, work_dir, settings)
    if found is not None and only is None:
        return found
    from mripipe.interfaces.engine import describe_graph, run_graph

    workflow = _build(study, out_dir, work_dir, settings, only)
    records = describe_graph(workflow) if workflow.list_node_names() else ()

    def keep() -> None:
        builder = f"{build_subject.__module__}:{build_subject.__name__}"
        for subject in study.subjects:
            write_plan(logs, subject, builder=builder, work_dir=work_dir, settings=settings, records=records)

    keep()
    if not records:
        return (), ()
    steps = run_graph(workflow, logs=logs, execution=execution, records=records)
    keep()
    return steps, records


def _all_done(
    study: Study, logs: Path, work_dir: Path, settings: Settings
) -> tuple[tuple[PlannedStep, ...], tuple[StepRecord, ...]] | None:
    """Return the steps of a run that has nothing to do, as the last one wrote them down; else None."""
    steps: list[PlannedStep] = []
    records: list[StepRecord] = []
    fits = True
    for subject in study.subjects:
        # All are read, for the digests of their files.
        plan = read_plan(logs, subject.participant_id)
        if plan is None or (plan.settings, plan.work_dir) != (settings, work_dir) or not fits:
            fits = False
            continue
        found = stored_state(plan, subject, logs, retry=True)
        fits = found is not None and all(step.state == "done" for step in found)
        steps += found or ()
        records += plan.records
    return (tuple(steps), tuple(records)) if fits else None


def _traces(records: Sequence[StepRecord]) -> dict[Path, Trace]:
    """Say of each step's folder what the step and those before it read."""
    read: dict[str, frozenset[str]] = {}
    traces = {}
    for record in records:
        before = (read[source] for _, source in record.upstream)
        read[record.name] = frozenset(record.files).union(*before)
        sources = tuple((Path(path), file_digest(path) or "") for path in sorted(read[record.name]))
        traces[Path(record.folder)] = Trace(record.step, step_code(record.function), sources)
    return traces


def report_again(study: Study, out_dir: Path, *, settings: Settings) -> RunOutcome:
    """Write reports and tables again from the results in the output folder; computes no result.

    Raises
    ------
    RequestError
        There is no result of any of the participants.

    """
    with locked(_participant_locks(study, OutputPaths(out_dir).logs)):
        found = _known_results(study, out_dir)
        if not found:
            raise RequestError(
                f"{out_dir}: no results of these participants here; run without --reports-only first"
            )
        failures: list[Failure] = []
        results = tuple(_with_report(result, out_dir, settings, failures) for result in found.values())
        with _tables_locked(out_dir):
            write_tables(out_dir)
    failed = [v for result in results for v in result.visits if v.error is not None]
    failures += [Failure(v.participant_id, v.session_id, CHECK_STEP, v.error or "") for v in failed]
    return RunOutcome(results, tuple(failures))


def build_subject(subject: Subject, settings: Settings) -> Workflow:
    """Return `mripipe.workflows.subject.build_subject`'s workflow."""
    from .subject import build_subject as build

    return build(subject, settings)


def render_report(result: SubjectResult, *, settings: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """Return `mripipe.reports.subject.render_report`'s page."""
    from mripipe.reports.subject import render_report as render

    return render(result, settings=settings, versions=versions)


def make_folder(path: Path) -> Path:
    """Make a folder; RequestError where that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{path}: cannot make this folder ({error.strerror}); choose another") from error
    return path


def _participant_locks(study: Study, *folders: Path) -> list[Path]:
    """Name the locks that keep other runs from these participants; runs of others go on beside."""
    return [folder / "locks" / f"{s.participant_id}.lock" for folder in folders for s in study.subjects]


def _tables_locked(out_dir: Path) -> contextlib.AbstractContextManager[None]:
    """Take turns with runs of other participants, so that no row of a table is lost."""
    return locked([OutputPaths(out_dir).logs / "locks" / "tables.lock"], wait_seconds=TABLES_WAIT_SECONDS)


def _build(
    study: Study, out_dir: Path, work_dir: Path, settings: Settings, only: str | None = None
) -> Workflow:
    from nipype import Workflow

    from mripipe.interfaces.engine import prepare_graph

    whole = Workflow(name="participants")
    graphs = [build_subject(subject, settings) for subject in study.subjects]
    if only is not None:
        for graph in graphs:
            _leave_visit(graph, only)
    whole.add_nodes([graph for graph in graphs if graph.list_node_names()])
    prepare_graph(whole, work_dir=work_dir.absolute(), logs=OutputPaths(out_dir.absolute()).logs)
    return whole


def _leave_visit(workflow: Workflow, session_id: str) -> None:
    """Remove every step that one visit's results do not need."""
    graph = workflow._graph
    ahead = [n for n in graph.nodes if n.interface.visit[1] == session_id and not graph.out_degree(n)]
    needed = set()
    while ahead:
        node = ahead.pop()
        needed.add(node)
        ahead += [source for source in graph.predecessors(node) if source not in needed]
    workflow.remove_nodes([node for node in graph.nodes if node not in needed])


def _publish(
    study: Study,
    steps: tuple[PlannedStep, ...],
    traces: Mapping[Path, Trace],
    out_dir: Path,
    settings: Settings,
) -> RunOutcome:
    origin = Origin(study.root, asdict(settings), library_versions(), traces)
    known = _known_results(study, out_dir)
    failures: list[Failure] = []
    results, fresh = [], {}
    for subject in study.subjects:
        mine = {(s.session_id, s.step): s for s in steps if s.participant_id == subject.participant_id}
        visits = tuple(_visit_result(session, mine, settings) for session in subject.sessions)
        failures += [visit for visit in visits if isinstance(visit, Failure)]
        key = _key(visits, mine, settings)
        result = known.get(subject.participant_id)
        if result is None or not _is_published(result, key, out_dir):
            template = _template(visits, mine)
            published = publish_subject(
                subject, visits, out_dir=out_dir, origin=origin, template=template, earlier=result
            )
            result = _with_report(published, out_dir, settings, failures)
            fresh[subject.participant_id] = key
        results.append(result)
    for participant, key in fresh.items():
        write_changed(_unlisted_file(out_dir, participant), key.encode())
    with _tables_locked(out_dir):
        _write_shared(out_dir, origin, fresh)
    return RunOutcome(tuple(results), tuple(failures))


def _write_shared(out_dir: Path, origin: Origin, fresh: Mapping[str, str]) -> None:
    """Write what all participants share, from what lies in the folder now.

    The tables take longer the more participants there are. Where many runs wait for their turn, the first one
    writes the rows of all, and the others find their marks gone.
    """
    write_dataset_files(out_dir, origin, _citation())
    tables = (OutputPaths(out_dir).lesion_volumes, OutputPaths(out_dir).measurements)
    if any(_unlisted_file(out_dir, who).exists() for who in fresh) or not all(p.is_file() for p in tables):
        waiting = {path: path.read_bytes() for path in _unlisted_file(out_dir, "").parent.glob("*.unlisted")}
        write_tables(out_dir)
        write_provenance(out_dir)
        for path, content in waiting.items():
            # Another one of the same participant may have come meanwhile.
            if path.is_file() and path.read_bytes() == content:
                path.unlink()
    # Only now: a run that was killed before must not find its participants' rows done.
    for participant, key in fresh.items():
        write_changed(_key_file(out_dir, participant), key.encode())


def _visit_result(
    session: Session, steps: Mapping[tuple[str | None, str], PlannedStep], settings: Settings
) -> VisitResult | Failure:
    """Read what became of a visit; a result of an earlier run that is stale now does not count."""
    who = (session.participant_id, session.session_id)
    if not session.can_run:
        errors = [problem.message for problem in session.problems if problem.level == "error"]
        return Failure(*who, CHECK_STEP, errors[0] if errors else "no T1w, T2w or FLAIR image found")
    step = steps.get((session.session_id, "measure_visit"))
    if step is None:
        return Failure(*who, "measure_visit", "left out")
    if step.state not in ("done", "failed"):
        stopped = next((s.why for s in steps.values() if s.state == "failed" and s.session_id is None), "")
        return Failure(*who, step.step, stopped or "not finished; the same command takes it up again")
    result = result_of(step.function, step.result)
    if isinstance(result, Failure):
        return result
    if not settings.diffusion.skip:
        diffusion = _diffusion(session, steps)
        if settings.tracks and not diffusion.tracked:
            diffusion = without_tracking(diffusion, diffusion.status, None)
        result = _with_diffusion(result, diffusion)
    return _with_session(result, session)


def _diffusion(session: Session, steps: Mapping[tuple[str | None, str], PlannedStep]) -> DiffusionResult:
    """Read what became of a visit's diffusion; where nothing did, rows that say why."""
    scan = session.scan("dwi")
    if scan is None:
        return tracts_without_diffusion("missing_input")
    step = steps[session.session_id, "measure_tracts"]
    found: DiffusionResult | Failure = (
        result_of(step.function, step.result)
        if step.state in ("done", "failed")
        else Failure(session.participant_id, session.session_id, step.step, "not finished")
    )
    if isinstance(found, DiffusionResult):
        return _with_tracking(found, steps.get((session.session_id, "track_visit")))
    lacking = scan.bval is None or scan.bvec is None
    message = f"diffusion was left out: {found.message}"
    return tracts_without_diffusion("missing_input" if lacking else "failed", message)


def _with_tracking(found: DiffusionResult, step: PlannedStep | None) -> DiffusionResult:
    """Add what tracking gave; where it failed, rows that say so. Without the step tracking was left out."""
    if step is None:
        return found
    tracked = result_of(step.function, step.result) if step.state in ("done", "failed") else None
    if isinstance(tracked, TrackedVisit):
        return with_tracked(found, tracked)
    why = tracked.message if isinstance(tracked, Failure) else "not finished"
    return without_tracking(found, "failed", f"tracking was left out: {why}")


def _with_diffusion(result: VisitResult, diffusion: DiffusionResult) -> VisitResult:
    """Add a visit's diffusion, and its warnings to the visit's."""
    return replace(result, diffusion=diffusion, warnings=(*result.warnings, *diffusion.warnings))


def _with_session(result: VisitResult, session: Session) -> VisitResult:
    """Add what the tables of the study say of a visit, which no image step depends on."""
    volumes = replace(
        result.volumes,
        days_from_onset=session.days_from_onset,
        days_from_infusion=session.days_from_infusion,
    )
    noted = tuple(problem.message for problem in session.problems if problem.level == "warning")
    warnings = tuple(dict.fromkeys((*noted, *result.warnings)))
    return replace(result, volumes=volumes, warnings=warnings)


def _template(
    visits: tuple[VisitResult | Failure, ...], steps: Mapping[tuple[str | None, str], PlannedStep]
) -> Path | None:
    """Return the within-subject template where two visits or more went into it."""
    if sum(isinstance(visit, VisitResult) for visit in visits) < 2:
        return None
    step = steps[None, "align_visits"]
    template: Path | None = result_of(step.function, step.result).template
    return template


def _with_report(
    result: SubjectResult, out_dir: Path, settings: Settings, failures: list[Failure]
) -> SubjectResult:
    """Write the report and store the results; a report that cannot be made is a failure, not the end."""
    target = OutputPaths(out_dir).report(result.participant_id)
    shown = {
        f"{stage}: {name}": str(v) for stage, table in asdict(settings).items() for name, v in table.items()
    }
    versions = {"mripipe": __version__, **library_versions()}
    try:
        page = render_report(result, settings=shown, versions=versions)
    except Exception as error:
        message = f"the report could not be made: {type(error).__name__}: {error}"
        failures.append(Failure(result.participant_id, None, "report", message))
    else:
        result = replace(result, report=write_changed(target, page.encode()))
    write_subject_results(out_dir, result)
    return result


def _key(
    visits: tuple[VisitResult | Failure, ...],
    steps: Mapping[tuple[str | None, str], PlannedStep],
    settings: Settings,
) -> str:
    """Digest everything that the published files and the report are made of."""
    digests = [file_digest(step.result) for step in steps.values() if step.step in MEASURING]
    code = code_digest(*PUBLISHING)
    document = [digests, [repr(visit) for visit in visits], asdict(settings), code, __version__]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _key_file(out_dir: Path, participant: str) -> Path:
    return OutputPaths(out_dir).logs / f"{participant}_published.sha256"


def _unlisted_file(out_dir: Path, participant: str) -> Path:
    """Return the mark of a participant whose published results are not yet in the tables."""
    return OutputPaths(out_dir).logs / "locks" / f"{participant}.unlisted"


def _is_published(result: SubjectResult, key: str, out_dir: Path) -> bool:
    stored = _key_file(out_dir, result.participant_id)
    if result.report is None or not stored.is_file() or stored.read_text(encoding="utf-8") != key:
        return False
    listed = OutputPaths(out_dir).logs / f"{result.participant_id}_files.json"
    names: list[Any] = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else []
    return all(path.is_file() for path in (listed, result.report, *(out_dir / name for name in names)))


def _known_results(study: Study, out_dir: Path) -> dict[str, SubjectResult]:
    """Return these participants' earlier results; what cannot be read is made again."""
    known = {}
    for subject in study.subjects:
        with contextlib.suppress(InputError):
            found = read_subject_results(out_dir, subject.participant_id)
            if found is not None:
                known[subject.participant_id] = found
    return known


def _citation() -> str:
    versions = "\n".join(f"- {name} {version}" for name, version in library_versions().items())
    return (
        "# Methods\n\n"
        f"Images were processed with mripipe {__version__}. Each participant's visits were\n"
        "brought together in an unbiased within-subject template (Reuter 2012,\n"
        "doi:10.1016/j.neuroimage.2012.02.084), and each\n"
        "visit to the symmetric MNI template (Fonov 2011, doi:10.1016/j.neuroimage.2010.07.033) after the\n"
        "lesion had been replaced by mirrored tissue (Nachev 2008, doi:10.1016/j.neuroimage.2007.10.002).\n"
        "Lesion volumes were measured on the native grid.\n\n"
        f"Computed with:\n\n{versions}\n"
    )
