"""Take in DICOM: convert, take identities out, search for them, publish, compare with the protocol."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from mripipe import __version__
from mripipe.bids.files import write_atomic
from mripipe.bids.ingested import RawPaths, grown_table, read_rows, table_bytes
from mripipe.bids.scanner_key import ScannerKey
from mripipe.bids.visit_key import KeyRow, parse_day, read_visit_key
from mripipe.core.identity import Kind, Secrets, hide, make_secrets
from mripipe.errors import InputError, ProcessingError, RequestError
from mripipe.model.compliance import COLUMNS as COMPLIANCE_COLUMNS
from mripipe.model.compliance import WATCHED, Comparison
from mripipe.model.dicom import Finding, Level, Series
from mripipe.model.protocol import Protocol
from mripipe.model.study import REFERENCE_SUFFIXES
from mripipe.steps.ingest_compliance import compliance
from mripipe.steps.ingest_convert import (
    Converted,
    NoDirectionsError,
    convert_series,
    converter_version,
    find_dcm2niix,
)
from mripipe.steps.ingest_deface import deface as blank_face
from mripipe.steps.ingest_files import find_files
from mripipe.steps.ingest_headers import InputStudy, is_searched, read_headers
from mripipe.steps.ingest_publish import SearchReport, publish_visit, search_content, search_files, stage
from mripipe.steps.ingest_visits import Visit, assign, classify, refuse_several

SERIES_COLUMNS: Final = ("participant_id", "session_id", "series_number", "suffix", "outcome", "reason")
OLDEST: Final = 89
"""Ages from here on are one group: there are few enough to be known by it."""
_AGE = re.compile(r"0*(\d{1,3})Y?")

Say = Callable[[Finding], None]


@dataclass
class IngestResult:
    """What a run did."""

    visits: dict[tuple[str, str], str] = field(default_factory=dict)
    """Participant and session to ``added``, ``completed``, ``unchanged``, ``refused`` or ``nothing``."""
    findings: list[Finding] = field(default_factory=list)
    search: SearchReport = field(default_factory=SearchReport)
    n_files: int = 0
    n_dicom: int = 0
    n_series: int = 0
    comparisons: tuple[Comparison, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether everything was taken in."""
        return not any(finding.level == "error" for finding in self.findings)


@dataclass(frozen=True)
class _Run:
    """What stays the same through a run."""

    study: InputStudy
    protocol: Protocol
    rows: tuple[KeyRow, ...]
    paths: RawPaths
    scanners: ScannerKey
    staging: Path
    result: IngestResult
    deface: bool
    say: Say


def ingest(
    source: Path,
    bids_dir: Path,
    *,
    protocol: Protocol,
    mapping: Path,
    limit_bytes: int,
    dry_run: bool = False,
    deface: bool = False,
    say: Say = lambda finding: None,
) -> IngestResult:
    """Take DICOM files into a BIDS dataset.

    Parameters
    ----------
    source : Path
        Folder, zip or tar archive.
    bids_dir : Path
        Dataset; made where there is none. Visits that are there are not changed.
    protocol : Protocol
        Which series is which.
    mapping : Path
        Whose scan of which day is which visit. The scanners' codes are kept beside it.
    limit_bytes : int
        Most that is unpacked from archives.
    dry_run : bool
        Say what would be done, and write nothing into the dataset.
    deface : bool
        Blank the face of anatomical images; one that cannot be defaced is not published.
    say : callable
        Is told every finding as it is made.

    Returns
    -------
    IngestResult

    Raises
    ------
    RequestError
        The input, mapping table or dataset is not there or not fit, or another run is at work on the dataset.

    """
    _check_places(source, bids_dir, mapping)
    rows = read_visit_key(mapping)
    if not dry_run:
        find_dcm2niix()
    result = IngestResult()
    with _staging(bids_dir) as staging:
        unpacked = staging / "unpacked"
        unpacked.mkdir()
        key_path = ScannerKey.path_for(mapping)
        skip = frozenset({mapping.resolve(), key_path.resolve()})
        files, findings = find_files(source, unpacked, limit_bytes=limit_bytes, skip=skip)
        study = read_headers(files)
        result.n_files, result.n_dicom, result.n_series = study.n_files, study.n_dicom, len(study.series)
        run = _Run(
            study, protocol, rows, RawPaths(bids_dir), ScannerKey(key_path), staging, result, deface, say
        )
        visits, others = assign(study.series, rows)
        everything = _all_secrets(run)
        _tell(run, [*findings, *study.findings, *others], everything)
        if not study.n_dicom:
            _tell(run, [Finding("error", "no_dicom", "no DICOM image in the input")], everything)
        for visit in visits:
            classify(visit, protocol)
            if dry_run:
                result.visits[visit.participant_id, visit.session_id] = "planned"
            else:
                _take_in(run, visit)
            _tell(run, visit.findings, everything)
        if not dry_run and visits:
            _finish(run, visits, everything)
    return result


def skeleton(source: Path, unpacked: Path, *, limit_bytes: int) -> list[dict[str, str]]:
    """Return the rows of a mapping table to fill in: one for every patient, day and folder of the input."""
    files, _ = find_files(source, unpacked, limit_bytes=limit_bytes)
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for series in read_headers(files).series:
        day = series.study_date.isoformat() if series.study_date else ""
        known = bool(day and any(c.isalnum() for c in series.patient_id))
        folder = "" if known else str(Path(series.files[0].name).parent)
        who = series.patient_id if known else ""
        rows[who, day, folder] = {"patient_id": who, "study_date": day, "folder": folder}
    return [rows[key] for key in sorted(rows)]


def _check_places(source: Path, bids_dir: Path, mapping: Path) -> None:
    if not source.exists():
        raise RequestError(f"{source}: no such folder or archive of DICOM files")
    if not mapping.is_file():
        raise RequestError(f"{mapping}: no such mapping table; --write-mapping begins one")
    where = bids_dir.resolve()
    if where.is_relative_to(source.resolve()):
        raise RequestError(f"{bids_dir} lies in the input {source}; give a folder outside it")
    if mapping.resolve().is_relative_to(where):
        raise RequestError(f"{mapping} lies in the dataset, and it names patients; move it out")
    if bids_dir.exists() and (not bids_dir.is_dir() or _is_something_else(bids_dir)):
        raise RequestError(f"{bids_dir}: neither empty nor a BIDS dataset (no dataset_description.json)")


def _is_something_else(folder: Path) -> bool:
    return any(folder.iterdir()) and not (folder / "dataset_description.json").is_file()


@contextmanager
def _staging(bids_dir: Path) -> Iterator[Path]:
    """Give a folder beside the dataset that nobody else reads, emptied before and removed after.

    A killed run leaves it, and the next run empties it: a lock, which the system takes from a process that
    ends in whatever way, tells the two apart.
    """
    place = bids_dir.resolve()
    folder = place.with_name(f".{place.name}.ingest")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RequestError(f"another ingest is at work on {bids_dir}; wait for its end") from error
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _tell(run: _Run, findings: Sequence[Finding], secrets: Secrets) -> None:
    """Record findings and pass them on, without what might name a patient."""
    for finding in findings:
        plain = Finding(**{**asdict(finding), "message": hide(finding.message, secrets)})
        run.result.findings.append(plain)
        run.say(plain)


def _secrets(run: _Run, positions: Sequence[int], public: Sequence[str]) -> Secrets:
    """Return what must not stand in an output, of some series and of the mapping table's rows for them."""
    values: set[tuple[Kind, str]] = set()
    for at in positions:
        values |= {(kind, text) for kind, text in run.study.secrets[at] if is_searched(kind, text)}
    patients = {run.study.series[at].patient_id for at in positions}
    for row in run.rows:
        if row.patient_id in patients or any(row.fits(run.study.series[at]) for at in positions):
            values |= {("date", day.isoformat()) for day in row.dates.values()}
            values |= {("id", row.patient_id)} if row.patient_id else set()
    if run.protocol.coded_ids:
        coded = {patient.casefold() for patient in patients}
        values = {(k, v) for k, v in values if not (k in ("id", "name") and v.casefold() in coded)}
    # The user's own words for participants and visits may be a study's description too.
    labels = {label for row in run.rows for label in (row.participant_id, row.session_id)}
    return make_secrets(values, public=[*public, *sorted(labels)], allowed=run.protocol.public)


def _all_secrets(run: _Run) -> Secrets:
    machines = [series.scanner for series in run.study.series]
    public = {text for m in machines for text in (m.manufacturer, m.model, m.software) if text}
    public |= {series.coil for series in run.study.series if series.coil}
    # Private words are searched in each visit's own files: here they would hit sentences.
    whole = _secrets(run, range(len(run.study.series)), sorted(public))
    return whole.without("private", "free text")


def _take_in(run: _Run, visit: Visit) -> None:
    """Convert, search and publish one visit."""
    who = (visit.participant_id, visit.session_id)
    converted = [found for suffix in list(visit.candidates) if (found := _convert(run, visit, suffix))]
    if not converted:
        run.result.visits[who] = "nothing"
        visit.say("error", "nothing", "no series of it can be used")
        return
    if not any(one.suffix in REFERENCE_SUFFIXES for one in converted):
        visit.say("warning", "no_reference", "no T1w, T2w or FLAIR: mripipe run needs one")
    staged = run.staging / "dataset"
    there = RawPaths(staged)
    files = {
        there.scan(*who, one.suffix, extension).relative_to(staged): content
        for one in converted
        for extension, content in one.files().items()
    }
    public = [str(value) for one in converted for value in one.sidecar.values() if isinstance(value, str)]
    secrets = _secrets(run, visit.positions, public)
    written = stage(staged, files)
    run.result.search.n_values += secrets.n_values
    if not search_files(staged, written, secrets, run.result.search):
        _refuse_identity(run, visit, {path.name for path in written})
    else:
        try:
            run.result.visits[who] = publish_visit(there.visit(*who), run.paths.visit(*who))
            _grow_tables(run, visit, secrets)
        except InputError as error:
            run.result.visits[who] = "refused"
            visit.say("error", "refused", str(error))
    shutil.rmtree(staged, ignore_errors=True)


def _refuse_identity(run: _Run, visit: Visit, names: set[str]) -> None:
    """Record that a visit is not published, and what kinds of values were found where."""
    run.result.visits[visit.participant_id, visit.session_id] = "refused"
    for name, hits in run.result.search.hits.items():
        if name in names:
            kinds = ", ".join(sorted(hits))
            text = f"not published: {Path(name).suffixes} holds a value of the headers ({kinds})"
            hint = "; if it may be told, see coded_ids and public of the protocol"
            visit.say("error", "identity", text + (hint if {"id", "name"} & set(hits) else ""))


def _convert(run: _Run, visit: Visit, suffix: str) -> Converted | None:
    """Convert the series that may be a suffix; None unless exactly one is fit."""
    rule = next(rule for rule in run.protocol.rules if rule.suffix == suffix)
    fit: list[Converted] = []
    failed: list[tuple[Series, Exception]] = []
    for number, series in enumerate(visit.candidates[suffix]):
        folder = run.staging / "converting" / f"{suffix}{number}"
        try:
            one = convert_series(series, rule, folder, scanner=run.scanners.code(series.scanner))
            fit.append(blank_face(one, folder / "face") if run.deface else one)
        except (InputError, ProcessingError) as error:
            failed.append((series, error))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    for series, failure in failed:
        level: Level = "warning" if fit or isinstance(failure, NoDirectionsError) else "error"
        visit.say(level, "unfit", f"{failure}; not used as {suffix}", series.description)
        visit.decide(series, suffix, "unfit", "unfit")
    if len(fit) > 1:
        refuse_several(visit, suffix, [one.series for one in fit])
    if len(fit) != 1:
        return None
    visit.decide(fit[0].series, suffix, "used")
    return fit[0]


def _grow_tables(run: _Run, visit: Visit, secrets: Secrets) -> None:
    """Add the visit and its participant to the tables, where they are not there."""
    days = visit.days
    sessions = {"session_id": visit.session_id, **days}
    person = {"participant_id": visit.participant_id, "age": _age(visit), "sex": _sex(visit)}
    columns = ("session_id", "days_from_onset", "days_from_infusion")
    for path, key, names, row in (
        (run.paths.sessions(visit.participant_id), "session_id", columns, sessions),
        (run.paths.participants, "participant_id", ("participant_id", "age", "sex"), person),
    ):
        content = grown_table(path, key, names, row)
        if content is None:
            _compare_days(run, visit, key)
            continue
        if search_content(path.name, table_bytes(list(row), [row]), secrets):
            raise InputError(
                f"{path.name}: the row of {row[key]} would hold a value of the headers; not written"
            )
        write_atomic(path, content)
    if "days_from_onset" not in days:
        visit.say("warning", "no_days", "days since onset not known; give onset_date in the mapping table")


def _compare_days(run: _Run, visit: Visit, key: str) -> None:
    """Warn where the dataset has other days of a visit than the mapping table now gives."""
    if key != "session_id":
        return
    rows = read_rows(run.paths.sessions(visit.participant_id))
    there = next(row for row in rows if row["session_id"] == visit.session_id)
    for column, number in visit.days.items():
        if there.get(column) != f"{number:.6g}":
            text = f"{column} was {there.get(column)} when it was taken in and stays so; now {number:g}"
            visit.say("warning", "days_differ", text)


def _age(visit: Visit) -> str | None:
    """Return the age in years from the mapping table, failing that from the headers."""
    told = [row.age for row in visit.rows if row.age] + [series.age for series in visit.series]
    match = next((found for text in told if (found := _AGE.fullmatch(text.strip().rstrip("+")))), None)
    years = _years_since_birth(visit) if match is None else int(match[1])
    if years is None:
        return None
    return f"{OLDEST}+" if years >= OLDEST else str(years)


def _years_since_birth(visit: Visit) -> int | None:
    born = next((day for series in visit.series if (day := parse_day(series.birth_date))), None)
    scanned = visit.scanned
    if born is None or scanned is None:
        return None
    return scanned.year - born.year - ((scanned.month, scanned.day) < (born.month, born.day))


def _sex(visit: Visit) -> str | None:
    told = [row.sex for row in visit.rows if row.sex] + [series.sex for series in visit.series]
    letters = [text.strip().upper()[:1] for text in told]
    return next((letter for letter in letters if letter in ("F", "M", "O")), None)


def _finish(run: _Run, visits: Sequence[Visit], secrets: Secrets) -> None:
    """Write what describes the dataset, the scanners' codes, and the tables of all visits."""
    run.scanners.save()
    if not any(run.paths.root.glob("sub-*")):
        return
    for path, content in run.paths.fixed_files().items():
        # Another program may have made the dataset; its files are its own.
        if not path.exists():
            write_atomic(path, content)
    _write_searched(run, run.paths.series, _series_table(run, visits), secrets)
    run.result.comparisons = compliance(run.paths.root, run.protocol)
    table = table_bytes(COMPLIANCE_COLUMNS, [asdict(row) for row in run.result.comparisons])
    _write_searched(run, run.paths.compliance, table, secrets)
    _tell(run, _deviations(run.result), secrets)
    software = {"code": "software", "dcm2niix": converter_version(), "mripipe": __version__}
    lines = [json.dumps(software, sort_keys=True)] + [
        json.dumps({key: value for key, value in asdict(finding).items() if key != "where"}, sort_keys=True)
        for finding in run.result.findings
    ]
    write_atomic(run.paths.log, "".join(line + "\n" for line in lines))


def _write_searched(run: _Run, path: Path, content: bytes, secrets: Secrets) -> None:
    run.result.search.n_files += 1
    run.result.search.n_bytes += len(content)
    if hits := search_content(path.name, content, secrets):
        run.result.search.hits[path.name] = hits
        text = f"{path.name} not written: it would hold a value of the headers ({', '.join(sorted(hits))})"
        _tell(run, [Finding("error", "identity", text)], secrets)
    else:
        write_atomic(path, content)


def _series_table(run: _Run, visits: Sequence[Visit]) -> bytes:
    """Return the table of all series, those of visits that are not in this run as they were."""
    now = {(visit.participant_id, visit.session_id) for visit in visits}
    before = read_rows(run.paths.series)
    rows: list[dict[str, Any]] = [
        dict(row) for row in before if (row["participant_id"], row["session_id"]) not in now
    ]
    for visit in visits:
        for outcome in visit.outcomes:
            rows.append(
                {
                    "participant_id": visit.participant_id,
                    "session_id": visit.session_id,
                    "series_number": outcome.series.number,
                    "suffix": outcome.suffix,
                    "outcome": outcome.outcome,
                    "reason": outcome.reason,
                }
            )
    rows.sort(key=lambda row: (row["participant_id"], row["session_id"], _as_number(row["series_number"])))
    return table_bytes(SERIES_COLUMNS, rows)


def _as_number(text: object) -> int:
    return int(str(text)) if str(text).isdigit() else -1


def _deviations(result: IngestResult) -> list[Finding]:
    """Return a finding for every scan that deviates from the protocol, and every change of equipment."""
    found = []
    for row in result.comparisons:
        where = f"{row.participant_id} {row.session_id} {row.suffix}"
        who = (row.participant_id, row.session_id)
        if row.protocol == "deviates":
            text = f"{where}: {row.parameter} is {row.value}, the protocol says {row.expected}"
            found.append(Finding("warning", "deviates", text, *who))
        if row.within_patient == "changed" and row.parameter in WATCHED:
            text = f"{where}: {row.parameter} is {row.value}, another than at the patient's first visit"
            found.append(Finding("warning", "scanner_change", text, *who))
    return found
