"""``mripipe batch`` as a command: what it submits, when it does not, and a whole batch on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mripipe.cli import main
from mripipe.cli.batch_wait import _show
from mripipe.model.batch import Array, Batch
from mripipe.steps.batch_record import batch_folder, read_batches, write_batch

sys.path.insert(0, str(Path(__file__).parent / "slurm"))
from trialruns import new_trial, write_image


@pytest.fixture
def bids(tmp_path):
    """Three participants with a visit each."""
    for n in (1, 2, 3):
        write_image(tmp_path / "bids" / f"sub-{n}" / "ses-a" / "anat" / f"sub-{n}_ses-a_T1w.nii.gz", n)
    return tmp_path / "bids"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Take the place of SLURM's commands: jobs get the next number, and the queue says what it is told to."""
    folder = tmp_path / "commands"
    folder.mkdir()
    (folder / "queue").write_text("")
    scripts = {
        "sbatch": f'n=$(cat {folder}/jobs 2>/dev/null | wc -l); echo "$@" >>{folder}/jobs; '
        f'test -e {folder}/full && test "$n" -ge "$(cat {folder}/full)" && echo no more jobs >&2 && exit 1; '
        'echo "$((n + 1))"',
        "squeue": f"test -e {folder}/down && exit 1; cat {folder}/queue",
        "sacct": "exit 1",
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return folder


def jobs(slurm):
    """Words of every submission, with the script's name alone."""
    lines = (slurm / "jobs").read_text().splitlines()
    return [" ".join(Path(word).name for word in line.split()[1:]) for line in lines]


def test_a_dry_run_prints_both_scripts_and_writes_nothing(bids, tmp_path, slurm, capsys):
    out = tmp_path / "out"
    words = ["batch", str(bids), str(out), "--scheduler", "slurm", "--dry-run", "--array-limit", "2"]
    assert (
        main([*words, "--nprocs", "4", "--level", "fast", "--skip-dwi", "-w", str(tmp_path / "scratch")]) == 0
    )
    told = capsys.readouterr()
    assert "#SBATCH --array=1-3%2" in told.out
    assert "--cpus-per-task=4" in told.out
    task = next(line for line in told.out.splitlines() if line.endswith('"$participant"'))
    assert f"-P -m mripipe run {bids} {out} participant --work-dir {tmp_path}/scratch --skip-dwi" in task
    assert "--level fast --nprocs 4 --omp-nthreads 1 --participant-label" in task
    assert f"mripipe run {bids} {out} group" in told.out
    assert "3 of 3 participants to do" in told.err
    assert not out.exists()
    assert not (slurm / "jobs").exists()


def test_the_group_stage_follows_its_participants(bids, tmp_path, slurm, capsys):
    out = tmp_path / "out"
    assert main(["batch", str(bids), str(out), "--scheduler", "slurm"]) == 0
    assert jobs(slurm) == ["participants_1.sh", "--dependency=afterany:1 group.sh"]
    assert capsys.readouterr().out == "3 participants submitted as job 1, then the group stage as job 2\n"
    (batch,) = read_batches(out)
    assert (batch.participants, batch.arrays[0].job, batch.group) == (("sub-1", "sub-2", "sub-3"), "1", "2")
    assert main(["status", str(out)]) == 0


def test_more_participants_than_an_array_takes(bids, tmp_path, slurm):
    site = tmp_path / "site.toml"
    site.write_text('scheduler = "slurm"\nmax_array = 2\narray_limit = 4\n')
    out = tmp_path / "out"
    assert main(["batch", str(bids), str(out), "--site", str(site)]) == 0
    assert jobs(slurm) == ["participants_1.sh", "participants_2.sh", "--dependency=afterany:1:2 group.sh"]
    folder = batch_folder(out, 1)
    assert (folder / "participants_2.txt").read_text() == "sub-3\n"
    # Four at a time in all, not in each.
    assert "--array=1-2%2" in (folder / "participants_1.sh").read_text()
    assert "--array=1-1%2" in (folder / "participants_2.sh").read_text()


def test_the_users_profile_is_found(bids, tmp_path, slurm, capsys):
    own = tmp_path / "settings" / "mripipe" / "site.toml"
    own.parent.mkdir(parents=True)
    own.write_text('scheduler = "slurm"\ncontainer = "/opt/mripipe.sif"\naccount = "stroke"\n')
    assert main(["batch", str(bids), str(tmp_path / "out"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "#SBATCH --account=stroke" in told
    assert f"apptainer exec --cleanenv --bind {bids}" in told
    assert "/opt/mripipe.sif mripipe run" in told


def test_without_a_scheduler(bids, tmp_path, slurm, capsys):
    assert main(["batch", str(bids), str(tmp_path / "out")]) == 2
    assert "no scheduler: give --scheduler" in capsys.readouterr().err


def test_only_who_is_neither_done_nor_in_the_queue_is_submitted(bids, tmp_path, slurm, capsys):
    out = tmp_path / "out"
    words = ["batch", str(bids), str(out), "--scheduler", "slurm"]
    main(words)
    (slurm / "queue").write_text(
        "1|1|RUNNING|None\n1|2|PENDING|Resources\n1|3|FAILED|None\n2|N/A|PENDING|x\n"
    )
    assert main(words) == 0
    # The second group stage waits for the first batch too.
    assert jobs(slurm)[2:] == ["participants_1.sh", "--dependency=afterany:1:2:3 group.sh"]
    assert read_batches(out)[1].participants == ("sub-3",)
    (slurm / "down").touch()
    capsys.readouterr()
    assert main(words) == 1
    assert "slurm does not say what it still has of earlier batches; nothing was submitted" in (
        capsys.readouterr().err
    )
    assert len(jobs(slurm)) == 4


def test_a_summary_names_everyone_who_is_not_done(bids, tmp_path, slurm, capsys):
    out = tmp_path / "out"
    words = ["batch", str(bids), str(out), "--scheduler", "slurm"]
    main(words)
    (batch_folder(out, 1) / "sub-1.start").touch()
    (slurm / "queue").write_text("1|1|NODE_FAIL|None\n1|2|PENDING|Resources\n2|N/A|PENDING|Dependency\n")
    capsys.readouterr()
    assert main([*words, "--summary"]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "killed    sub-1  its node failed (NODE_FAIL)",
        "waiting   sub-2  Resources",
        "killed    sub-3  ended before it started",
    ]
    assert told.err == "0 of 3 participants done; group stage: waiting\n"


def test_what_was_taken_before_a_refusal_is_known(bids, tmp_path, slurm, capsys):
    out = tmp_path / "out"
    words = ["batch", str(bids), str(out), "--scheduler", "slurm"]
    (slurm / "full").write_text("1")
    assert main(words) == 2
    assert "sbatch refused group.sh: no more jobs" in capsys.readouterr().err
    (batch,) = read_batches(out)
    assert (batch.arrays[0].job, batch.group) == ("1", None)
    # The next call leaves those tasks in the queue alone and adds the group stage that is missing.
    (slurm / "full").unlink()
    (slurm / "queue").write_text("1|1|RUNNING|None\n1|2|RUNNING|None\n1|3|RUNNING|None\n")
    assert main(words) == 0
    assert jobs(slurm)[-1] == "--dependency=afterany:1 group.sh"


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch, capsys):
    assert _show("1 done of 4", 2, 4, "") == "1 done of 4"
    _show("1 done of 4", 2, 4, "1 done of 4")
    assert capsys.readouterr().err == "1 done of 4\n"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    _show("1 done of 4", 2, 4, "1 done of 4")
    shown = capsys.readouterr().err
    assert shown == f"\r\x1b[K|{'#' * 15}{'.' * 15}| 1 done of 4"


def test_a_damaged_record_is_named(bids, tmp_path, slurm, capsys):
    path = write_batch(tmp_path / "out", Batch(1, "slurm", (Array(("sub-1",), "1"),)))
    path.write_text("{")
    assert main(["batch", str(bids), str(tmp_path / "out"), "--scheduler", "slurm"]) == 1
    assert "this record of a batch cannot be read" in capsys.readouterr().err


def test_a_whole_batch_on_this_machine(tmp_path):
    trial = new_trial(tmp_path, 2, dict(os.environ))
    told = trial.tell("sub-2", "raise")
    code, out, err = trial.batch("--array-limit", "2", scheduler="local")
    assert code == 1
    assert out.startswith("failed    sub-2  prepare_visit stopped: RuntimeError: the toy was told to raise")
    assert "1 of 2 participants done; group stage: done" in err
    assert trial.volumes() == {"sub-1": "ok", "sub-2": "failed"}
    told.unlink()
    code, out, err = trial.batch(scheduler="local")
    assert (code, out) == (0, "")
    assert "sub-1" not in err
    assert trial.volumes() == {"sub-1": "ok", "sub-2": "ok"}


def test_a_program_that_does_not_start_is_told_by_its_own_last_line(tmp_path):
    trial = new_trial(tmp_path, 1, dict(os.environ))
    (trial.root / "site.toml").write_text('command = ["bash", "-c", "echo no such module >&2; exit 3"]\n')
    code, out, err = trial.batch(scheduler="local")
    assert code == 1
    assert out == "failed    sub-1  no such module\n"
    assert err.splitlines()[-1] == "0 of 1 participants done; group stage: failed: no such module"


def test_the_image_s_recipes_run_the_same_steps_and_copy_what_the_package_needs():
    folder = Path(__file__).parent.parent / "scripts" / "container"
    subprocess.run(["bash", "-n", folder / "install.sh"], check=True)
    for name in ("Dockerfile", "mripipe.def"):
        text = (folder / name).read_text()
        for step in ("system", "program /opt/source /opt/mripipe", "check /opt/mripipe"):
            assert f"install.sh {step}" in text
        for part in (
            "setup.cfg",
            "pyproject.toml",
            "mripipe",
            "workflows",
            "atlases",
            "README.md",
            "LICENSE",
        ):
            assert f"/opt/source/{part}" in text or f" {part}" in text
