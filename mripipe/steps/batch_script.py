"""The scripts that a scheduler is given: text from what is asked for, nothing else.

One script runs one participant of an array, by the task's number; another runs the group stage after all
of them, whatever became of each. A task notes its start, and its exit status when it ends by itself: what a
scheduler says of a finished job is not kept everywhere, and not for long.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mripipe.errors import RequestError
from mripipe.model.batch import Request
from mripipe.model.site import Scheduler, Site

_INDEX = {
    "slurm": "${SLURM_ARRAY_TASK_ID:-1}",
    "pbs": "${PBS_ARRAY_INDEX:-1}",
    "sge": "${SGE_TASK_ID:-1}",
    "local": "${1:-1}",
}
"""Where each scheduler leaves a task's number; by hand a script runs its first task."""


@dataclass(frozen=True)
class Programs:
    """The commands that the scripts run, as words."""

    participant: tuple[str, ...]
    """The participant level; the participant's name comes last."""
    summary: tuple[str, ...]
    """Who is done and who is missing."""
    group: tuple[str, ...]
    """The group level."""


def start_words(site: Site, python: str, folders: Iterable[Path]) -> tuple[str, ...]:
    """Return the words that start the program on a node.

    Parameters
    ----------
    site : Site
        Its command or container, failing both this very installation.
    python : str
        This installation's interpreter.
    folders : iterable of Path
        What a container must see; bound under the same names.

    Raises
    ------
    RequestError
        A folder's name cannot be given to a container.

    """
    if site.command:
        return site.command
    if site.container is None:
        return python, "-P", "-m", "mripipe"
    bound = sorted({str(folder) for folder in folders})
    if unfit := [name for name in bound if ":" in name or "," in name]:
        raise RequestError(f"{unfit[0]}: a folder with ':' or ',' in its name cannot be seen in a container")
    binds = (word for name in bound for word in ("--bind", name))
    return "apptainer", "exec", "--cleanenv", *binds, site.container, "mripipe"


def check_folder(scheduler: Scheduler, folder: Path) -> None:
    """Refuse a folder whose name a scheduler's directives cannot hold; RequestError."""
    unfit = {"slurm": '"\\\n', "pbs": " \t\n'\"\\,:", "sge": " \t\n'\"\\,:$", "local": ""}[scheduler]
    if found := [character for character in unfit if character in str(folder)]:
        raise RequestError(
            f"{folder}: {scheduler} cannot write to a folder with {found[0]!r} in its name; choose another"
        )


def participants_script(
    scheduler: Scheduler,
    *,
    folder: Path,
    number: int,
    count: int,
    request: Request,
    limit: int | None,
    site: Site,
    programs: Programs,
) -> str:
    """Write the script of one array.

    Parameters
    ----------
    folder : Path
        The batch's, absolute; ``participants_N.txt`` there has a name a line.
    number, count : int
        The array's number in the batch and how many participants it has.
    limit : int or None
        Tasks at the same time.

    Returns
    -------
    str
        For ``bash``.

    """
    name = f"participants_{number}"
    # PBS takes no array of one task.
    index = "1" if scheduler == "pbs" and count == 1 else _LOG_INDEX[scheduler]
    log = folder / f"{name}_{index}.log"
    lines = _directives(scheduler, f"mripipe-{number}", log, request, site)
    lines += _array_directives(scheduler, count, limit)
    return _script(
        lines,
        site,
        [
            f"folder={_quoted(folder)}",
            f"task={_INDEX[scheduler]}",
            f'participant=$(sed -n "${{task}}p" "$folder/{name}.txt")',
            "record=$folder/$participant",
            # A task that was put back into the queue has no end yet.
            'rm -f "$record.end"',
            'hostname >"$record.start"',
            f'{_words(programs.participant)} "$participant"',
            "status=$?",
            'echo "$status" >"$record.end.part" && mv "$record.end.part" "$record.end"',
            'exit "$status"',
        ],
    )


def group_script(
    scheduler: Scheduler, *, folder: Path, request: Request, site: Site, programs: Programs
) -> str:
    """Write the script of the group stage, which first says who is missing."""
    lines = _directives(scheduler, "mripipe-group", folder / "group.log", request, site)
    states = []
    if scheduler == "slurm":
        # The scheduler forgets its finished jobs within minutes, and cannot be asked from inside a container.
        states = [f'{_words(SQUEUE)} >"$folder/states.part" && mv "$folder/states.part" "$folder/states.txt"']
    return _script(
        lines,
        site,
        [
            f"folder={_quoted(folder)}",
            'rm -f "$folder/group.end"',
            'hostname >"$folder/group.start"',
            *states,
            f"{_words(programs.summary)}",
            "missing=$?",
            f"{_words(programs.group)}",
            "status=$?",
            'echo "$status" >"$folder/group.end.part" && mv "$folder/group.end.part" "$folder/group.end"',
            # The job fails where somebody is missing, though the group stage has done its part.
            'exit "$((status ? status : missing))"',
        ],
    )


SQUEUE = ("squeue", "--noheader", "--me", "--array", "--states=all", "--format=%F|%K|%T|%r")
"""Job, task, state and reason of a line each; `mripipe.steps.batch_queue` reads it."""

_LOG_INDEX = {"slurm": "%a", "pbs": "^array_index^", "sge": "$TASK_ID", "local": "%a"}
"""How each scheduler is asked to write a task's number into the name of its log."""


def _script(directives: Sequence[str], site: Site, body: Sequence[str]) -> str:
    modules = [f"module load {_words(site.modules)}"] if site.modules else []
    return "\n".join(["#!/bin/bash", *directives, "", *modules, *site.setup, *body, ""])


def _directives(scheduler: Scheduler, name: str, log: Path, request: Request, site: Site) -> list[str]:
    """Return the lines that every job has."""
    writers = {"slurm": _slurm, "pbs": _pbs, "sge": _sge}
    if scheduler == "local":
        return []
    mark = {"slurm": "#SBATCH", "pbs": "#PBS", "sge": "#$"}[scheduler]
    options = [*writers[scheduler](name, log, request, site), *site.options]
    return [f"{mark} {option}" for option in options]


def _slurm(name: str, log: Path, request: Request, site: Site) -> list[str]:
    options = [
        f"--job-name={name}",
        f"--nodes=1 --ntasks=1 --cpus-per-task={request.cpus}",
        f"--mem={request.memory_mb}M",
        f"--time={_clock(request.minutes)}",
        f'--output="{_slurm_log(log)}"',
    ]
    options += [f"--partition={site.partition}"] if site.partition else []
    return options + ([f"--account={site.account}"] if site.account else [])


def _slurm_log(log: Path) -> str:
    """Write a file's name for SLURM, which replaces ``%`` in the whole of it."""
    return f"{str(log.parent).replace('%', '%%')}/{log.name}"


def _pbs(name: str, log: Path, request: Request, site: Site) -> list[str]:
    options = [
        f"-N {name}",
        f"-l select=1:ncpus={request.cpus}:mem={request.memory_mb}mb",
        f"-l walltime={_clock(request.minutes)}",
        f"-j oe -o {log}",
        "-V",
    ]
    options += [f"-q {site.partition}"] if site.partition else []
    return options + ([f"-A {site.account}"] if site.account else [])


def _sge(name: str, log: Path, request: Request, site: Site) -> list[str]:
    # Memory is given for each slot.
    options = [
        f"-N {name}",
        "-S /bin/bash",
        "-V",
        f"-l h_vmem={-(-request.memory_mb // request.cpus)}M,h_rt={_clock(request.minutes)}",
        f"-j y -o {log}",
    ]
    if request.cpus > 1:
        options.append(f"-pe {site.parallel_environment} {request.cpus}")
    options += [f"-q {site.partition}"] if site.partition else []
    return options + ([f"-P {site.account}"] if site.account else [])


def _array_directives(scheduler: Scheduler, count: int, limit: int | None) -> list[str]:
    """Return the lines that make a job an array."""
    if scheduler == "slurm":
        return [f"#SBATCH --array=1-{count}" + (f"%{limit}" if limit else "")]
    if scheduler == "pbs":
        return [f"#PBS -J 1-{count}" + (f"%{limit}" if limit else "")] if count > 1 else []
    if scheduler == "sge":
        return [f"#$ -t 1-{count}" + (f" -tc {limit}" if limit else "")]
    return []


def _clock(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02d}:00"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _words(words: Sequence[str]) -> str:
    return shlex.join(words)
