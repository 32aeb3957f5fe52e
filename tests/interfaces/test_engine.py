"""The engine with steps that take no time: caching, failures, processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import SimpleITK as sitk

from mripipe.errors import RequestError
from mripipe.interfaces import engine
from mripipe.interfaces.engine import Execution
from mripipe.interfaces.step import step_node

ALL = ["align", "finish"] + [f"ses-{v}_{s}" for v in "ab" for s in ("measure", "prepare", "segment")]
TWO = Execution(nprocs=2)


@pytest.mark.parametrize("execution", [Execution(plugin="linear"), TWO], ids=["linear", "two processes"])
def test_a_second_run_does_nothing(toy, execution, capsys):
    assert toy.run(execution) == dict.fromkeys(ALL, "done") | toy.run(execution)
    assert toy.called() == ALL
    capsys.readouterr()
    assert set(toy.run(execution).values()) == {"done"}
    assert toy.called() == []
    assert capsys.readouterr().err == ""


def test_progress_counts_the_steps_that_ran(toy, capsys):
    toy.run()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(ALL)
    assert lines[0].startswith("sub-1  ses-")
    assert lines[-1].startswith("sub-1  finish  ")
    assert lines[-1].endswith(" s  [8/8]")


def test_nothing_of_nipype_reaches_the_screen(toy, capfd):
    toy.run()
    out, err = capfd.readouterr()
    assert out == ""
    assert "nipype" not in err
    assert "prepare" in (toy.root / "logs" / "nipype_sub-1.log").read_text()


def test_a_changed_file_redoes_only_what_depends_on_it(toy):
    toy.run()
    toy.called()
    toy.write("ses-a", "cherry")
    toy.run()
    assert toy.called() == [
        "align",
        "finish",
        "ses-a_measure",
        "ses-a_prepare",
        "ses-a_segment",
        "ses-b_measure",
    ]
    assert toy.output("ses-b_measure") == "1 C|1 B1 B"


def test_a_file_touched_but_not_changed_redoes_nothing(toy):
    toy.run()
    toy.called()
    os.utime(toy.root / "ses-a.txt", (1, 1))
    toy.run()
    assert toy.called() == []


def test_a_changed_setting_redoes_only_what_depends_on_it(toy):
    toy.run()
    toy.called()
    toy.gain = 2
    assert toy.plan()["ses-a_prepare"] == ("done", "")
    assert toy.plan()["ses-a_segment"] == ("stale", "setting gain has changed: 1 -> 2")
    assert toy.plan()["align"] == ("stale", "segment comes first")
    toy.run()
    assert toy.called() == [name for name in ALL if not name.endswith("prepare")]


@pytest.mark.parametrize("execution", [Execution(plugin="linear"), TWO], ids=["linear", "two processes"])
def test_what_can_only_stop_a_step_redoes_nothing_and_stops_it_when_it_runs(toy, execution):
    toy.run()
    toy.called()
    toy.mask = toy.root / "mask.txt"
    toy.mask.write_text("fit")
    toy.run(execution)
    assert toy.called() == []
    toy.mask.write_text("unfit")
    toy.write("ses-a", "cherry")
    states = toy.run(execution)
    assert (states["ses-a_prepare"], states["ses-b_prepare"]) == ("failed", "done")
    assert toy.plan(retry=False)["ses-a_measure"] == ("failed", "mask.txt: unfit")


def test_changed_code_redoes_everything(toy, monkeypatch):
    toy.run()
    toy.called()
    monkeypatch.setattr("mripipe.interfaces.step.step_code", lambda function: "other")
    monkeypatch.setattr("mripipe.interfaces.record.step_code", lambda function: "other")
    assert toy.plan()["ses-a_prepare"] == ("stale", "the program has changed")
    toy.run()
    assert toy.called() == ALL


def test_a_plan_computes_nothing(toy):
    assert toy.plan() == dict.fromkeys(ALL, ("to do", ""))
    assert toy.called() == []
    assert not (toy.root / "work").exists()


@pytest.mark.parametrize("execution", [Execution(plugin="linear"), TWO], ids=["linear", "two processes"])
def test_a_failed_visit_stops_no_other_and_is_tried_again(toy, execution):
    toy.write("ses-a", "bad")
    states = toy.run(execution)
    assert states["ses-a_prepare"] == states["ses-a_segment"] == states["ses-a_measure"] == "failed"
    assert states["ses-b_measure"] == states["align"] == states["finish"] == "done"
    assert toy.output("finish") == "failed ses-a ses-b"
    assert toy.plan(retry=False)["ses-a_measure"] == ("failed", "ses-a.txt: not an image")
    crash = (toy.root / "logs" / "crash_sub-1_ses-a_prepare.txt").read_text()
    assert "Traceback" in crash
    assert "session" in crash
    toy.called()
    toy.run(execution)
    assert toy.called() == ["ses-a_prepare"]
    toy.write("ses-a", "apple")
    assert set(toy.run(execution).values()) == {"done"}
    assert "ses-b_prepare" not in toy.called()
    assert not (toy.root / "logs" / "crash_sub-1_ses-a_prepare.txt").exists()


def test_an_unforeseen_error_names_its_crash_file(toy):
    toy.write("ses-a", "odd")
    toy.run()
    why = toy.plan()["ses-a_prepare"][1]
    assert why == "prepare stopped: KeyError: 'odd'; see logs/crash_sub-1_ses-a_prepare.txt"


def test_a_full_disk_is_one_line(toy):
    toy.write("ses-a", "full")
    toy.run()
    why = toy.plan()["ses-a_prepare"][1]
    assert why.endswith("ses-a_prepare/image.txt: No space left on device; make room and run again")


def test_memory_that_runs_out_is_one_line(toy):
    toy.write("ses-a", "hungry")
    toy.run()
    assert toy.plan()["ses-a_prepare"][1] == "prepare: memory ran out; give --mem-gb or fewer --nprocs"


@pytest.mark.parametrize("execution", [Execution(plugin="linear"), TWO], ids=["linear", "two processes"])
def test_where_nipype_itself_fails_the_run_ends_and_the_step_stays_to_do(toy, execution):
    toy.write("ses-a", "lost")
    states = toy.run(execution)
    assert states["ses-b_prepare"] == "done"
    assert states["ses-a_prepare"] == states["align"] == "to do"


def test_where_every_visit_fails_the_joint_step_is_not_called(toy):
    toy.write("ses-a", "bad")
    toy.write("ses-b", "bad")
    assert toy.run()["align"] == "failed"
    assert "align" not in toy.called()


def test_a_killed_worker_fails_its_step_and_no_other(toy):
    toy.write("ses-a", "killed")
    states = toy.run(TWO)
    assert states["ses-a_prepare"] == "failed"
    assert states["ses-b_measure"] == states["finish"] == "done"
    assert "want of memory" in toy.plan()["ses-a_prepare"][1]


def test_workers_that_cannot_start_end_the_run(toy, monkeypatch):
    monkeypatch.setattr("mripipe.interfaces.pool.START", "raise SystemExit(3)")
    assert set(toy.run(TWO).values()) == {"to do"}


def test_workers_do_not_look_into_the_current_folder(toy, monkeypatch):
    (toy.root / "mripipe").mkdir()
    (toy.root / "mripipe" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.chdir(toy.root)
    assert set(toy.run(TWO).values()) == {"done"}


def test_stop_on_first_crash_leaves_the_rest(toy):
    toy.write("ses-a", "bad")
    toy.write("ses-b", "bad")
    states = toy.run(Execution(plugin="linear", stop_on_first_crash=True))
    assert sorted(states.values()) == ["failed", *["to do"] * 7]


def test_two_processes_give_the_same_bytes_as_one(toy):
    toy.run(Execution(nprocs=1), work="one")
    toy.run(TWO, work="two")
    one, two = (
        {p.relative_to(toy.root / w): p.read_bytes() for p in (toy.root / w).rglob("*.txt")}
        for w in ("one", "two")
    )
    assert one == two
    assert len(one) == 8


@pytest.mark.parametrize("plugin", ["linear", "multiproc"])
def test_a_step_has_the_threads_that_it_is_given(toy, plugin):
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    toy.write("ses-a", "threads")
    toy.run(Execution(plugin=plugin, nprocs=2, omp_nthreads=before + 3))
    (image,) = (toy.root / "work").rglob("ses-a_prepare/**/image.txt")
    assert image.read_text() == str(before + 3)
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == before


def test_processors_are_shared_among_the_steps(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [Execution(nprocs=n).threads for n in (1, 3, 8, 20)] == [8, 2, 1, 1]
    assert Execution(nprocs=3, omp_nthreads=5).threads == 5


def test_a_moved_work_folder_is_not_trusted(toy):
    toy.run()
    (toy.root / "work").rename(toy.root / "elsewhere")
    toy.called()
    toy.run(work="elsewhere")
    assert toy.called() == ALL


def test_a_lost_file_is_made_again(toy):
    toy.run()
    toy.called()
    (toy.root / "work" / "sub-1" / "ses-a_segment" / "mask.txt").unlink()
    assert toy.plan()["ses-a_segment"] == ("stale", "mask.txt is gone")
    toy.run()
    assert "ses-a_segment" in toy.called()


def test_a_half_written_result_is_not_accepted(toy):
    toy.run()
    result = toy.root / "work" / "sub-1" / "ses-a_segment" / "result.json"
    result.write_text(result.read_text()[:-10])
    toy.called()
    toy.run()
    assert "ses-a_segment" in toy.called()


PATIENCE_S = 120.0
"""A loaded machine needs many seconds to start a process that imports nipype."""


def _wait_until(happened):
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _processes_below(folder):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").resolve().is_relative_to(folder):
                found.append(entry.name)
        except OSError:
            continue  # it ended while we looked
    return found


@pytest.mark.parametrize("nprocs", [1, 2])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_a_run_ended_in_the_middle_is_taken_up_again(toy, nprocs, signum):
    toy.write("ses-b", "wait")
    script = toy.root / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import signal
        import sys
        from pathlib import Path
        # A shell's background job starts with Ctrl-C ignored; this run must hear it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from conftest import Toy
        from mripipe.interfaces.engine import Execution
        Toy(Path({str(toy.root)!r})).run(Execution(nprocs={nprocs}))
        """)
    )
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, text=True)
    calls = toy.root / "calls"
    _wait_until(lambda: calls.exists() and "ses-b_prepare" in calls.read_text())
    time.sleep(0.3)
    process.send_signal(signum)
    errors = process.communicate(timeout=PATIENCE_S)[1]
    if signum == signal.SIGINT:
        assert "KeyboardInterrupt" in errors
    toy.called()
    # A killed run's worker notices within a second or so; it would otherwise finish its step first.
    _wait_until(lambda: not _processes_below(toy.root / "work"))
    (toy.root / "calls.go").touch()
    assert set(toy.run().values()) == {"done"}
    assert "ses-b_prepare" in toy.called()


def test_an_unknown_plugin_is_named(toy):
    with pytest.raises(RequestError, match="no such plugin: 'nosuch'"):
        toy.run(Execution(plugin="nosuch"))


def test_a_failure_that_repeats_leaves_the_rest_unchanged(toy, capsys):
    toy.write("ses-a", "bad")
    toy.run()
    capsys.readouterr()
    toy.run()
    assert "sub-1  align  unchanged" in capsys.readouterr().err


def test_a_step_refuses_arguments_it_does_not_have(toy):
    import toysteps

    with pytest.raises(TypeError, match="no parameter colour"):
        step_node(toysteps.segment, "x", visit=("sub-1", None), colour=1)
    with pytest.raises(TypeError, match="gain"):
        step_node(toysteps.segment, "x", visit=("sub-1", None), settings=toysteps.ToySettings(gain="2"))


def test_results_hold_the_digest_of_every_file(toy):
    toy.run()
    document = json.loads((toy.root / "work/sub-1/ses-a_segment/result.json").read_text())
    assert sorted(Path(p).name for p in document["files"]) == ["image.txt", "mask.txt", "ses-a.txt"]
    assert engine.POLL_SECONDS < 1
