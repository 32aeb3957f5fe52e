"""A cluster of one node, and studies whose tasks run `standin`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import nibabel as nib
import numpy as np

STANDIN = Path(__file__).parent / "standin.py"
PATIENCE_SECONDS = 240


@dataclass(frozen=True)
class Cluster:
    """A SLURM of one node, as the environment that its commands need."""

    environment: dict[str, str]

    def ask(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def node(self, state: str) -> None:
        name = self.ask("sinfo", "--noheader", "--format=%n").strip()
        self.ask("scontrol", "update", f"nodename={name}", f"state={state}", "reason=test")


@dataclass(frozen=True)
class Trial:
    """A study of small images whose tasks run `standin`, and what they are told to do."""

    root: Path
    environment: dict[str, str]
    # What a shell or a scheduler could take for something else.
    name: str = "out put 100%a"

    @property
    def bids(self) -> Path:
        return self.root / "bids"

    @property
    def out(self) -> Path:
        return self.root / self.name

    def image(self, who: str) -> Path:
        return self.bids / who / "ses-a" / "anat" / f"{who}_ses-a_T1w.nii.gz"

    def tell(self, who: str, what: str) -> Path:
        path = self.root / "behaviour" / who
        path.write_text(what)
        return path

    def start(
        self, *options: str, scheduler: str = "slurm", error: IO[str] | int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        site = ["--scheduler", scheduler, "--site", str(self.root / "site.toml")]
        words = [sys.executable, str(STANDIN), "batch", str(self.bids), str(self.out), *site, *options]
        return subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, stderr=error, text=True)

    def batch(self, *options: str, scheduler: str = "slurm") -> tuple[int, str, str]:
        process = self.start(*options, scheduler=scheduler)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, out, err

    def volumes(self) -> dict[str, str]:
        """Status of each row of the table of volumes."""
        lines = [line.split("\t") for line in (self.out / "lesion_volumes.tsv").read_text().splitlines()]
        return {line[0]: line[lines[0].index("status")] for line in lines[1:]}


def new_trial(root: Path, n: int, environment: dict[str, str]) -> Trial:
    """Write a study of `n` participants and a site profile that starts `standin`."""
    (root / "behaviour").mkdir()
    command = f'["{sys.executable}", "{STANDIN}"]'
    (root / "site.toml").write_text(f"command = {command}\nnprocs = 1\n")
    trial = Trial(root, {**environment, "TOY_BEHAVIOUR": str(root / "behaviour"), "OMP_NUM_THREADS": "1"})
    for number in range(1, n + 1):
        write_image(trial.image(f"sub-{number}"), number)
    return trial


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).random((12, 12, 12), np.float32) + 1
    image = nib.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.to_filename(path)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that must come."""
    patience = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < patience, f"waited in vain: {what}"
        time.sleep(0.2)
