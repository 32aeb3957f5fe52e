"""``mripipe ingest``: DICOM to a de-identified BIDS dataset."""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Final

from mripipe.bids.files import write_atomic
from mripipe.bids.ingested import RawPaths, table_bytes
from mripipe.errors import RequestError
from mripipe.model.dicom import Finding
from mripipe.model.protocol import Protocol, default_protocol, read_protocol
from mripipe.steps.ingest import IngestResult, ingest, skeleton

MAPPING_COLUMNS: Final = (
    "patient_id",
    "study_date",
    "folder",
    "participant_id",
    "session_id",
    "onset_date",
    "first_infusion_date",
)


def ingest_command(given: Namespace) -> bool:
    """Take DICOM files in; False if something was not taken in."""
    limit = int(given.max_unpacked_gb * 1e9)
    if given.write_mapping is not None:
        return _write_mapping(given.dicom_dir, given.bids_dir, given.write_mapping, limit)
    protocol = default_protocol() if given.protocol is None else read_protocol(given.protocol)
    result = ingest(
        given.dicom_dir,
        given.bids_dir,
        protocol=protocol,
        mapping=_mapping(given, protocol),
        limit_bytes=limit,
        dry_run=given.dry_run,
        deface=given.deface,
        say=_say,
    )
    _summarise(result, given.bids_dir)
    return result.is_done


def _mapping(given: Namespace, protocol: Protocol) -> Path:
    """Return the mapping table that was asked for."""
    if given.mapping is not None:
        return Path(given.mapping)
    if protocol.mapping is None:
        raise RequestError(
            'no mapping table: give --mapping FILE.tsv, or mapping = "FILE.tsv" in the protocol; '
            "--write-mapping FILE.tsv begins one"
        )
    return Path(given.protocol).parent / protocol.mapping


def _write_mapping(source: Path, bids_dir: Path, target: Path, limit: int) -> bool:
    """Begin a mapping table with the patients and days of the input."""
    if not source.exists():
        raise RequestError(f"{source}: no such folder or archive of DICOM files")
    if target.exists():
        raise RequestError(f"{target} is there already; give another name")
    if target.resolve().is_relative_to(bids_dir.resolve()):
        raise RequestError(f"{target} would lie in the dataset, and it names patients; give another place")
    with tempfile.TemporaryDirectory() as unpacked:
        rows = skeleton(source, Path(unpacked), limit_bytes=limit)
    content = table_bytes(MAPPING_COLUMNS, rows).replace(b"n/a", b"")
    write_atomic(target, content)
    target.chmod(0o600)
    print(
        f"{target}: {len(rows)} rows; fill in participant_id, session_id and the dates, and keep it private"
    )
    return True


def _say(finding: Finding) -> None:
    where = f" [{finding.where}]" if finding.where else ""
    text = f"{finding.level}: {finding.message}{where}"
    print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text), file=sys.stderr)


def _summarise(result: IngestResult, bids_dir: Path) -> None:
    for (participant_id, session_id), outcome in sorted(result.visits.items()):
        print(f"{participant_id} {session_id}: {outcome}")
    print(
        f"{result.n_files} files, {result.n_dicom} of them DICOM, {result.n_series} series", file=sys.stderr
    )
    search = result.search
    if search.n_files:
        found = sum(len(hits) for hits in search.hits.values())
        print(
            f"identity search: {search.n_values} values in {search.n_files} files "
            f"({search.n_bytes / 1e6:.1f} MB), {found} found",
            file=sys.stderr,
        )
    counts = Counter(row.protocol for row in result.comparisons)
    if result.comparisons:
        path = RawPaths(bids_dir).compliance
        print(
            f"protocol: {counts['ok']} ok, {counts['deviates']} deviate, "
            f"{counts['not_recorded']} not recorded; see {path}",
            file=sys.stderr,
        )
