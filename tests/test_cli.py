"""The command line: what is asked for, exit statuses, one line an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import mripipe
from mripipe.cli import commands, main
from mripipe.errors import InputError
from mripipe.interfaces.engine import Execution
from mripipe.model.failure import Failure
from mripipe.model.results import LesionVolumes, SubjectResult, VisitResult
from mripipe.model.settings import RegistrationSettings, Settings
from mripipe.workflows.run import RunOutcome


@pytest.fixture
def bids(tmp_path):
    """One participant, two visits."""
    root = tmp_path / "bids"
    rng = np.random.default_rng(1)
    for session in ("a", "b"):
        path = root / "sub-1" / f"ses-{session}" / "anat" / f"sub-1_ses-{session}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        image = nib.Nifti1Image(rng.random((12, 12, 12), np.float32) + 1, np.diag([2.0, 2, 2, 1]))
        image.set_qform(image.affine, code=1)
        image.set_sform(image.affine, code=1)
        image.to_filename(path)
    return root


@pytest.fixture
def asked(monkeypatch):
    """Take the place of the run; keep what it was asked for."""
    calls = []
    volumes = LesionVolumes("sub-1", "ses-a", "ok")
    result = SubjectResult("sub-1", (VisitResult("sub-1", "ses-a", volumes),), report=Path("/o/sub-1.html"))

    def fake(study, out_dir, **options):
        calls.append({"study": study, "out_dir": out_dir, **options})
        return RunOutcome((result,), calls[0].get("failures", ()))

    monkeypatch.setattr("mripipe.workflows.run.run_participants", fake)
    return calls


def error_of(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"mripipe {mripipe.__version__}\n"


def test_as_a_module_and_without_loading_what_is_not_needed():
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "mripipe", "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == f"mripipe {mripipe.__version__}"
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nosuch"],
        ["run", "a"],
        ["run", "a", "b", "everyone"],
        ["run", "a", "b", "participant", "--nprocs", "0"],
        ["run", "a", "b", "participant", "--mem-gb", "-1"],
        ["run", "a", "b", "participant", "--level", "slow"],
        ["run", "a", "b", "participant", "--plugin", "linear", "--use-plugin", "p.toml"],
        ["atlas"],
    ],
)
def test_what_cannot_be_understood_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: mripipe" in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert main(["run", str(tmp_path / "none"), str(tmp_path / "out"), "participant"]) == 2
    assert "none: no such folder" in error_of(capsys)
    assert not (tmp_path / "out").exists()


def test_the_group_level_asks_for_the_participant_level(bids, tmp_path, capsys):
    assert main(["run", str(bids), str(tmp_path / "out"), "group"]) == 2
    assert "run the participant level first" in error_of(capsys)


def test_the_output_must_not_be_the_input(bids, capsys):
    assert main(["run", str(bids), str(bids), "participant"]) == 2
    assert "choose a folder of its own" in error_of(capsys)


def test_a_run_by_default(bids, tmp_path, asked, capsys):
    out = tmp_path / "out"
    assert main(["run", str(bids), str(out), "participant"]) == 0
    (call,) = asked
    assert call["work_dir"] == out / "work"
    assert call["settings"] == Settings()
    assert call["execution"] == Execution(nprocs=len(os.sched_getaffinity(0)))
    assert [s.session_id for s in call["study"].subject("1").sessions] == ["ses-a", "ses-b"]
    assert capsys.readouterr().out == "/o/sub-1.html\n"


def test_options_reach_the_run(bids, tmp_path, asked):
    config = tmp_path / "c.toml"
    config.write_text('[registration]\nlevel = "standard"\n')
    options = "--session-label b --level fast --nprocs 3 --omp-nthreads 2 --mem-gb 4 --plugin linear"
    arguments = ["run", str(bids), str(tmp_path / "out"), "participant", *options.split()]
    assert (
        main([*arguments, "--stop-on-first-crash", "--config", str(config), "-w", str(tmp_path / "w")]) == 0
    )
    (call,) = asked
    assert call["settings"] == Settings(registration=RegistrationSettings(level="fast"))
    assert call["execution"] == Execution("linear", 3, 4.0, (), stop_on_first_crash=True, omp_nthreads=2)
    assert call["work_dir"] == tmp_path / "w"
    assert [s.session_id for s in call["study"].subject("1").sessions] == ["ses-b"]


def test_a_plugin_from_a_file(bids, tmp_path, asked):
    for name, text in (
        ("p.toml", 'plugin = "slurm"\n[plugin_args]\nsbatch_args = "-t 10"\n'),
        ("p.json", '{"plugin": "slurm", "plugin_args": {"sbatch_args": "-t 10"}}'),
    ):
        (tmp_path / name).write_text(text)
        out = str(tmp_path / "out")
        assert main(["run", str(bids), out, "participant", "--use-plugin", str(tmp_path / name)]) == 0
        assert asked[-1]["execution"].plugin == "slurm"
        assert asked[-1]["execution"].plugin_args == (("sbatch_args", "-t 10"),)


@pytest.mark.parametrize(
    "text", ["plugin = 1\nmore = 2\n", "[plugin_args]\n", "plugin = 'x'\nplugin_args = 3\n", "["]
)
def test_a_bad_plugin_file_is_named(bids, tmp_path, asked, capsys, text):
    (tmp_path / "p.toml").write_text(text)
    out = str(tmp_path / "out")
    assert main(["run", str(bids), out, "participant", "--use-plugin", str(tmp_path / "p.toml")]) == 2
    assert "p.toml: expected" in error_of(capsys)


def test_installed_atlases_by_name(bids, tmp_path, asked, capsys, monkeypatch):
    monkeypatch.setenv("MRIPIPE_ATLASES", str(tmp_path / "none"))
    told = [str(bids), str(tmp_path / "out"), "participant", "--atlas"]
    assert main(["run", *told, "JHU"]) == 2
    assert "no atlas 'JHU'; there are arterial_territories" in error_of(capsys)
    assert not asked
    settings = tmp_path / "s.toml"
    settings.write_text('[diffusion]\natlases = ["arterial_territories", "arterial_territories"]\n')
    assert main(["run", *told[:-1], "--config", str(settings)]) == 0
    assert asked[0]["settings"].diffusion.atlases == ("arterial_territories",)
    settings.write_text('[diffusion]\natlases = "JHU"\n')
    capsys.readouterr()
    assert main(["run", *told[:-1], "--config", str(settings)]) == 2
    assert "atlases must be a list of names; got 'JHU'" in error_of(capsys)


def test_a_failed_visit_gives_1_and_is_named(bids, tmp_path, monkeypatch, capsys):
    outcome = RunOutcome((), (Failure("sub-1", "ses-a", "prepare_visit", "x.nii: not an image"),))
    monkeypatch.setattr("mripipe.workflows.run.run_participants", lambda *_, **__: outcome)
    assert main(["run", str(bids), str(tmp_path / "out"), "participant"]) == 1
    assert "failed: sub-1 ses-a: x.nii: not an image" in capsys.readouterr().err


def test_a_participant_whose_label_is_unfit_gives_1(bids, tmp_path, asked, capsys):
    (bids / "sub-<b>").mkdir()
    assert main(["run", str(bids), str(tmp_path / "out"), "participant"]) == 1
    assert "error: sub-<b>" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("a.nii: cut\nshort"), 1, "mripipe: error: a.nii: cut short"),
        (OSError(28, "No space left on device", "/o/x"), 1, "mripipe: error: /o/x: No space left on device"),
        (KeyError("x"), 1, "mripipe: error: unexpected KeyError: 'x'; -v shows where"),
        (KeyboardInterrupt(), 130, "mripipe: stopped; the same command takes it up where it was"),
    ],
)
def test_errors_are_one_line(bids, tmp_path, monkeypatch, capsys, error, code, line):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("mripipe.workflows.run.run_participants", fail)
    assert main(["run", str(bids), str(tmp_path / "out"), "participant"]) == code
    assert capsys.readouterr().err.strip().startswith(line)
    assert (tmp_path / "out" / "logs" / "crash_mripipe.txt").exists() == (code == 1)


def test_a_traceback_only_when_asked_for(bids, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise InputError("broken")

    monkeypatch.setattr("mripipe.workflows.run.run_participants", fail)
    assert main(["run", "-v", str(bids), str(tmp_path / "out"), "participant"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_output_folder(bids, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir(mode=0o500)
    assert main(["run", str(bids), str(out), "participant"]) == 1
    assert "cannot write" in error_of(capsys)


def test_an_output_folder_that_cannot_be_made(bids, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["run", str(bids), str(tmp_path / "file" / "out"), "participant"]) == 2
    assert "cannot make this folder" in error_of(capsys)


def test_a_dry_run_prints_the_plan_and_writes_nothing(bids, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", str(bids), str(out), "participant", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "to do  sub-1  ses-a  prepare_visit"
    assert lines[-1] == "11 of 11 steps to do"
    assert not out.exists()


def test_check_tells_what_is_there(bids, capsys):
    assert main(["check", str(bids)]) == 0
    assert "2 of 2 visits can run" in capsys.readouterr().out
    (bids / "sub-1/ses-a/anat/sub-1_ses-a_T1w.nii.gz").write_bytes(b"no image")
    assert main(["check", str(bids)]) == 1
    assert "1 of 2 visits can run" in capsys.readouterr().out


def test_status_knows_the_last_run(bids, tmp_path, asked, capsys):
    out = tmp_path / "out"
    assert main(["status", str(out)]) == 2
    assert "no run to show" in error_of(capsys)
    main(["run", str(bids), str(out), "participant", "--level", "fast"])
    assert json.loads((out / "logs" / "run.json").read_text())["settings"]["registration"] == {
        "level": "fast"
    }
    capsys.readouterr()
    assert main(["status", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "to do  sub-1  ses-a",
        "to do  sub-1  ses-b",
        "2 visits: 2 to do",
    ]


def test_a_second_run_to_compare_needs_a_first(tmp_path, capsys):
    assert main(["rerun-check", str(tmp_path), "--participant-label", "1"]) == 2
    assert "no run to show" in error_of(capsys)


def test_atlases(capsys):
    assert main(["atlas", "list"]) == 0
    assert "MNI152NLin2009aSym" in capsys.readouterr().out
    assert main(["atlas", "show", "nosuch"]) == 2
    assert "no atlas 'nosuch'" in error_of(capsys)


def test_a_demo_makes_its_trial_once(tmp_path, monkeypatch, asked, bids, capsys):
    made = []

    def write_trial(out_dir, **options):
        made.append(options)
        bids.rename(out_dir / "bids")
        return out_dir / "bids"

    monkeypatch.setattr("mripipe.steps.phantom_study.write_trial", write_trial)
    demo = tmp_path / "demo"
    assert main(["demo", str(demo), "--patients", "1"]) == 0
    assert capsys.readouterr().out == "/o/sub-1.html\n"
    assert asked[0]["out_dir"] == demo / "derivatives" / "mripipe"
    assert main(["demo", str(demo), "--patients", "1"]) == 0
    assert made == [{"patients": 1, **commands.QUICK}]
    capsys.readouterr()
    assert main(["demo", str(demo), "--patients", "2"]) == 2
    assert "other options" in error_of(capsys)
