from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mripipe.interfaces.engine import Execution, plan_graph, prepare_graph, run_graph
from mripipe.interfaces.locks import locked
from mripipe.interfaces.step import step_node
from mripipe.model.study import Scan, Session

sys.path.insert(0, str(Path(__file__).parent))
import toysteps

LINEAR = Execution(plugin="linear")


@dataclass
class Toy:
    """A participant with visits, each a text file, and a work folder."""

    root: Path
    gain: int = 1
    mask: Path | None = None
    sessions: tuple[str, ...] = ("ses-a", "ses-b")

    def write(self, session: str, text: str) -> None:
        (self.root / f"{session}.txt").write_text(text)

    def workflow(self, work: str = "work") -> Any:
        from nipype import Workflow

        graph = Workflow(name="sub-1")
        segmented = {}
        for name in self.sessions:
            visit = ("sub-1", name)
            session = Session(*visit, scans=(Scan(self.root / f"{name}.txt", "T1w"),))
            mask = {"mask": self.mask}
            first = step_node(toysteps.prepare, f"{name}_prepare", visit=visit, beside=mask, session=session)
            settings = toysteps.ToySettings(self.gain)
            second = step_node(toysteps.segment, f"{name}_segment", visit=visit, settings=settings)
            graph.connect(first, "result", second, "prepared")
            segmented[name] = second
        count = len(segmented)
        aligned = step_node(toysteps.align, "align", visit=("sub-1", None), many={"visits": count})
        last = step_node(toysteps.finish, "finish", visit=("sub-1", None), many={"visits": count})
        for i, (name, node) in enumerate(segmented.items(), start=1):
            measured = step_node(toysteps.measure, f"{name}_measure", visit=("sub-1", name))
            graph.connect(node, "result", aligned, f"visits_{i}")
            graph.connect([(node, measured, [("result", "segmented")])])
            graph.connect([(aligned, measured, [("result", "aligned")])])
            graph.connect(measured, "result", last, f"visits_{i}")
        prepare_graph(graph, work_dir=self.root / work, logs=self.root / "logs")
        return graph

    def run(self, execution: Execution = LINEAR, work: str = "work") -> dict[str, str]:
        """Run and give each step's final state."""
        logs = self.root / "logs"
        with locked([self.root / work / "run.lock"]):
            steps = run_graph(self.workflow(work), logs=logs, execution=execution)
        return {step.result.parent.name: step.state for step in steps}

    def plan(self, retry: bool = True) -> dict[str, tuple[str, str]]:
        steps = plan_graph(self.workflow(), retry=retry)
        return {step.result.parent.name: (step.state, step.why) for step in steps}

    def called(self) -> list[str]:
        """Give the steps called since the last time this was asked."""
        log = self.root / "calls"
        names = log.read_text().split() if log.exists() else []
        log.write_text("")
        return sorted(names)

    def output(self, node: str, work: str = "work") -> str:
        return (self.root / work / "sub-1" / node / "out.txt").read_text()


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Toy]:
    """Two visits, not yet run."""
    monkeypatch.setenv("TOY_CALLS", str(tmp_path / "calls"))
    made = Toy(tmp_path)
    made.write("ses-a", "apple")
    made.write("ses-b", "berry")
    return made
