"""What the workflow engine costs over the bare steps, and how a run scales from one process to two.

    python scripts/benchmarks/engine_overhead.py FOLDER [--patients 2] [--visits 1] [--t1w-mm 3]

A phantom trial is processed three times: the steps called one after the other with their results in memory,
by the engine in one process, and by the engine in two. Wall-clock time holds only on a machine that does
nothing else; processor time holds nearly so on any. The results of the three must be the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_type_hints

import threadpoolctl
from nipype.pipeline.engine.utils import topological_sort

from mripipe.bids.reader import read_study
from mripipe.interfaces.codec import decode
from mripipe.interfaces.engine import Execution, run_graph
from mripipe.interfaces.results import load_function
from mripipe.model.settings import Settings, settings_from_tables
from mripipe.model.study import Subject
from mripipe.steps.phantom_study import write_trial
from mripipe.workflows.run import _build
from mripipe.workflows.subject import build_subject

MODES = ("bare", "one process", "two processes")


def run_bare(subject: Subject, settings: Settings, folder: Path) -> None:
    """Call a participant's steps in order, each with the results of those before."""
    graph = build_subject(subject, settings)._graph
    results: dict[Any, object] = {}
    for node in topological_sort(graph)[0]:
        interface = node.interface
        function = load_function(interface.function)
        hints = get_type_hints(function)
        given = {name: decode(data, hints[name]) for name, data in interface._arguments().items()}
        taken = {
            field: results[source]
            for source, _, data in graph.in_edges(node, data=True)
            for _, field in data["connect"]
        }
        for field, name in interface.upstream_fields().items():
            given[name] = (*given.get(name, ()), taken[field]) if name in interface.many else taken[field]
        own = folder / node.name
        own.mkdir(parents=True)
        with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
            results[node] = function(**given, folder=own)


def run_mode(mode: str, bids: Path, folder: Path, settings: Settings) -> dict[str, float]:
    """Process the trial in this process; return seconds on the wall and of the processors."""
    study = read_study(bids)
    start = time.monotonic()
    if mode == "bare":
        for subject in study.subjects:
            run_bare(subject, settings, folder / subject.participant_id)
    else:
        workflow = _build(study, folder / "out", folder, settings)
        nprocs = 1 + (mode == "two processes")
        steps = run_graph(workflow, logs=folder / "logs", execution=Execution(nprocs=nprocs))
        assert {step.state for step in steps} == {"done"}, steps
    wall = time.monotonic() - start
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))
    return {"wall_s": round(wall, 1), "cpu_s": round(used, 1)}


def content(folder: Path) -> dict[str, str]:
    """Digest every image, table and transform that the steps wrote, by its step and name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name.endswith((".nii", ".nii.gz", ".h5", ".bval", ".bvec")):
            parts = path.relative_to(folder).parts
            start = next(i for i, part in enumerate(parts) if part.startswith("sub-"))
            found["/".join(parts[start:])] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def main() -> None:
    """Make the trial and time each way in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", type=int, default=2)
    parser.add_argument("--visits", type=int, default=1)
    parser.add_argument("--t1w-mm", type=float, default=3.0)
    parser.add_argument("--level", choices=("fast", "standard"), default="fast")
    parser.add_argument("--mode", choices=MODES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.folder.absolute()
    if given.mode:
        settings = settings_from_tables({"registration": {"level": given.level}})
        print(json.dumps(run_mode(given.mode, folder / "bids", folder / given.mode, settings)))
        return
    write_trial(
        folder,
        patients=given.patients,
        visits=given.visits,
        t1w_mm=given.t1w_mm,
        flair_mm=None,
        with_dwi=False,
    )
    found = {}
    for mode in MODES:
        command = [sys.executable, __file__, str(folder), "--level", given.level, "--mode", mode]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[mode] = json.loads(done.stdout.splitlines()[-1])
        rate = 3600 * given.patients * given.visits / found[mode]["cpu_s"]
        print(f"{mode}: {found[mode]}, {rate:.1f} visits per core-hour", flush=True)
    first, one, two = (found[mode] for mode in MODES)
    for kind in ("wall_s", "cpu_s"):
        print(f"engine over bare steps, {kind}: {100 * (one[kind] / first[kind] - 1):+.1f} %")
    print(f"two processes: {one['wall_s'] / two['wall_s']:.2f} times as fast as one")
    same = all(content(folder / MODES[0]) == content(folder / mode) for mode in MODES[1:])
    told = "the same" if same else "NOT the same"
    print(f"{len(content(folder / MODES[0]))} files, {told} bytes in all three")


if __name__ == "__main__":
    main()
