"""Time of ``mripipe status`` for a large study whose every visit is done, with one change and with another.

    python scripts/benchmarks/status_scale.py FOLDER [--patients 120] [--visits 5]

The study's images are tiny, and no step computes: what a run leaves behind is written by the code that a run
writes it with, from the real workflow's steps.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nipype import Workflow

from mripipe.bids.files import write_atomic
from mripipe.bids.reader import read_study
from mripipe.cli.commands import note_run
from mripipe.interfaces.digests import file_digest
from mripipe.interfaces.engine import describe_graph, prepare_graph
from mripipe.interfaces.record import (
    CODE,
    RESULT_NAME,
    StepRecord,
    step_code,
    write_code_parts,
    write_made_from,
)
from mripipe.interfaces.step import write_json
from mripipe.interfaces.stored import write_plan
from mripipe.model.settings import Settings
from mripipe.model.study import Subject
from mripipe.workflows.subject import build_subject

FILES_A_STEP = 4
"""Files that a step's result names, about as many as the real ones'."""
DIRECTIONS = 7


def write_study(root: Path, patients: int, visits: int) -> None:
    """Write a BIDS dataset of images that hold next to nothing."""
    write_atomic(root / "dataset_description.json", '{"Name": "status", "BIDSVersion": "1.10.0"}\n')
    small = nib.Nifti1Image(np.ones((12, 12, 12), np.int16), np.eye(4)).to_bytes()
    series = nib.Nifti1Image(np.ones((12, 12, 12, DIRECTIONS), np.int16), np.eye(4)).to_bytes()
    for patient in range(1, patients + 1):
        for visit in range(1, visits + 1):
            stem = f"sub-{patient:03d}/ses-{visit}/{{}}/sub-{patient:03d}_ses-{visit}_{{}}"
            for kind in ("T1w", "FLAIR"):
                write_atomic(root / f"{stem.format('anat', kind)}.nii", small)
                write_atomic(root / f"{stem.format('anat', kind)}.json", f'{{"EchoTime": 0.{visit}}}\n')
            dwi = stem.format("dwi", "dwi")
            write_atomic(root / f"{dwi}.nii", series)
            write_atomic(root / f"{dwi}.json", '{"PhaseEncodingDirection": "j"}\n')
            write_atomic(root / f"{dwi}.bval", " ".join(["0"] + ["1000"] * (DIRECTIONS - 1)) + "\n")
            write_atomic(
                root / f"{dwi}.bvec", f"{'1 ' * DIRECTIONS}\n{'0 ' * DIRECTIONS}\n{'0 ' * DIRECTIONS}\n"
            )


def finish(subject: Subject, out: Path, work: Path, settings: Settings) -> int:
    """Leave behind what a finished run of one participant does; return how many steps it has."""
    workflow = Workflow(name="participants")
    workflow.add_nodes([build_subject(subject, settings)])
    prepare_graph(workflow, work_dir=work, logs=out / "logs")
    records = describe_graph(workflow)
    for record in records:
        _finish_step(record, {name: source for name, source in record.upstream}, records)
    write_code_parts({record.function for record in records}, out / "logs" / CODE)
    write_plan(
        out / "logs",
        subject,
        builder="mripipe.workflows.subject:build_subject",
        work_dir=work,
        settings=settings,
        records=records,
    )
    return len(records)


def _finish_step(record: StepRecord, upstream: dict[str, str], records: tuple[StepRecord, ...]) -> None:
    folder = Path(record.folder)
    folder.mkdir(parents=True)
    files = [folder / f"image_{number}.nii.gz" for number in range(FILES_A_STEP)]
    for number, path in enumerate(files):
        path.write_bytes(f"{record.name} {number}".encode())
    folders = {other.name: Path(other.folder) for other in records}
    made = {
        "arguments": record.arguments,
        "files": {path: file_digest(path) for path in record.files},
        "code": step_code(record.function),
        "place": record.place,
        "upstream": {f: file_digest(folders[source] / RESULT_NAME) for f, source in upstream.items()},
        "sizes": {str(path): path.stat().st_size for path in files},
    }
    write_made_from(made, folder)
    # As long as the result of a real step, which quotes the visit and its files.
    result = {"record": asdict(record), "values": [float(n) for n in range(40)]}
    write_json(folder / RESULT_NAME, {"result": result, "files": {str(p): file_digest(p) for p in files}})


def timed(out: Path, what: str) -> None:
    """Print how long ``status`` takes, and its last line."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "mripipe", "status", str(out)], capture_output=True, text=True, check=True
    )
    seconds = time.monotonic() - start
    lines = done.stdout.splitlines()
    stale = next((line for line in lines if line.startswith("stale") and "comes first" not in line), "")
    print(f"{what}: {seconds:.2f} s; {len(lines) - 1} lines; {lines[-1]}; {stale}", flush=True)


def main() -> None:
    """Write the study and its records, then time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--visits", type=int, default=5)
    given = parser.parse_args()
    root, out = given.folder.absolute() / "bids", given.folder.absolute() / "out"
    work, settings = out / "work", Settings()
    write_study(root, given.patients, given.visits)
    # A file that was written a moment ago is not trusted to be at rest.
    time.sleep(3)
    study = read_study(root)
    note_run(out, root, [], work, settings)
    steps = sum(finish(subject, out, work, settings) for subject in study.subjects)
    print(f"{given.patients * given.visits} visits, {steps} steps")
    for _ in range(3):
        timed(out, "all done")
    sidecar = root / "sub-002/ses-1/dwi/sub-002_ses-1_dwi.json"
    sidecar.write_text('{"PhaseEncodingDirection": "i"}\n')
    timed(out, "one sidecar changed")
    plans = sorted((out / "logs" / "plans").glob("*.json"))
    for path in plans:
        document = json.loads(path.read_text())
        document["digests"] = {}
        path.write_text(json.dumps(document))
    timed(out, "and nothing remembered of any file's content")
    for path in plans[:1]:
        path.unlink()
    timed(out, "and one participant never run")
    part = replace(study.subjects[2], sessions=study.subjects[2].sessions[:-1])
    write_plan(
        out / "logs",
        part,
        builder="mripipe.workflows.subject:build_subject",
        work_dir=work,
        settings=settings,
        records=(),
    )
    timed(out, "and one participant with a visit more than at its last run")


if __name__ == "__main__":
    main()
