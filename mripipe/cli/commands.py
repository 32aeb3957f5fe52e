"""The commands, each from parsed arguments to whether all that was asked for is done."""

from __future__ import annotations

import json
import sys
import tomllib
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mripipe.bids.files import write_atomic
from mripipe.bids.names import OutputPaths
from mripipe.bids.reader import read_study
from mripipe.errors import RequestError
from mripipe.model.settings import Settings, read_settings, settings_from_tables
from mripipe.model.study import Study

if TYPE_CHECKING:
    from mripipe.interfaces.execution import Execution
    from mripipe.workflows.run import RunOutcome

QUICK: dict[str, Any] = {"t1w_mm": 1.5, "flair_mm": (1.5, 1.5, 4.0), "with_dwi": False}
"""The demo's images: coarse, so that it takes minutes."""
FULL_SIZE: dict[str, Any] = {"t1w_mm": 1.0, "flair_mm": (1.0, 1.0, 4.0), "with_dwi": True}


def run(given: Namespace) -> bool:
    """``mripipe run``: process a study."""
    check_folders(given.bids_dir, given.out_dir)
    if given.level_of_analysis == "group":
        from .group import run_group

        return run_group(given)
    if misplaced := [name for name in ("plan", "masks", "unblind") if getattr(given, name) is not None]:
        raise RequestError(f"--{misplaced[0]} belongs to the group level; leave it out")
    from mripipe.workflows.run import make_folder, report_again, run_participants

    settings = settings_of(given)
    study = read_study(
        given.bids_dir,
        derivatives=given.derivatives,
        participants=given.participant_label,
        sessions=given.session_label,
    )
    work_dir = (given.work_dir or given.out_dir / "work").absolute()
    if given.dry_run:
        return _dry_run(study, given.out_dir, work_dir, settings)
    if given.reports_only:
        return _conclude(study, report_again(study, given.out_dir.absolute(), settings=settings))
    make_folder(given.out_dir)
    note_run(given.out_dir, given.bids_dir, given.derivatives, work_dir, settings)
    outcome = run_participants(
        study, given.out_dir, work_dir=work_dir, settings=settings, execution=_execution(given)
    )
    return _conclude(study, outcome)


def demo(given: Namespace) -> bool:
    """``mripipe demo``: make the synthetic trial and run it."""
    from mripipe.interfaces.execution import Execution
    from mripipe.workflows.run import make_folder, run_participants

    bids_dir = _make_trial(make_folder(given.out_dir.absolute()), given.patients, given.full_size)
    out_dir = make_folder(bids_dir.parent / "derivatives" / "mripipe")
    work_dir, settings = out_dir / "work", Settings()
    study = read_study(bids_dir)
    note_run(out_dir, bids_dir, [], work_dir, settings)
    execution = Execution(nprocs=given.nprocs)
    outcome = run_participants(study, out_dir, work_dir=work_dir, settings=settings, execution=execution)
    return _conclude(study, outcome)


def check(given: Namespace) -> bool:
    """``mripipe check``: show what a study holds; False if a visit cannot run."""
    from mripipe.steps.check import all_can_run, check_study, format_study

    study = check_study(read_study(given.bids_dir, derivatives=given.derivatives))
    sys.stdout.write(format_study(study))
    return all_can_run(study)


def status(given: Namespace) -> bool:
    """``mripipe status``: show each visit's steps as its participant's last run would have them."""
    from .state import show_state

    show_state(given.out_dir.absolute(), *read_run(given.out_dir))
    return True


def rerun_check(given: Namespace) -> bool:
    """``mripipe rerun-check``: run a visit again and compare bytes; False if any differs."""
    from .rerun import check_again

    study, _, _ = read_run(given.out_dir, participants=[given.participant_label])
    return check_again(given, study)


def agree(given: Namespace) -> bool:
    """``mripipe agree``: compare masks; False if a pair could not be compared."""
    from .agree import agree as compare

    return compare(given)


def batch(given: Namespace) -> bool:
    """``mripipe batch``: hand a study to a scheduler; False if somebody is missing at the end."""
    from .batch import batch as hand_over

    return hand_over(given)


def ingest(given: Namespace) -> bool:
    """``mripipe ingest``: take DICOM in; False if something was not taken in."""
    from .ingest import ingest_command

    return ingest_command(given)


def atlas(given: Namespace) -> bool:
    """``mripipe atlas``: list, show or install."""
    if given.action == "install":
        from mripipe.atlases.install import install_atlas

        installed = install_atlas(
            given.file, given.label_table, name=given.name, space=given.space, licence=given.licence
        )
        print(f"{installed.name}: {installed.n_labels} labels, installed in {installed.folder}")
        for note in installed.notes:
            print(f"note: {note}")
        return True
    from mripipe.atlases.atlas import describe_atlas, list_atlases

    print(list_atlases() if given.action == "list" else describe_atlas(given.name))
    return True


def settings_of(given: Namespace) -> Settings:
    """Return the settings of the file that was given, and over it those of the options."""
    settings = read_settings(given.config) if given.config else Settings()
    if given.skip_dwi:
        settings = replace(settings, diffusion=replace(settings.diffusion, skip=True))
    if given.atlas:
        settings = replace(settings, diffusion=replace(settings.diffusion, atlases=tuple(given.atlas)))
    _check_atlases(settings.diffusion.atlases)
    if given.segmenter:
        settings = replace(settings, lesion=replace(settings.lesion, segmenter=given.segmenter))
    if given.level:
        settings = replace(settings, registration=replace(settings.registration, level=given.level))
    return settings


def _check_atlases(names: Sequence[str]) -> None:
    """Refuse atlases that are not there, or cannot be read, before anything is done."""
    if names:
        from mripipe.atlases.atlas import load_atlas

        for name in names:
            load_atlas(name)


def _execution(given: Namespace) -> Execution:
    from mripipe.interfaces.execution import Execution

    plugin: str = given.plugin
    arguments: dict[str, Any] = {}
    if given.use_plugin:
        plugin, arguments = _read_plugin(given.use_plugin)
    return Execution(
        plugin=plugin,
        nprocs=given.nprocs,
        omp_nthreads=given.omp_nthreads,
        mem_gb=given.mem_gb,
        plugin_args=tuple(arguments.items()),
        stop_on_first_crash=given.stop_on_first_crash,
    )


def _read_plugin(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a nipype plugin's name and arguments from TOML or JSON."""
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        arguments = document.get("plugin_args", {})
        plugin, unknown = str(document["plugin"]), set(document) - {"plugin", "plugin_args"}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RequestError(
            f"{path}: expected TOML or JSON with plugin and plugin_args ({error!r})"
        ) from error
    if unknown or not isinstance(arguments, dict):
        raise RequestError(
            f"{path}: expected plugin and a table plugin_args, got {', '.join(sorted(document))}"
        )
    return plugin, arguments


def check_folders(bids_dir: Path, out_dir: Path) -> None:
    """Refuse to write into the study itself."""
    if bids_dir.resolve() == out_dir.resolve():
        raise RequestError(f"{out_dir}: OUT_DIR is BIDS_DIR itself; choose a folder of its own")


def _run_record(out_dir: Path) -> Path:
    return OutputPaths(out_dir).logs / "run.json"


def note_run(
    out_dir: Path, bids_dir: Path, derivatives: list[Path], work_dir: Path, settings: Settings
) -> None:
    """Write down what `status` has to know."""
    note = {
        "bids_dir": str(bids_dir.absolute()),
        "derivatives": [str(folder.absolute()) for folder in derivatives],
        "work_dir": str(work_dir),
        "settings": asdict(settings),
    }
    write_atomic(_run_record(out_dir), json.dumps(note, indent=2) + "\n")


def read_run(out_dir: Path, *, participants: list[str] | None = None) -> tuple[Study, Path, Settings]:
    """Return the study, work folder and settings of the last run, as `note_run` wrote them down.

    Raises
    ------
    RequestError
        There has been no run, or its study cannot be read.

    """
    try:
        note = json.loads(_run_record(out_dir).read_text(encoding="utf-8"))
        bids_dir, derivatives, work_dir = note["bids_dir"], note["derivatives"], Path(note["work_dir"])
        settings = settings_from_tables(note["settings"])
    except (OSError, KeyError, ValueError) as error:
        raise RequestError(f"{out_dir}: no run to show ({error}); start one with mripipe run") from error
    return read_study(bids_dir, derivatives=derivatives, participants=participants), work_dir, settings


def _make_trial(out_dir: Path, patients: int, full_size: bool) -> Path:
    """Write the demo's trial, or find it whole from an earlier call with the same options."""
    from mripipe.steps.phantom_study import write_trial

    options: dict[str, Any] = {"patients": patients} | (FULL_SIZE if full_size else QUICK)
    made = out_dir / "demo.json"
    text = json.dumps(options) + "\n"
    if made.is_file():
        if made.read_text(encoding="utf-8") != text:
            raise RequestError(f"{out_dir}: a demo with other options lies here; choose another folder")
        return out_dir / "bids"
    print(f"making {patients} synthetic patients in {out_dir}", file=sys.stderr, flush=True)
    bids_dir = write_trial(out_dir, **options)
    write_atomic(made, text)
    return bids_dir


def _dry_run(study: Study, out_dir: Path, work_dir: Path, settings: Settings) -> bool:
    from mripipe.workflows.run import plan_participants

    from .state import print_steps

    steps = plan_participants(study, out_dir, work_dir=work_dir, settings=settings)
    print_steps(study, steps)
    undone = sum(step.state != "done" for step in steps)
    print(f"{undone} of {len(steps)} steps to do")
    return True


def _conclude(study: Study, outcome: RunOutcome) -> bool:
    """Say what came of a run: reports on standard output, what failed on standard error."""
    for subject in outcome.subjects:
        if subject.report is not None:
            print(subject.report)
    errors = [problem.message for problem in study.problems if problem.level == "error"]
    for message in errors:
        print(f"error: {message}", file=sys.stderr)
    for failure in outcome.failures:
        who = " ".join(part for part in (failure.participant_id, failure.session_id) if part)
        print(f"failed: {who}: {failure.message}", file=sys.stderr)
    visits = [visit for subject in outcome.subjects for visit in subject.visits]
    done = sum(visit.error is None for visit in visits)
    print(f"{done} of {len(visits)} visits done", file=sys.stderr)
    return not outcome.failures and not errors
