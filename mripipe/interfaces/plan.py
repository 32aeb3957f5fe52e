"""What a workflow would do, by nipype's own hashes, without doing it."""

from __future__ import annotations

import glob
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nipype.pipeline.engine.utils import topological_sort
from nipype.pipeline.plugins.base import PluginBase

from mripipe.model.failure import Failure

from .codec import decode
from .step import RESULT_NAME

State = Literal["done", "stale", "failed", "to do"]

REASONS = {
    "code": "the program has changed",
    "place": "the work folder was moved",
    "arguments": "its input files or settings have changed",
}


@dataclass(frozen=True)
class PlannedStep:
    """One step of a run and whether it needs doing."""

    participant_id: str
    session_id: str | None
    step: str
    state: State
    why: str
    """Empty for a step that is done or was never tried."""
    result: Path
    """Where the step's result is or will be."""
    function: str
    """The step's function, as ``module:name``."""


class PlanPlugin(PluginBase):  # type: ignore[misc]
    """A nipype plugin that runs nothing; `steps` is the plan after the workflow's ``run``.

    `retry` says whether failed steps are about to be tried again, so that what depends on them waits.
    """

    def __init__(self, *, retry: bool) -> None:
        super().__init__({})
        self._settled = ("done",) if retry else ("done", "failed")
        self.steps: tuple[PlannedStep, ...] = ()

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Plan every node, each after those that it takes results from."""
        planned: dict[Any, PlannedStep] = {}
        for node in topological_sort(graph)[0]:
            before = [planned[source] for source in graph.predecessors(node)]
            undone = [step for step in before if step.state not in self._settled]
            planned[node] = _plan(node, undone)
        self.steps = tuple(planned.values())


def _plan(node: Any, undone: list[PlannedStep]) -> PlannedStep:
    result = Path(node.output_dir()) / RESULT_NAME
    state, why = _state(node, undone, result)
    participant, session = node.interface.visit
    interface = node.interface
    return PlannedStep(participant, session, interface.step, state, why, result, interface.function)


def _state(node: Any, undone: list[PlannedStep], result: Path) -> tuple[State, str]:
    document = _read(result)
    if document is None or not _hash_files(node):
        return "to do", ""
    if "failure" in document:
        return "failed", decode(document["failure"], Failure).message
    missing = [path for path, digest in document["files"].items() if digest and not os.path.exists(path)]
    if missing:
        return "stale", f"{Path(missing[0]).name} is gone"
    if undone:
        return "stale", f"{undone[0].step} comes first"
    cached, updated = node.is_cached()
    if cached and updated:
        return "done", ""
    return "stale", _why(node)


def _why(node: Any) -> str:
    """Compare the inputs that nipype saved with the node's; call before they are overwritten."""
    saved = dict(json.loads(Path(_hash_files(node)[0]).read_text(encoding="utf-8")))
    for name, value in node._hashed_inputs:
        if json.loads(json.dumps(value)) != saved.get(name):
            return REASONS.get(name, f"the result of an earlier step has changed ({name})")
    return "an input is no longer there"


def _hash_files(node: Any) -> list[str]:
    found = glob.glob(os.path.join(glob.escape(node.output_dir()), "_0x*.json"))
    return [path for path in found if not path.endswith("_unfinished.json")]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document
