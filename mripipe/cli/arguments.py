"""What can be asked for on the command line."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import get_args

from mripipe import __version__
from mripipe.model.settings import Level, Segmenter


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; each command's name ends up in ``command``."""
    # It takes its kinds of numbers from here.
    from .batch_arguments import add_batch

    parser = argparse.ArgumentParser(
        prog="mripipe", description="Serial MRI of stroke: infarct volume at every visit, with a report."
    )
    parser.add_argument("--version", action="version", version=f"mripipe {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="show the traceback of an error")
    _add_run(commands, common)
    _add_demo(commands, common)
    check = commands.add_parser(
        "check", parents=[common], help="what a study holds and what is wrong with it"
    )
    check.add_argument("bids_dir", type=Path, metavar="BIDS_DIR")
    _add_derivatives(check)
    status = commands.add_parser("status", parents=[common], help="how far a run has come")
    status.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    _add_rerun_check(commands, common)
    add_batch(commands, common)
    _add_atlas(commands, common)
    _add_agree(commands, common)
    _add_ingest(commands, common)
    return parser


def count(text: str) -> int:
    """Read a number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return number


def gigabytes(text: str) -> float:
    """Read an amount of memory above 0."""
    amount = float(text)
    if not 0 < amount < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of gigabytes above 0, got {text}")
    return amount


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _add_run(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    run = commands.add_parser("run", parents=[common], help="process a study, or take up where it was left")
    run.add_argument("bids_dir", type=Path, metavar="BIDS_DIR")
    run.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    run.add_argument("level_of_analysis", choices=("participant", "group"))
    run.add_argument("--participant-label", nargs="+", metavar="L", help="only these participants")
    run.add_argument("--session-label", nargs="+", metavar="L", help="only these visits")
    _add_derivatives(run)
    run.add_argument("-w", "--work-dir", type=Path, metavar="DIR", help="intermediate files (OUT_DIR/work)")
    run.add_argument("--skip-dwi", action="store_true", help="leave diffusion out")
    run.add_argument(
        "--atlas",
        nargs="+",
        metavar="NAME",
        help="installed atlases whose regions are measured too",
    )
    run.add_argument("--segmenter", choices=get_args(Segmenter), help="how the infarct is found")
    run.add_argument("--level", choices=get_args(Level), help="how closely images are matched")
    run.add_argument("--config", type=Path, metavar="FILE.toml", help="settings; options here win over it")
    run.add_argument("--reports-only", action="store_true", help="write reports and tables again, no more")
    run.add_argument("--dry-run", action="store_true", help="say what would be done and why, and do nothing")
    _add_group(run)
    _add_execution(run)


def _add_group(run: argparse.ArgumentParser) -> None:
    group = run.add_argument_group("group level only")
    group.add_argument("--plan", type=Path, metavar="FILE.toml", help="analyses written before the data")
    group.add_argument(
        "--masks", type=Path, metavar="DIR", help="lesion masks in MNI space instead of OUT_DIR's own results"
    )
    group.add_argument("--unblind", type=Path, metavar="KEY.tsv", help="arm of each participant; recorded")


def _add_execution(run: argparse.ArgumentParser) -> None:
    run.add_argument("--nprocs", type=count, default=processors(), metavar="N", help="steps at the same time")
    run.add_argument("--omp-nthreads", type=count, metavar="N", help="threads of a step, for resampling")
    run.add_argument("--mem-gb", type=gigabytes, metavar="G", help="memory for all steps together")
    plugin = run.add_mutually_exclusive_group()
    plugin.add_argument("--plugin", default="multiproc", metavar="NAME", help="linear, multiproc, slurm, ...")
    plugin.add_argument(
        "--use-plugin", type=Path, metavar="FILE", help="TOML or JSON: plugin and plugin_args"
    )
    run.add_argument("--stop-on-first-crash", action="store_true", help="end the run at the first failure")


def _add_demo(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    demo = commands.add_parser(
        "demo", parents=[common], help="make a synthetic trial, run it, show the report"
    )
    demo.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    demo.add_argument("--patients", type=count, default=2, metavar="N")
    demo.add_argument("--full-size", action="store_true", help="images of a clinical resolution; slower")
    demo.add_argument(
        "--nprocs", type=count, default=processors(), metavar="N", help="steps at the same time"
    )


def _add_rerun_check(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    rerun = commands.add_parser(
        "rerun-check", parents=[common], help="run a visit again elsewhere and compare every byte"
    )
    rerun.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    rerun.add_argument("--participant-label", required=True, metavar="L")
    rerun.add_argument("--session-label", metavar="L", help="one visit alone; else all of the participant's")
    rerun.add_argument(
        "-w", "--work-dir", type=Path, metavar="DIR", help="where the scratch folder is made (the system's)"
    )
    rerun.add_argument(
        "--nprocs", type=count, default=processors(), metavar="N", help="steps at the same time"
    )


def _add_atlas(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    atlas = commands.add_parser("atlas", help="list, show or install atlases")
    actions = atlas.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", parents=[common], help="the atlases that can be used")
    show = actions.add_parser("show", parents=[common], help="where an atlas comes from, and its labels")
    show.add_argument("name", metavar="NAME")
    install = actions.add_parser("install", parents=[common], help="add an atlas from a file, checked")
    install.add_argument("file", type=Path, metavar="FILE.nii.gz")
    install.add_argument("label_table", type=Path, metavar="LABELS")
    install.add_argument("--name", required=True, help="name to use it by")
    install.add_argument("--space", required=True, help="template space, such as MNI152NLin6Asym")
    install.add_argument("--licence", default="n/a")


def _add_agree(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    agree = commands.add_parser("agree", parents=[common], help="compare lesion masks with a reference")
    agree.add_argument("reference", type=Path, metavar="REFERENCE", help="a mask, or a folder of masks")
    agree.add_argument(
        "tests", type=Path, nargs="+", metavar="TEST", help="masks on its grid, or one folder of masks"
    )
    agree.add_argument("--output", type=Path, metavar="FILE.tsv", help="write the table there as well")


def _add_ingest(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    ingest = commands.add_parser(
        "ingest", parents=[common], help="take DICOM into a BIDS dataset, without identities"
    )
    ingest.add_argument("dicom_dir", type=Path, metavar="DICOM_DIR", help="a folder, or a zip or tar archive")
    ingest.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="made, or given new visits")
    ingest.add_argument(
        "--protocol", type=Path, metavar="FILE.toml", help="which series is which (built-in rules)"
    )
    ingest.add_argument(
        "--mapping", type=Path, metavar="FILE.tsv", help="whose scan of which day is which visit"
    )
    ingest.add_argument(
        "--write-mapping", type=Path, metavar="FILE.tsv", help="begin a mapping table, and do nothing else"
    )
    ingest.add_argument("--dry-run", action="store_true", help="match series only, and write nothing")
    ingest.add_argument("--deface", action="store_true", help="blank the face of anatomical images; slow")
    ingest.add_argument(
        "--max-unpacked-gb", type=gigabytes, default=100.0, metavar="G", help="most to unpack from archives"
    )


def _add_derivatives(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d", "--derivatives", type=Path, nargs="+", action="extend", default=[], metavar="DIR",
        help="folders with expert lesion masks",
    )  # fmt: skip
