"""A run killed while it publishes: what is there is whole, and one more run gives the same bytes.

Killed at random moments, twenty times each way: ``scripts/benchmarks/faults.py``.
"""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mripipe.interfaces.execution import Execution
from mripipe.model.settings import Settings
from mripipe.workflows.run import run_participants

SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import pytest, toytrial
from conftest import Trial
from mripipe.interfaces.execution import Execution
from mripipe.model.settings import Settings
from mripipe.workflows import run
run.build_subject = toytrial.build_subject
run.render_report = lambda result, settings, versions: (
    f"{{result.participant_id}} {{settings['registration: level']}} {{len(result.visits)}}"
)
from mripipe.bids import files
real, left = os.replace, [{writes}]
def replace(source, target):
    if "out" in Path(target).parts and "logs" not in Path(target).parts:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
files.os.replace = replace
trial = Trial(Path({root!r}))
run.run_participants(
    trial.study(), trial.out, work_dir=trial.work, settings=Settings(), execution=Execution(plugin="linear")
)
"""


@pytest.mark.parametrize("writes", [3, 40, 46], ids=lambda n: f"after {n} files")
def test_a_run_killed_while_it_publishes(trial, tmp_path, writes):
    def run(out):
        run_participants(
            trial.study(), out, work_dir=trial.work, settings=Settings(), execution=Execution(plugin="linear")
        )
        return {
            str(p.relative_to(out)): p.read_bytes()
            for p in out.rglob("*")
            if p.is_file() and "logs" not in p.parts and p.suffix != ".part"
        }

    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(SCRIPT.format(tests=str(Path(__file__).parent), root=str(tmp_path), writes=writes))
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    for path in (p for p in trial.out.rglob("*") if p.is_file() and not p.name.startswith(".")):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".gz":
            gzip.decompress(path.read_bytes())
    again = run(trial.out)
    assert again == run(tmp_path / "undisturbed")
    assert len(again) > writes
