"""A step as a nipype node: its inputs are declared once, in the function's annotations.

A parameter that the builder binds (a visit, settings) is written into the node's hash together with the
digest of every file it names. A parameter that is left open is the result of an upstream step: a `File`
input that takes that step's ``result.json``. A step that fails gives a `Failure` as its result and its
traceback to a crash file, so that the other visits go on.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import threadpoolctl
from traits.api import Str

from mripipe.bids.files import write_atomic
from mripipe.errors import InputError, ProcessingError, RequestError
from mripipe.model.failure import Failure

from .codec import decode, encode, paths_in
from .digests import file_digest
from .record import RESULT_NAME, step_code, write_made_from
from .results import load_function, read_result
from .steplog import USAGE_NAME
from .usage import measured

# nipype asks its server for news when it is imported, unless it is told not to before.
os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")

from nipype import Node
from nipype.interfaces.base import (
    BaseInterface,
    DynamicTraitedSpec,
    File,
    TraitedSpec,
)

STEP_MEMORY_GB = 2.5
"""What a step on a full-size visit takes at most; the pool starts no more steps than fit in memory."""

interrupted = False
"""Set once Ctrl-C reached a step in this process: nipype takes it for an error of the step."""


class StepOutput(TraitedSpec):  # type: ignore[misc]
    """The one output of every step."""

    result = File(exists=True, desc="the step's result or failure, as JSON")


class StepInterface(BaseInterface):  # type: ignore[misc]
    """A step function with its upstream results as inputs."""

    input_spec = DynamicTraitedSpec
    output_spec = StepOutput

    def __init__(
        self,
        function: str,
        visit: tuple[str, str | None],
        many: Mapping[str, int],
        bound: str,
        beside: str = "{}",
    ) -> None:
        super().__init__()
        self.function, self.visit, self.many, self.bound = function, visit, dict(many), bound
        self.beside = beside
        """Arguments as JSON that do not change the result: they are not part of the node's hash."""
        self.forced_failure: str | None = None
        """Set by the pool where the process that ran this step died: the node then only records it."""
        for name in ("arguments", "code", "place"):
            self.inputs.add_trait(name, Str(mandatory=True))
        self.inputs.add_trait("logs", Str(mandatory=True, nohash=True))
        for name in self.upstream_fields():
            self.inputs.add_trait(name, File(exists=True, mandatory=True))

    def __reduce__(self) -> tuple[Any, ...]:
        values = {k: v for k, v in self.inputs.get_traitsfree().items() if v is not None}
        given = (self.function, self.visit, self.many, self.bound, self.beside)
        return _rebuild, (*given, values, self.forced_failure)

    def upstream_fields(self) -> dict[str, str]:
        """Return each input field that takes an upstream result, with the parameter it belongs to."""
        fields = {}
        for name in self._open_parameters():
            if name in self.many:
                fields.update({f"{name}_{i + 1}": name for i in range(self.many[name])})
            else:
                fields[name] = name
        return fields

    def _open_parameters(self) -> list[str]:
        hints = get_type_hints(load_function(self.function))
        closed = {"return", "folder", *self._arguments()}
        return [name for name in hints if name not in closed]

    def _arguments(self) -> dict[str, Any]:
        """Return what the builder gave, encoded."""
        return {**json.loads(self.bound)["values"], **json.loads(self.beside)}

    def _run_interface(self, runtime: Any) -> Any:
        global interrupted
        folder = Path(runtime.cwd)
        crash = Path(self.inputs.logs) / f"crash_{self.label.replace(' ', '_')}.txt"
        with measured() as usage:
            try:
                document = self._document(self._call(folder))
            except KeyboardInterrupt:
                interrupted = True
                raise
            except Exception as error:
                document = self._document(self._failed(error, crash))
            else:
                crash.unlink(missing_ok=True)
        write_json(folder / USAGE_NAME, usage)
        write_made_from(self._made_from(folder, document), folder)
        write_json(folder / RESULT_NAME, document)
        return runtime

    def _made_from(self, folder: Path, document: Mapping[str, Any]) -> dict[str, Any]:
        """Say what a result is made from, as `mripipe.interfaces.record` compares it."""
        bound = json.loads(self.bound)
        files = [Path(name) for name in document.get("files", {})]
        return {
            "arguments": json.dumps(bound["values"], sort_keys=True),
            "files": bound["files"],
            "code": self.inputs.code,
            "place": self.inputs.place,
            "upstream": {field: file_digest(getattr(self.inputs, field)) for field in self.upstream_fields()},
            "sizes": {
                str(path): path.stat().st_size
                for path in files
                if path.is_relative_to(folder) and path.is_file()
            },
        }

    def _list_outputs(self) -> dict[str, str]:
        return {"result": os.path.abspath(RESULT_NAME)}

    @property
    def label(self) -> str:
        """Return participant, visit and step for a progress line."""
        return " ".join(part for part in (*self.visit, self.step) if part)

    @property
    def step(self) -> str:
        """Return the step's name."""
        return self.function.partition(":")[2]

    def _call(self, folder: Path) -> object:
        if self.forced_failure:
            raise ProcessingError(self.forced_failure)
        function = load_function(self.function)
        hints = get_type_hints(function)
        arguments: dict[str, Any] = {}
        for name, data in self._arguments().items():
            arguments[name] = decode(data, hints[name])
        for name in self._open_parameters():
            value = self._upstream(name, hints[name])
            if isinstance(value, Failure):
                return replace(value, session_id=value.session_id or self.visit[1])
            arguments[name] = value
        # One thread for linear algebra: its sums depend on the number of threads.
        with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
            return function(**arguments, folder=folder)

    def _upstream(self, name: str, hint: Any) -> Any:
        """Read the results that one parameter takes; a Failure where the step cannot be called."""
        fields = [field for field, owner in self.upstream_fields().items() if owner == name]
        item = get_args(hint)[0] if name in self.many else hint
        values = tuple(read_result(Path(getattr(self.inputs, field)), item) for field in fields)
        if name not in self.many:
            return values[0]
        if Failure in get_args(item):
            return values
        usable = tuple(value for value in values if not isinstance(value, Failure))
        return usable or values[0]

    def _document(self, outcome: object) -> dict[str, Any]:
        if isinstance(outcome, Failure):
            return {"failure": encode(outcome, Failure)}
        hint = get_type_hints(load_function(self.function))["return"]
        files = {str(path): file_digest(path) for path in paths_in(outcome)}
        return {"result": encode(outcome, hint), "files": files}

    def _failed(self, error: Exception, crash: Path) -> Failure:
        inputs = ", ".join([*json.loads(self.bound)["values"], *self.upstream_fields()])
        text = "".join(traceback.format_exception(error))
        # A full disk must not hide what failed first.
        with contextlib.suppress(ProcessingError):
            write_atomic(crash, f"step: {self.label}\ninputs: {inputs}\n\n{text}")
        message = " ".join(str(error).split())
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"{error.filename or self.step}: {error.strerror}; make room and run again"
        elif isinstance(error, MemoryError):
            message = f"{self.step}: memory ran out; give --mem-gb or fewer --nprocs"
        elif not isinstance(error, InputError | ProcessingError | RequestError):
            message = f"{self.step} stopped: {type(error).__name__}: {message}; see logs/{crash.name}"
        return Failure(self.visit[0], self.visit[1], self.step, message)


def step_node(
    function: Callable[..., Any],
    name: str,
    *,
    visit: tuple[str, str | None],
    many: Mapping[str, int] | None = None,
    beside: Mapping[str, object] | None = None,
    **bound: object,
) -> Node:
    """Wrap a step as a nipype node.

    Parameters
    ----------
    function : callable
        A public function of an importable module, annotated, with a keyword-only ``folder: Path``.
    name : str
        The node's name, unique in its workflow.
    visit : tuple
        ``(participant_id, session_id or None)``, for progress, crash files and failures.
    many : mapping, optional
        For each parameter that is a tuple of upstream results, how many: the node's inputs are then
        ``NAME_1``, ``NAME_2``, ...
    beside : mapping, optional
        Parameters that can stop the step, but do not change its result: it is not redone for them.
    **bound
        The step's parameters that are known now; all others are inputs to be wired.

    Returns
    -------
    Node
        With the single output ``result``.

    Raises
    ------
    TypeError
        A bound argument is no parameter of the step or not what it declares.

    """
    hints = get_type_hints(function)
    unknown = (set(bound) | set(many or {}) | set(beside or {})) - set(hints)
    if unknown:
        raise TypeError(f"{function.__name__} has no parameter {', '.join(sorted(unknown))}")
    document = {
        "values": {key: encode(value, hints[key]) for key, value in bound.items()},
        "files": {str(path): file_digest(path) for value in bound.values() for path in paths_in(value)},
    }
    reference = f"{function.__module__}:{function.__qualname__}"
    unhashed = {key: encode(value, hints[key]) for key, value in (beside or {}).items()}
    texts = [json.dumps(part, sort_keys=True) for part in (document, unhashed)]
    interface = StepInterface(reference, visit, many or {}, *texts)
    code = step_code(reference)
    interface.inputs.trait_set(arguments=f"{reference} {texts[0]}", code=code)
    return Node(interface, name=name, mem_gb=STEP_MEMORY_GB)


def write_json(path: Path, document: object) -> None:
    """Write JSON under a temporary name and rename it: a file that exists is whole."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(document, sort_keys=True), encoding="utf-8")
    partial.replace(path)


def _rebuild(
    function: str,
    visit: tuple[str, str | None],
    many: Mapping[str, int],
    bound: str,
    beside: str,
    values: dict[str, Any],
    forced_failure: str | None,
) -> StepInterface:
    interface = StepInterface(function, visit, many, bound, beside)
    interface.inputs.trait_set(**values)
    interface.forced_failure = forced_failure
    return interface
