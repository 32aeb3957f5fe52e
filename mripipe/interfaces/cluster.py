"""nipype's own cluster plugins, one job a step, kept from believing what is not so.

Left to themselves they take a job that was killed for one that is done where the step's folder holds an older
result, stop with an error of their own where it holds none, take a silent scheduler for an empty queue, lose
what ``sbatch`` said when it refused, and leave their jobs in the queue when they stop. `mripipe batch` needs
none of them.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from nipype.pipeline.plugins.base import SGELikeBatchManagerBase
from nipype.pipeline.plugins.slurm import SLURMPlugin
from nipype.pipeline.plugins.tools import report_crash

from mripipe.errors import RequestError

DIED = "the cluster's job {job} ended without a result: killed, out of memory or out of time; see its log"
LATE_SECONDS = 15.0
"""How long a network file system may take to show what a finished job wrote."""
LOOK_SECONDS = 1.0
CANCEL = {"SLURM": "scancel", "PBS": "qdel", "SGE": "qdel", "LSF": "bkill", "OAR": "oardel"}


def guarded_plugin(plugin: type[Any], arguments: dict[str, Any]) -> Any:
    """Return an instance of a nipype plugin, guarded where it submits jobs.

    Raises
    ------
    RequestError
        The plugin returns before its jobs have ended, so that nobody could say what became of them.

    """
    name = plugin.__name__.removesuffix("Plugin")
    if name.endswith("Graph"):
        raise RequestError(
            f"the plugin {name} returns before its jobs have ended; give {name.removesuffix('Graph')}, "
            "or use mripipe batch"
        )
    if not issubclass(plugin, SGELikeBatchManagerBase):
        return plugin(plugin_args=arguments)
    # nipype looks for it, and not every shell sets it.
    os.environ.setdefault("LOGNAME", getpass.getuser())
    guards = (_GuardedSlurm,) if issubclass(plugin, SLURMPlugin) else (_Guarded, plugin)
    return type(f"Guarded{name}", guards, {"cancel_command": CANCEL.get(name)})(plugin_args=arguments)


class _Guarded(SGELikeBatchManagerBase):  # type: ignore[misc]
    """What holds for every scheduler."""

    cancel_command: str | None = None

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._nodes: dict[int, Any] = {}

    def close(self) -> None:
        """Take what is still in the queue out of it: without this run nobody would use the results."""
        for job in list(self._pending):
            if self.cancel_command is not None:
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    _ask([self.cancel_command, str(job)])

    def _submit_batchtask(self, scriptfile: str, node: Any) -> int:
        if "%" in node.output_dir():
            raise RequestError(
                f"{node.output_dir()}: nipype's cluster plugins stop at a '%' in a folder's name; choose "
                "another, or use mripipe batch"
            )
        for old in Path(node.output_dir()).glob("result_*.pklz"):
            # Should this job be killed, the older result would be taken for its own.
            old.unlink()
        try:
            job = self._hand_over(scriptfile, node)
        except RequestError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise RequestError(
                f"the scheduler refused the job of {node.interface.label}: {reason}"
            ) from error
        self._nodes[job] = node
        return job

    def _hand_over(self, scriptfile: str, node: Any) -> int:
        job: int = super()._submit_batchtask(scriptfile, node)
        return job

    def _get_result(self, taskid: int) -> Any:
        if self._is_pending(taskid):
            return None
        node = self._nodes[taskid]
        if not self._has_result(node):
            node.interface.forced_failure = DIED.format(job=taskid)
            node.run()
        return super()._get_result(taskid)

    def _has_result(self, node: Any) -> bool:
        patience = time.monotonic() + LATE_SECONDS
        while not list(Path(node.output_dir()).glob("result_*.pklz")):
            if time.monotonic() > patience:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def _report_crash(self, node: Any, result: Any = None) -> Any:
        trace = result["traceback"] if result is not None else None
        if result is not None:
            node._result = result["result"]
        # nipype hands over one text where it expects lines, and fails to add to it.
        return report_crash(
            node, traceback=trace.splitlines(keepends=True) if isinstance(trace, str) else trace
        )


class _GuardedSlurm(_Guarded, SLURMPlugin):  # type: ignore[misc]
    def _is_pending(self, taskid: int) -> bool:
        try:
            done = _ask(["squeue", "--noheader", "--format=%i", f"--jobs={taskid}"])
        except (OSError, subprocess.TimeoutExpired):
            return True
        if done.returncode != 0:
            # A controller that gives no answer does not say that the job has ended.
            return "Invalid job id" not in done.stderr
        return str(taskid) in done.stdout

    def _hand_over(self, scriptfile: str, node: Any) -> int:
        own = node.plugin_args.get("sbatch_args", "")
        words = shlex.split(own if node.plugin_args.get("overwrite") else f"{self._sbatch_args or ''} {own}")
        log = Path(scriptfile).with_suffix(".out")
        done = _ask(
            ["sbatch", "--parsable", f"--output={log}", f"--job-name={node.name}", *words, scriptfile]
        )
        if done.returncode != 0 or not done.stdout.strip():
            raise RequestError(f"sbatch refused {node.interface.label}: {' '.join(done.stderr.split())}")
        job = int(done.stdout.split(";")[0])
        self._pending[job] = node.output_dir()
        return job


def _ask(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=120.0, stdin=subprocess.DEVNULL)
