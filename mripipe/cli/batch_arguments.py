"""What can be asked of ``mripipe batch``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from mripipe.model.settings import Level, Segmenter
from mripipe.model.site import Scheduler

from .arguments import count, gigabytes


def add_batch(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    """Add the command to a parser."""
    batch = commands.add_parser(
        "batch",
        parents=[common],
        help="hand a study to a cluster: a task a participant, then the group stage",
    )
    batch.add_argument("bids_dir", type=Path, metavar="BIDS_DIR")
    batch.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    _add_what(batch)
    _add_how(batch)
    action = batch.add_mutually_exclusive_group()
    action.add_argument("--dry-run", action="store_true", help="print the scripts, and submit nothing")
    action.add_argument("--wait", action="store_true", help="follow until all is done; exit status 1 if not")
    action.add_argument("--summary", action="store_true", help="say what became of everyone, no more")


def _add_what(batch: argparse.ArgumentParser) -> None:
    batch.add_argument("--participant-label", nargs="+", metavar="L", help="only these participants")
    batch.add_argument(
        "-d", "--derivatives", type=Path, nargs="+", action="extend", default=[], metavar="DIR",
        help="folders with expert lesion masks",
    )  # fmt: skip
    batch.add_argument("-w", "--work-dir", type=Path, metavar="DIR", help="intermediate files (OUT_DIR/work)")
    batch.add_argument("--skip-dwi", action="store_true", help="leave diffusion out")
    batch.add_argument(
        "--atlas",
        nargs="+",
        metavar="NAME",
        help="installed atlases whose regions are measured too",
    )
    batch.add_argument("--segmenter", choices=get_args(Segmenter), help="how the infarct is found")
    batch.add_argument("--level", choices=get_args(Level), help="how closely images are matched")
    batch.add_argument("--config", type=Path, metavar="FILE.toml", help="settings; options here win over it")
    batch.add_argument("--plan", type=Path, metavar="FILE.toml", help="the group level's analyses")


def _add_how(batch: argparse.ArgumentParser) -> None:
    batch.add_argument("--scheduler", choices=get_args(Scheduler), help="else the site profile's")
    batch.add_argument("--site", type=Path, metavar="FILE.toml", help="site profile, else the user's own")
    batch.add_argument("--nprocs", type=count, metavar="N", help="steps at the same time in a task (2)")
    batch.add_argument("--mem-gb", type=gigabytes, metavar="G", help="memory of a task, else by the images")
    batch.add_argument("--time", type=count, metavar="MINUTES", help="time of a task, else by the images")
    batch.add_argument("--array-limit", type=count, metavar="N", help="tasks at the same time")
    batch.add_argument(
        "--poll", type=count, default=15, metavar="SECONDS", help="how often --wait looks (15)"
    )
