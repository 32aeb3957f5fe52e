"""Progress on standard error: a line for each finished step, and a bar on a terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO

from . import step as step_module
from .record import RESULT_NAME, PlannedStep
from .steplog import log_step

BAR_WIDTH = 30


class StopAtFirstFailure(BaseException):
    """A step failed and the run was to stop there; not an Exception, which nipype would take for its own."""


class Progress:
    """Told by nipype what starts and ends.

    Parameters
    ----------
    steps : tuple of PlannedStep
        The steps that will run; the others are done already and not mentioned.
    logs : Path
        Folder of logs.
    stop_on_failure : bool
        Whether to raise `StopAtFirstFailure` once a step failed.
    stream : text stream, optional
        Standard error where not given.

    """

    def __init__(
        self,
        steps: tuple[PlannedStep, ...],
        *,
        logs: Path,
        stop_on_failure: bool,
        stream: TextIO | None = None,
    ) -> None:
        self._left = {step.result: _written(step.result) for step in steps}
        self._total = len(steps)
        self._logs = logs
        self._stop = stop_on_failure
        self._stream = stream or sys.stderr

    def __call__(self, node: Any, status: str) -> None:
        """Note that a node reached ``start``, ``end`` or ``exception``."""
        if step_module.interrupted:
            raise KeyboardInterrupt
        result = Path(node.output_dir()) / RESULT_NAME
        if status == "start" or result not in self._left:
            return
        before = self._left.pop(result)
        failure = _failure(result, status)
        count = f"[{self._total - len(self._left)}/{self._total}]"
        outcome = f"failed: {failure}" if failure else f"{node.result.runtime.duration:.1f} s"
        unchanged = status == "end" and before == _written(result)
        if unchanged:
            outcome = "unchanged"
        log_step(
            self._logs,
            node.interface.visit,
            node.interface.step,
            result.parent,
            outcome="unchanged" if unchanged else "failed" if failure else "done",
            message=failure,
        )
        self._write(f"{node.interface.label.replace(' ', '  ')}  {outcome}  {count}")
        if failure and self._stop:
            raise StopAtFirstFailure

    def _write(self, line: str) -> None:
        if not self._stream.isatty():
            print(line, file=self._stream, flush=True)
            return
        done = BAR_WIDTH * (self._total - len(self._left)) // max(self._total, 1)
        end = "\r" if self._left else "\x1b[K"
        bar = f"|{'#' * done}{'.' * (BAR_WIDTH - done)}|" if self._left else ""
        print(f"\x1b[K{line}\n{bar}", end=end, file=self._stream, flush=True)


def _written(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def _failure(result: Path, status: str) -> str | None:
    if status != "end":
        return "stopped; see logs/"
    document = json.loads(result.read_text(encoding="utf-8"))
    message: str | None = document.get("failure", {}).get("fields", {}).get("message")
    return message
