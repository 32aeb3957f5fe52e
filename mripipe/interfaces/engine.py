"""Run a workflow of steps: what is done and unchanged is not done again."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from nipype import Workflow

from mripipe.errors import RequestError

from . import step as step_module
from .cluster import guarded_plugin
from .execution import Execution
from .plan import PlanPlugin
from .pool import StepPoolPlugin
from .progress import Progress, StopAtFirstFailure
from .record import CODE, PlannedStep, StepRecord, evaluate, write_code_parts

POLL_SECONDS = 0.1
ITK_THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"


def prepare_graph(workflow: Workflow, *, work_dir: Path, logs: Path) -> None:
    """Give a workflow its folders and nipype's options; nothing is written."""
    workflow.base_dir = str(work_dir)
    workflow.config["execution"] = {
        "check_version": "false",
        "crashdump_dir": str(logs),
        "crashfile_format": "txt",
        "create_report": "false",
        "hash_method": "content",
        "poll_sleep_duration": str(POLL_SECONDS),
        "remove_unnecessary_outputs": "false",
        "stop_on_first_crash": "false",
    }
    for name in workflow.list_node_names():
        workflow.get_node(name).inputs.trait_set(place=str(work_dir), logs=str(logs))


def describe_graph(workflow: Workflow) -> tuple[StepRecord, ...]:
    """Describe the steps of a prepared workflow; computes nothing."""
    planner = PlanPlugin()
    with _quiet_nipype(None):
        workflow.run(plugin=planner)
    return planner.records


def plan_graph(
    workflow: Workflow, *, retry: bool = True, logs: Path | None = None
) -> tuple[PlannedStep, ...]:
    """Say of each step of a prepared workflow whether it is done; computes nothing.

    With `retry`, what depends on a failed step counts as stale, for the next run tries that step again.
    """
    return evaluate(describe_graph(workflow), retry=retry, code_dir=logs and logs / CODE)


def run_graph(
    workflow: Workflow, *, logs: Path, execution: Execution, records: tuple[StepRecord, ...] | None = None
) -> tuple[PlannedStep, ...]:
    """Run a prepared workflow and say afterwards what became of each step.

    Steps that failed earlier are tried again. A step's failure is its result, not an exception. `records` are
    those of `describe_graph`, where they are known already.

    Raises
    ------
    RequestError
        No such plugin.
    KeyboardInterrupt
        After every running step was ended; half-done steps are redone by the next run.

    """
    records = describe_graph(workflow) if records is None else records
    plan = evaluate(records, retry=True, code_dir=logs / CODE)
    todo = tuple(step for step in plan if step.state != "done")
    if not todo:
        return plan
    for step in todo:
        if not step.waits:
            shutil.rmtree(step.result.parent, ignore_errors=True)
    write_code_parts({record.function for record in records}, logs / CODE)
    progress = Progress(todo, logs=logs, stop_on_failure=execution.stop_on_first_crash)
    step_module.interrupted = False
    with (
        _threads(execution.threads),
        _quiet_nipype(logs / f"nipype_{records[0].participant_id}.log"),
        contextlib.suppress(StopAtFirstFailure),
    ):
        _run(workflow, _plugin(execution, logs / f"workers_{records[0].participant_id}.log", progress))
    return evaluate(records, retry=False, code_dir=logs / CODE)


def _run(workflow: Workflow, plugin: Any) -> None:
    try:
        workflow.run(plugin=plugin)
    except (RuntimeError, OSError) as error:
        # A node that nipype itself could not run has no result, which the plan that follows shows.
        logging.getLogger("nipype.workflow").error("%s", error)
    finally:
        if hasattr(plugin, "close"):
            plugin.close()


def _plugin(execution: Execution, log: Path, progress: Progress) -> Any:
    arguments: dict[str, Any] = {"status_callback": progress, **dict(execution.plugin_args)}
    wanted = execution.plugin.lower()
    if wanted == "multiproc" and execution.nprocs > 1:
        arguments |= {"n_procs": execution.nprocs, "raise_insufficient": False}
        arguments |= {"log": log}
        if execution.mem_gb is not None:
            arguments["memory_gb"] = execution.mem_gb
        return StepPoolPlugin(arguments)
    return _nipype_plugin("linear" if wanted == "multiproc" else wanted, arguments)


def _nipype_plugin(wanted: str, arguments: dict[str, Any]) -> Any:
    from nipype.pipeline import plugins

    known = {name.removesuffix("Plugin").lower(): name for name in dir(plugins) if name.endswith("Plugin")}
    if wanted not in known:
        raise RequestError(f"no such plugin: {wanted!r}; known: multiproc, {', '.join(sorted(known))}")
    return guarded_plugin(getattr(plugins, known[wanted]), arguments)


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Give ITK so many threads, here and in processes started meanwhile; it would take all of a node's.

    Only resampling uses them: sums, which depend on the number of threads, are made by one.
    """
    before, told = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), os.environ.get(ITK_THREADS)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(number)
    os.environ[ITK_THREADS] = str(number)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
        if told is None:
            del os.environ[ITK_THREADS]
        else:
            os.environ[ITK_THREADS] = told


@contextlib.contextmanager
def _quiet_nipype(log: Path | None) -> Iterator[None]:
    """Send nipype's own lines to a file, or nowhere, instead of the screen."""
    logger = logging.getLogger("nipype")
    before, propagate = logger.handlers[:], logger.propagate
    handler: logging.Handler = logging.FileHandler(log, mode="w") if log else logging.NullHandler()
    logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before, propagate
        handler.close()
