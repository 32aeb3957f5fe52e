"""What a computing site wants to be told with every job, read once from a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from mripipe.errors import RequestError
from mripipe.model.toml import read_toml

Scheduler = Literal["slurm", "pbs", "sge", "local"]
SITE_FILE = Path("mripipe", "site.toml")
"""Where the profile is looked for below the user's folder of settings."""


@dataclass(frozen=True)
class Site:
    """A site's profile; every field may be left out.

    Raises
    ------
    RequestError
        A value is of the wrong kind, or holds a line end, which would start a line of its own in a script.

    Examples
    --------
    >>> Site(partition="short", modules=("apptainer",)).partition
    'short'

    """

    scheduler: Scheduler | None = None
    """Used where ``--scheduler`` is not given."""
    partition: str | None = None
    """SLURM's partition; the queue of PBS and SGE."""
    account: str | None = None
    """Account or project that pays."""
    options: tuple[str, ...] = ()
    """Further options of the scheduler, each as it stands in a script, such as ``--qos=long``."""
    modules: tuple[str, ...] = ()
    """Loaded with ``module load`` before the program starts."""
    setup: tuple[str, ...] = ()
    """Lines of shell that come before the program."""
    container: str | None = None
    """Apptainer image to run the program in."""
    command: tuple[str, ...] = ()
    """How the program is started where it is neither this installation nor a container's ``mripipe``."""
    nprocs: int | None = None
    """Steps at the same time in one task."""
    array_limit: int | None = None
    """Tasks at the same time."""
    max_array: int = 1000
    """Tasks that the scheduler takes in one array; SLURM's own default is 1001 with index 0."""
    parallel_environment: str = "smp"
    """SGE's parallel environment for several cores of one node."""

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item.name, getattr(self, item.name))
        if self.container is not None and self.command:
            raise RequestError("give container or command, not both: a command may start a container")
        if loose := [option for option in self.options if not option.startswith("-")]:
            raise RequestError(f"options must start with '-'; got {loose[0]!r}")


def read_site(path: Path) -> Site:
    """Read a site's profile.

    Raises
    ------
    RequestError
        The file cannot be read, is not TOML, or has an unknown key or a wrong value.

    """
    table = read_toml(path)
    known = [item.name for item in fields(Site)]
    for name in table:
        if name not in known:
            raise RequestError(f"{path}: unknown key: {name!r}; known: {', '.join(known)}")
    try:
        return Site(**{name: _frozen(value) for name, value in table.items()})
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error


def find_site(environment: Mapping[str, str]) -> Path | None:
    """Return the user's profile, ``$XDG_CONFIG_HOME/mripipe/site.toml``, or None where there is none."""
    home = environment.get("HOME", "")
    settings = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    path = Path(settings) / SITE_FILE
    return path if settings and path.is_file() else None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check(name: str, value: Any) -> None:
    """Hold a value against what its field takes."""
    if name == "scheduler":
        if value is not None and value not in get_args(Scheduler):
            raise RequestError(f"scheduler must be one of {', '.join(get_args(Scheduler))}; got {value!r}")
    elif name in ("nprocs", "array_limit", "max_array"):
        if value is not None and (type(value) is not int or value < 1):
            raise RequestError(f"{name} must be a whole number of 1 or more; got {value!r}")
    elif name in ("options", "modules", "setup", "command"):
        if not isinstance(value, tuple) or not all(_is_line(item) for item in value):
            raise RequestError(f"{name} must be a list of single lines; got {value!r}")
    elif value is not None and not _is_line(value):
        raise RequestError(f"{name} must be a single line of text; got {value!r}")


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()
