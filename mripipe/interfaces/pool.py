"""nipype's MultiProc scheduling over processes whose death is noticed.

nipype's own pool waits for ever when a worker is killed, for example for want of memory. Here each worker
has a pipe of its own: when it closes, the step that ran there fails and everything else goes on.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin

DIED = "the process that ran this step was killed, mostly for want of memory; give --mem-gb or fewer --nprocs"


START = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from mripipe.interfaces.worker import serve
serve()
"""
"""The parent's path comes first of all: a worker must not find another mripipe in the current folder."""


class Worker:
    """One process that runs nodes."""

    def __init__(self, log: Path) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env={**threads, **os.environ},
                start_new_session=True,
            )
        # An empty entry means the current folder, which is no place to find modules in.
        self._send([entry for entry in sys.path if entry])

    def run(self, node: Any) -> str | None:
        """Run a node there; EOFError or OSError where the process died."""
        self._send(node)
        assert self.process.stdout is not None
        trace: str | None = pickle.load(self.process.stdout)
        return trace

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue

    def _send(self, item: object) -> None:
        assert self.process.stdin is not None
        pickle.dump(item, self.process.stdin)
        self.process.stdin.flush()


class StepPoolPlugin(MultiProcPlugin):  # type: ignore[misc]
    """MultiProc with workers of its own; ``plugin_args`` as MultiProc's, and `log`."""

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        self.pool.shutdown()
        self.pool: ThreadPoolExecutor = ThreadPoolExecutor(self.processors)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._closed = False

    def close(self) -> None:
        """End every worker, in the middle of a step if need be."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
        self.pool.shutdown(cancel_futures=True)

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        taskid: int = self._taskid
        future: Future[dict[str, Any]] = self.pool.submit(self._run_node, node, taskid)
        self._task_obj[taskid] = future
        future.add_done_callback(self._async_callback)
        return taskid

    def _async_callback(self, args: Future[dict[str, Any]]) -> None:
        if not args.cancelled():
            super()._async_callback(args)

    def _run_node(self, node: Any, taskid: int) -> dict[str, Any]:
        try:
            trace = self._run_in_worker(node)
        except Exception:
            # A task that never reports back would leave the run waiting for ever.
            trace = traceback.format_exc()
        # nipype appends to the traceback as to a list of lines.
        lines = trace.splitlines(keepends=True) if trace else None
        return {"result": None, "traceback": lines, "taskid": taskid}

    def _run_in_worker(self, node: Any) -> str | None:
        try:
            return self._worker().run(node)
        except (EOFError, OSError, pickle.UnpicklingError):
            return self._record_death(node)

    def _record_death(self, node: Any) -> str | None:
        if self._closed:
            return "the run was ended"
        with self._lock:
            self._local.worker.kill()
            self._workers.remove(self._local.worker)
            self._local.worker = None
        node.interface.forced_failure = DIED
        return self._worker().run(node)

    def _worker(self) -> Worker:
        worker: Worker | None = getattr(self._local, "worker", None)
        if worker is not None:
            return worker
        with self._lock:
            if self._closed:
                raise EOFError
            worker = self._local.worker = Worker(self.plugin_args["log"])
            self._workers.append(worker)
        return worker

    def _postrun_check(self) -> None:
        self.close()
