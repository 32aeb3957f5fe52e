"""What a workflow would do, without doing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nipype.pipeline.engine.utils import topological_sort
from nipype.pipeline.plugins.base import PluginBase

from .record import PlannedStep, State, StepRecord

__all__ = ["PlanPlugin", "PlannedStep", "State"]


class PlanPlugin(PluginBase):  # type: ignore[misc]
    """A nipype plugin that runs nothing; `records` are the workflow's steps after its ``run``."""

    def __init__(self) -> None:
        super().__init__({})
        self.records: tuple[StepRecord, ...] = ()

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Describe every node, each after those that it takes results from."""
        self.records = tuple(_record(node, graph) for node in topological_sort(graph)[0])


def _record(node: Any, graph: Any) -> StepRecord:
    interface = node.interface
    participant, session = interface.visit
    bound = json.loads(interface.bound)
    wired = [
        (field, _name(source))
        for source, _, data in graph.in_edges(node, data=True)
        for _, field in data["connect"]
    ]
    return StepRecord(
        _name(node),
        participant,
        session,
        interface.function,
        str(Path(node.output_dir())),
        node.inputs.place,
        json.dumps(bound["values"], sort_keys=True),
        tuple(bound["files"]),
        tuple(sorted(wired)),
    )


def _name(node: Any) -> str:
    return f"{node.interface.visit[0]}.{node.name}"
