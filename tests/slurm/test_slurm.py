"""A real SLURM of one node: what becomes of tasks is told rightly, and what is not done is done again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from trialruns import Cluster, Trial, new_trial, until, write_image

from mripipe.steps.batch_record import read_batches

FATES = {
    "sub-1": "hold",
    "sub-2": "hold raise",
    "sub-3": "sleep 500",
    "sub-4": "sleep 500",
    "sub-5": None,
    "sub-6": None,
}


@dataclass
class InFlight:
    """Six participants on their way, with what they were told and their progress so far."""

    trial: Trial
    process: subprocess.Popen[str]
    progress: Path


@pytest.fixture(scope="module")
def in_flight(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InFlight]:
    """Submit everything at once: one raises, one will be cancelled, one runs out of time, one is torn."""
    trial = new_trial(tmp_path_factory.mktemp("six"), 6, cluster.environment)
    for who, fate in FATES.items():
        if fate is not None:
            trial.tell(who, fate)
    torn = trial.image("sub-5")
    torn.write_bytes(torn.read_bytes()[:2000])
    progress = trial.root / "progress"
    with progress.open("w") as stream:
        words = trial.start("--time", "1", "--mem-gb", "1", "--wait", "--poll", "1", error=stream)
        yield InFlight(trial, words, progress)
        words.kill()
        words.communicate()


def test_a_node_is_drained_and_a_task_cancelled_while_others_wait(cluster, in_flight):
    # Four of the six fit on the node.
    told = [in_flight.trial.root / "behaviour" / f"sub-{number}" for number in (1, 2, 3, 4)]
    until(lambda: all(path.with_suffix(".asleep").exists() for path in told), "four tasks at work")
    cluster.node("drain")
    try:
        (batch,) = read_batches(in_flight.trial.out)
        cluster.ask("scancel", f"{batch.arrays[0].job}_3")
        until(lambda: "DRAINED" in in_flight.progress.read_text(), "the reason why the others wait")
        assert "2 waiting of 6" in in_flight.progress.read_text()
    finally:
        # Or every later test would wait for this node.
        cluster.node("resume")
        for path in told[:2]:
            path.with_suffix(".go").touch()


def test_what_is_in_the_queue_is_not_submitted_again(in_flight):
    code, out, err = in_flight.trial.batch("--participant-label", "4")
    assert code == 1
    assert "nothing to submit" in err
    assert "running   sub-4" in out


def test_a_refusal_is_told_with_its_reason_and_leaves_nothing(cluster, make_trial):
    trial = make_trial(1, cluster.environment)
    with (trial.root / "site.toml").open("a") as stream:
        stream.write('partition = "nosuch"\n')
    code, _, err = trial.batch()
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "sbatch refused participants_1.sh" in err
    assert "invalid partition specified: nosuch" in err
    assert not list((trial.out / "logs" / "batch").iterdir())


def test_every_fate_is_told_rightly(in_flight):
    out, _ = in_flight.process.communicate(timeout=240)
    assert in_flight.process.returncode == 1
    told = {line.split()[1]: line for line in out.splitlines()[1:]}
    assert set(told) == {"sub-2", "sub-3", "sub-4", "sub-5"}
    assert told["sub-2"].startswith("failed")
    assert "RuntimeError: the toy was told to raise" in told["sub-2"]
    assert told["sub-3"] == "killed    sub-3  was cancelled while it ran (CANCELLED)"
    assert told["sub-4"] == "killed    sub-4  ran out of its 1 min; give more with --time (TIMEOUT)"
    assert "sub-5_ses-a_T1w.nii.gz: truncated or damaged gzip file" in told["sub-5"]
    assert in_flight.progress.read_text().endswith("2 of 6 participants done; group stage: done\n")
    # Those who were killed have no row yet; the group stage said who is missing.
    assert in_flight.trial.volumes() == {"sub-1": "ok", "sub-2": "failed", "sub-5": "failed", "sub-6": "ok"}
    group = (in_flight.trial.out / "logs" / "batch" / "001" / "group.log").read_text()
    for who in told:
        assert who in group


def test_resubmission_finishes_everyone_and_no_one_twice(in_flight):
    trial = in_flight.trial
    for path in (trial.root / "behaviour").iterdir():
        path.unlink()
    write_image(trial.image("sub-5"), 5)
    code, out, err = trial.batch("--mem-gb", "1", "--wait", "--poll", "1")
    assert code == 0, out + err
    assert out.startswith("4 participants submitted")
    names = (trial.out / "logs" / "batch" / "002" / "participants_1.txt").read_text().split()
    assert names == ["sub-2", "sub-3", "sub-4", "sub-5"]
    assert "6 of 6 participants done; group stage: done" in err
    assert set(trial.volumes().values()) == {"ok"}
    assert "Group of 6 participants" in (trial.out / "group.html").read_text()
    code, out, err = trial.batch("--wait")
    assert (code, out) == (0, "")
    assert err == "nothing to submit\n6 of 6 participants done; group stage: done\n"
