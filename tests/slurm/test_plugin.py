"""nipype's SLURM plugin, a job a step, on a real SLURM: a job that was killed is not taken for a result."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from trialruns import PATIENCE_SECONDS, STANDIN, Cluster, Trial, until

TIGHT = "plugin = 'SLURM'\n[plugin_args]\nsbatch_args = '--mem=300 --time=5'\n"


@pytest.fixture
def trial(cluster: Cluster, make_trial) -> Trial:
    return replace(make_trial(1, cluster.environment), name="out put")


def start(trial: Trial, plugin: str = TIGHT) -> subprocess.Popen[str]:
    (trial.root / "plugin.toml").write_text(plugin)
    use = ["--use-plugin", str(trial.root / "plugin.toml")]
    # Steps run in an interpreter of their own, which must find the toy.
    environment = {**trial.environment, "PYTHONPATH": str(Path(STANDIN).parent)}
    environment.pop("LOGNAME", None)
    words = [sys.executable, str(STANDIN), "run", str(trial.bids), str(trial.out), "participant", *use]
    # A job in the background of a shell is deaf to Ctrl-C, and hands that down.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        # Left running it would hand the next test's node its jobs.
        process.kill()
    return process.returncode, err


def queue(cluster: Cluster) -> list[str]:
    return cluster.ask("squeue", "--noheader", "--format=%i %j").splitlines()


def test_a_killed_job_is_told_though_an_older_result_lies_there(cluster, trial):
    code, err = finish(start(trial))
    assert code == 0, err
    assert trial.volumes() == {"sub-1": "ok"}
    # Another image: the results of the first run are no longer this visit's.
    trial.image("sub-1").write_bytes(trial.image("sub-1").read_bytes() + b"\0")
    asleep = trial.tell("sub-1", "sleep 500").with_suffix(".asleep")
    process = start(trial)
    until(asleep.exists, "the step to sleep")
    (line,) = queue(cluster)
    cluster.ask("scancel", line.split()[0])
    code, err = finish(process)
    assert code == 1
    assert f"job {line.split()[0]} ended without a result" in err
    assert trial.volumes() == {"sub-1": "failed"}


def test_a_refused_job_is_told_in_one_line(cluster, trial):
    code, err = finish(start(trial, TIGHT.replace("--mem=300", "--partition=nosuch")))
    assert code == 2
    assert err.splitlines()[-1].startswith("mripipe: error: sbatch refused sub-1 ses-a prepare_visit: ")
    assert "invalid partition specified: nosuch" in err
    assert queue(cluster) == []


def test_jobs_do_not_outlive_an_interrupted_run(cluster, trial):
    asleep = trial.tell("sub-1", "sleep 500").with_suffix(".asleep")
    process = start(trial)
    until(asleep.exists, "the step to sleep")
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130
    until(lambda: queue(cluster) == [], "the queue to be empty")
