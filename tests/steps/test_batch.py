"""Scripts, requests and verdicts of a batch; the schedulers' commands are stand-ins, the shell is real."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mripipe.errors import InputError, ProcessingError, RequestError
from mripipe.model.batch import Array, Batch, Request, Task
from mripipe.model.results import LesionVolumes, SubjectResult, VisitResult
from mripipe.model.site import Site
from mripipe.model.study import Problem, Scan, Session, Subject
from mripipe.steps.batch_outcome import outcome_of, progress_line
from mripipe.steps.batch_queue import ask_accounting, ask_queue, read_states, submit
from mripipe.steps.batch_record import (
    batch_folder,
    last_line,
    read_batches,
    read_group,
    read_published,
    read_tasks,
    task_log,
    write_batch,
)
from mripipe.steps.batch_request import group_request, largest_request, request_for
from mripipe.steps.batch_script import Programs, check_folder, group_script, participants_script, start_words
from mripipe.steps.tables import write_subject_results

REQUEST = Request(cpus=2, memory_mb=5000, minutes=90)
PROGRAMS = Programs(participant=("echo", "one"), summary=("echo", "who is missing"), group=("echo", "group"))
BATCH = Batch(1, "slurm", (Array(("sub-1", "sub-2", "sub-3"), "7"),), group="8", minutes=60, memory_mb=5000)


def array_script(scheduler, folder, *, count=3, limit=None, site=None, programs=PROGRAMS):
    return participants_script(
        scheduler,
        folder=Path(folder),
        number=1,
        count=count,
        request=REQUEST,
        limit=limit,
        site=site or Site(),
        programs=programs,
    )


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Put a scheduler's command in the way: it notes its words and answers what it is told to."""

    def put(name, answer="", *, error="", status=0):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        script = folder / name
        script.write_text(
            f"#!/bin/sh\nprintf '%s\\n' \"$*\" >>{tmp_path}/{name}.words\n"
            f"printf '%s' '{answer}'\nprintf '%s' '{error}' >&2\nexit {status}\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return lambda: (tmp_path / f"{name}.words").read_text().splitlines()

    return put


def test_what_slurm_is_asked_for():
    site = Site(partition="short", account="stroke", options=("--qos=long",), modules=("a/1", "b c"))
    lines = array_script("slurm", "/o/logs/batch/001", limit=2, site=site).splitlines()
    assert lines[0] == "#!/bin/bash"
    asked = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert {"--cpus-per-task=2", "--mem=5000M", "--time=1:30:00", "--array=1-3%2"} <= set(
        " ".join(asked).split()
    )
    assert {"--partition=short", "--account=stroke", "--qos=long"} <= set(asked)
    assert '--output="/o/logs/batch/001/participants_1_%a.log"' in asked
    assert "module load a/1 'b c'" in lines


def test_a_per_cent_sign_in_a_folder_is_no_pattern_of_slurm():
    assert '--output="/o%%a/participants_1_%a.log"' in array_script("slurm", "/o%a")


def test_what_pbs_is_asked_for():
    text = array_script("pbs", "/o", limit=2, site=Site(partition="long", account="stroke"))
    for line in (
        "#PBS -l select=1:ncpus=2:mem=5000mb",
        "#PBS -l walltime=1:30:00",
        "#PBS -J 1-3%2",
        "#PBS -q long",
        "#PBS -A stroke",
        "#PBS -j oe -o /o/participants_1_^array_index^.log",
    ):
        assert line in text.splitlines()
    # PBS refuses an array of one.
    assert "-J" not in array_script("pbs", "/o", count=1)
    assert "-o /o/participants_1_1.log" in array_script("pbs", "/o", count=1)


def test_what_sge_is_asked_for():
    lines = array_script("sge", "/o", limit=2, site=Site(partition="long", account="stroke")).splitlines()
    # Grid Engine counts memory by slot.
    assert "#$ -l h_vmem=2500M,h_rt=1:30:00" in lines
    for line in ("#$ -pe smp 2", "#$ -t 1-3 -tc 2", "#$ -q long", "#$ -P stroke"):
        assert line in lines


@pytest.mark.parametrize("scheduler", ["slurm", "pbs", "sge", "local"])
def test_a_task_runs_its_participant_and_notes_its_end(tmp_path, scheduler):
    folder = tmp_path / "it's a 'folder' %a $HOME"
    folder.mkdir()
    write = f'echo "$@" >>"{tmp_path}/ran"; test "$2" = sub-2 && exit 3; exit 0'
    programs = Programs(participant=("bash", "-c", write, "x", "one"), summary=("true",), group=("true",))
    script = folder / "participants_1.sh"
    script.write_text(array_script(scheduler, folder, programs=programs, site=Site(setup=("export A=1",))))
    (folder / "participants_1.txt").write_text("sub-1\nsub-2\nsub-3\n")
    (folder / "sub-2.end").write_text("0\n")
    index = {"slurm": "SLURM_ARRAY_TASK_ID", "pbs": "PBS_ARRAY_INDEX", "sge": "SGE_TASK_ID", "local": "X"}
    for task, expected in ((2, 3), (3, 0)):
        environment = {**os.environ, index[scheduler]: str(task)}
        words = ["bash", script, *([str(task)] if scheduler == "local" else [])]
        assert subprocess.run(words, env=environment).returncode == expected
    assert (tmp_path / "ran").read_text() == "one sub-2\none sub-3\n"
    assert (folder / "sub-2.end").read_text() == "3\n"
    assert (folder / "sub-3.end").read_text() == "0\n"
    assert (folder / "sub-3.start").exists()
    assert not (folder / "sub-1.start").exists()


@pytest.mark.parametrize(
    ("missing", "group", "noted", "ended"), [(0, 0, 0, 0), (1, 0, 0, 1), (0, 2, 2, 2), (1, 2, 2, 2)]
)
def test_the_group_stage_runs_whoever_is_missing(tmp_path, missing, group, noted, ended):
    say = tuple(
        ("bash", "-c", f"echo {name}; exit {status}") for name, status in (("who", missing), ("all", group))
    )
    programs = Programs(participant=("true",), summary=say[0], group=say[1])
    script = tmp_path / "group.sh"
    script.write_text(group_script("local", folder=tmp_path, request=REQUEST, site=Site(), programs=programs))
    done = subprocess.run(["bash", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (ended, "who\nall\n")
    assert (tmp_path / "group.end").read_text() == f"{noted}\n"


def test_a_container_sees_every_folder_under_its_own_name():
    words = start_words(Site(container="/i.sif"), "python", [Path("/b"), Path("/a b"), Path("/b")])
    assert words == ("apptainer", "exec", "--cleanenv", "--bind", "/a b", "--bind", "/b", "/i.sif", "mripipe")
    assert start_words(Site(command=("run", "it")), "python", []) == ("run", "it")
    assert start_words(Site(), "/v/python", []) == ("/v/python", "-P", "-m", "mripipe")
    with pytest.raises(RequestError, match="with ':' or ',' in its name"):
        start_words(Site(container="/i.sif"), "python", [Path("/a:b")])


@pytest.mark.parametrize(
    ("scheduler", "folder"), [("slurm", '/a"b'), ("slurm", "/a\\b"), ("pbs", "/a b"), ("sge", "/a$b")]
)
def test_a_folder_that_a_directive_cannot_hold(scheduler, folder):
    with pytest.raises(RequestError, match="in its name; choose another"):
        check_folder(scheduler, Path(folder))
    check_folder("local", Path(folder))
    check_folder(scheduler, Path("/plain"))


def scan(folder, name, shape, suffix):
    path = folder / f"{name}.nii.gz"
    nib.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)).to_filename(path)
    return Scan(path, suffix)


def test_the_request_grows_with_visits_processes_and_voxels(tmp_path):
    small = scan(tmp_path, "small", (20, 20, 20), "T1w")
    large = scan(tmp_path, "large", (320, 300, 240), "T1w")  # twice a full-size image
    series = scan(tmp_path, "series", (10, 10, 10, 3), "dwi")

    def ask(*scans, visits=5, nprocs=2, with_diffusion=True):
        sessions = tuple(Session("sub-1", f"ses-{i}", scans=scans) for i in range(visits))
        return request_for(Subject("sub-1", sessions), nprocs=nprocs, with_diffusion=with_diffusion)

    usual = ask(small)
    assert usual.cpus == 2
    assert ask(small, visits=10).minutes == pytest.approx(2 * usual.minutes, abs=10)
    assert ask(large).minutes == pytest.approx(2 * usual.minutes, abs=10)
    assert ask(small, series).minutes > usual.minutes
    assert ask(small, series, with_diffusion=False) == usual
    assert ask(small, visits=1).minutes == 30
    assert ask(small, visits=10).memory_mb == usual.memory_mb
    assert ask(small, nprocs=1).memory_mb < usual.memory_mb < ask(large).memory_mb < 2 * usual.memory_mb
    assert largest_request([Request(1, 5, 9), Request(2, 4, 3)]) == Request(2, 5, 9)


def test_the_group_stage_asks_for_more_where_there_are_more_visits():
    small, large = group_request(10), group_request(10_000)
    assert (small.cpus, small.minutes) == (1, 30)
    assert small.memory_mb < 1500 < 10_000 < large.memory_mb
    assert large.minutes > 60


def test_an_image_that_cannot_be_read_does_not_stop_the_request(tmp_path):
    torn = tmp_path / "torn.nii.gz"
    torn.write_bytes(b"no image")
    good = scan(tmp_path, "good", (5, 5, 5), "T1w")
    unfit = Session("sub-1", "ses-b", problems=(Problem("error", "no image"),))
    subject = Subject("sub-1", (Session("sub-1", "ses-a", scans=(good, Scan(torn, "dwi"))), unfit))
    alone = Subject("sub-1", (Session("sub-1", "ses-a", scans=(good,)),))
    assert request_for(subject, nprocs=1, with_diffusion=False) == request_for(
        alone, nprocs=1, with_diffusion=False
    )
    assert request_for(subject, nprocs=1, with_diffusion=True).minutes >= 30


def test_submission_to_each_scheduler(command, tmp_path):
    script = tmp_path / "group.sh"
    words = command("sbatch", "12;cluster\n")
    assert submit("slurm", script, after=["3", "4"]) == "12"
    assert words() == [f"--parsable --dependency=afterany:3:4 {script}"]
    words = command("qsub", "12[].server\n")
    assert submit("pbs", script, after=["3[].server"]) == "12[].server"
    assert words() == [f"-W depend=afterany:3[].server {script}"]
    command("qsub", "12.1-6:1\n")
    assert submit("sge", script, after=["3", "4"]) == "12"
    assert words()[-1] == f"-terse -hold_jid 3,4 {script}"


def test_a_refusal_is_told_in_one_line_with_its_reason(command, tmp_path):
    command("sbatch", error="sbatch: error: invalid partition\nsbatch: error: failed\n", status=1)
    with pytest.raises(RequestError) as refusal:
        submit("slurm", tmp_path / "a.sh")
    assert str(refusal.value) == (
        "sbatch refused a.sh: sbatch: error: invalid partition sbatch: error: failed; nothing runs of it"
    )
    command("sbatch")
    with pytest.raises(RequestError, match="sbatch refused"):
        submit("slurm", tmp_path / "a.sh")


def test_a_scheduler_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="sbatch is not on this machine"):
        submit("slurm", tmp_path / "a.sh")
    assert ask_accounting(["7"]) == {}


def test_slurms_queue_is_read_task_by_task(command):
    command("squeue", "7|1|TIMEOUT|None\n7|2|PENDING|Resources\n8|N/A|PENDING|Dependency\n9|1|RUNNING|None\n")
    assert ask_queue("slurm", ["7", "8"]) == {
        ("7", 1): ("TIMEOUT", "None"),
        ("7", 2): ("PENDING", "Resources"),
        ("8", None): ("PENDING", "Dependency"),
    }
    command("squeue", error="Unable to contact slurm controller", status=1)
    with pytest.raises(ProcessingError, match=r"gives no answer.*Unable to contact"):
        ask_queue("slurm", ["7"])


def test_pbs_and_sge_say_whether_a_job_is_there(command):
    words = command("qstat")
    assert ask_queue("pbs", ["7[]"]) == {("7[]", None): ("ALIVE", "")}
    assert ask_queue("sge", ["7"]) == {("7", None): ("ALIVE", "")}
    assert words() == ["7[]", "-j 7"]
    command("qstat", status=1)
    assert ask_queue("pbs", ["7[]"]) == {}


def test_accounting_remembers_what_the_queue_forgot(command):
    command("sacct", "7_1|OUT_OF_MEMORY\n7_2|CANCELLED by 1000\n8|COMPLETED\n7_[3-9%2]|PENDING\n")
    found = ask_accounting(["7", "8"])
    assert found["7", 1][0] == "OUT_OF_MEMORY"
    assert found["7", 2][0] == "CANCELLED"
    assert found["8", None][0] == "COMPLETED"
    assert len(found) == 3
    command("sacct", error="accounting storage is disabled", status=1)
    assert ask_accounting(["7"]) == {}


def test_a_batch_is_read_back_as_it_was_written(tmp_path):
    assert read_batches(tmp_path) == ()
    path = write_batch(tmp_path, BATCH)
    assert read_batches(tmp_path) == (BATCH,)
    folder = batch_folder(tmp_path, 1)
    assert (folder / "participants_1.txt").read_text() == "sub-1\nsub-2\nsub-3\n"
    assert task_log(tmp_path, BATCH, "sub-2") == folder / "participants_1_2.log"
    path.write_text(json.dumps({"number": 1}))
    with pytest.raises(InputError, match=r"batch\.json: this record of a batch cannot be read"):
        read_batches(tmp_path)


def test_where_tasks_stand(tmp_path):
    write_batch(tmp_path, BATCH)
    folder = batch_folder(tmp_path, 1)
    for name, text in (("sub-1.start", ""), ("sub-1.end", "0\n"), ("sub-2.start", "")):
        (folder / name).write_text(text)
    queue = {("7", 2): ("RUNNING", "None"), ("7", 3): ("PENDING", "Priority")}
    tasks = read_tasks(tmp_path, BATCH, queue)
    assert tasks["sub-1"] == Task("ended", started=True, status=0)
    assert tasks["sub-2"] == Task("running", "RUNNING", "None", started=True)
    assert tasks["sub-3"] == Task("waiting", "PENDING", "Priority")
    # A scheduler that knows nothing of them says that they have ended; one that is silent says nothing.
    assert {t.phase for t in read_tasks(tmp_path, BATCH, {}).values()} == {"ended"}
    assert [t.phase for t in read_tasks(tmp_path, BATCH, None).values()] == ["ended", "unknown", "unknown"]
    alive = read_tasks(tmp_path, BATCH, {("7", None): ("ALIVE", "")})
    assert [t.phase for t in alive.values()] == ["ended", "running", "waiting"]
    assert read_group(tmp_path, BATCH, {("8", None): ("PENDING", "Dependency")}).phase == "waiting"


def test_what_was_noted_before_the_group_stage_is_known_when_the_scheduler_has_forgotten(tmp_path):
    write_batch(tmp_path, BATCH)
    folder = batch_folder(tmp_path, 1)
    (folder / "states.txt").write_text("7|1|TIMEOUT|None\n7|2|RUNNING|None\n8|N/A|RUNNING|None\n")
    for queue in ({}, None):
        assert read_tasks(tmp_path, BATCH, queue)["sub-1"] == Task("ended", "TIMEOUT", "None")
    # What still ran then says nothing of now.
    assert read_tasks(tmp_path, BATCH, {})["sub-2"] == Task("ended")


def test_a_task_of_this_machine_that_noted_no_end_is_over(tmp_path):
    here = Batch(1, "local", (Array(("sub-1",)),))
    write_batch(tmp_path, here)
    (batch_folder(tmp_path, 1) / "sub-1.start").touch()
    assert read_tasks(tmp_path, here, {})["sub-1"] == Task("ended", started=True)


def judged(task, *, done=False, errors=(), said=""):
    found = outcome_of("sub-1", task, batch=BATCH if task else None, done=done, errors=errors, said=said)
    return found.state, found.why


@pytest.mark.parametrize(
    ("task", "rest", "state", "why"),
    [
        (None, {"done": True}, "done", ""),
        (None, {}, "to do", "not submitted yet"),
        (None, {"errors": ["a.nii: torn"]}, "failed", "a.nii: torn"),
        (Task("ended", "COMPLETED", "", True, 0), {"done": True}, "done", ""),
        # The scheduler's word does not make a result.
        (Task("ended", "COMPLETED", "", True, 0), {}, "to do", "have changed since"),
        (Task("ended", "CANCELLED", "", True), {"done": True}, "done", ""),
        (Task("ended", "", "", True, 1), {"errors": ["x", "y"]}, "failed", "x (and 1 more of its visits)"),
        (Task("ended", "", "", True, 1), {"done": True, "errors": ["x"]}, "failed", "x"),
        (Task("ended", "", "", True, 2), {"errors": ["old"], "said": "no folder"}, "failed", "no folder"),
        (Task("ended", "", "", True, 127), {}, "failed", "exit status 127; see its log"),
        (Task("ended", "TIMEOUT", "", True), {}, "killed", "ran out of its 60 min; give more with --time"),
        (Task("ended", "OUT_OF_MEMORY", "", True), {}, "killed", "its 5000 MB; give more with --mem-gb"),
        (Task("ended", "CANCELLED", "", True), {}, "killed", "was cancelled while it ran"),
        (Task("ended", "CANCELLED", "", False), {}, "killed", "ended before it started (CANCELLED)"),
        (Task("ended", "NODE_FAIL", "", True), {"errors": ["old"]}, "killed", "its node failed"),
        (Task("ended", "", "", True), {}, "killed", "its log may say why"),
        (Task("waiting", "PENDING", "Resources"), {"done": True}, "waiting", "Resources"),
        (Task("running", "RUNNING", "None"), {"errors": ["old"]}, "running", ""),
        (Task("unknown"), {}, "unknown", "the scheduler gives no answer"),
    ],
)  # fmt: skip
def test_what_became_of_a_participant(task, rest, state, why):
    found = judged(task, **rest)
    assert found[0] == state
    assert why in found[1]
    assert bool(why) == bool(found[1])


def test_the_progress_line_counts_and_says_why_some_wait():
    tasks = [
        Task("ended", status=0),
        Task("ended", status=1),
        Task("ended", "TIMEOUT"),
        Task("running", "RUNNING"),
        Task("waiting", "PENDING", "Nodes are drained"),
        Task("waiting", "PENDING", "None"),
    ]
    assert progress_line(tasks, Task("waiting", "PENDING", "Dependency")) == (
        "1 done, 1 failed, 1 killed, 1 running, 2 waiting of 6 (Nodes are drained); group stage waiting"
    )


def test_what_was_published_of_a_participant(tmp_path):
    def result(session, error=None):
        return VisitResult("sub-1", session, LesionVolumes("sub-1", session, "failed"), error=error)

    visits = (result("ses-a"), result("ses-b", "b.nii: torn"))
    assert read_published(tmp_path, "sub-1") is None
    path = write_subject_results(tmp_path, SubjectResult("sub-1", visits, report=tmp_path / "sub-1.html"))
    assert read_published(tmp_path, "sub-1") == ("b.nii: torn",)
    # Without its report it is not whole.
    write_subject_results(tmp_path, SubjectResult("sub-1", visits))
    assert read_published(tmp_path, "sub-1") is None
    path.write_text("{")
    assert read_published(tmp_path, "sub-1") is None


def test_the_last_line_of_a_log(tmp_path):
    log = tmp_path / "a.log"
    assert last_line(log) == ""
    log.write_text("first\nmripipe: error: \x1b[31mx\n\n")
    assert last_line(log) == "mripipe: error:  [31mx"
    assert read_states("slurmstepd: error\n") == {}
