"""How a run's steps are run; nothing here needs the workflow engine."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Execution:
    """How the steps are run."""

    plugin: str = "multiproc"
    """``multiproc``, ``linear`` or the name of another nipype plugin, in any case."""
    nprocs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Steps at the same time."""
    mem_gb: float | None = None
    """Memory that all steps together may take; None for nine tenths of the machine's."""
    plugin_args: tuple[tuple[str, Any], ...] = ()
    """Further arguments of the nipype plugin."""
    stop_on_first_crash: bool = False
    """Whether the first failed step ends the run."""
    omp_nthreads: int | None = None
    """Threads of one step; None for the processors that there are, shared among `nprocs` steps."""

    @property
    def threads(self) -> int:
        """Return how many threads a step has."""
        return self.omp_nthreads or max(1, len(os.sched_getaffinity(0)) // self.nprocs)
