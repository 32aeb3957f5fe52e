"""What each step was made from, kept beside its result: what is done, what must be redone, and why.

Nothing here needs the workflow engine, so that the state of hundreds of visits is known in a second.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mripipe.model.failure import Failure

from .codec import decode
from .digests import code_digest, code_parts, file_digest

State = Literal["done", "stale", "failed", "to do"]

RESULT_NAME = "result.json"
MADE_FROM_NAME = "made_from.json"
CODE = "code"
"""Folder of logs for what the code of each step was made of."""
SHOWN = 3
"""So many changed parts of the program are named; of more, how many they are."""


@dataclass(frozen=True)
class StepRecord:
    """One step of a participant as the workflow has it."""

    name: str
    """Of its own among all participants."""
    participant_id: str
    session_id: str | None
    function: str
    """``module:name``."""
    folder: str
    """Where its result is or will be."""
    place: str
    """The work folder."""
    arguments: str
    """What the builder gave it, as JSON."""
    files: tuple[str, ...]
    """The files that these arguments name."""
    upstream: tuple[tuple[str, str], ...]
    """Input and name of the step whose result it takes."""

    @property
    def step(self) -> str:
        """The function's name."""
        return self.function.partition(":")[2]


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
    waits: bool = False
    """Whether it is stale for a step before it alone, whose result may turn out the same."""


CALLED_BY = "mripipe.interfaces.codec:decode"
"""How a step's arguments are read is part of what its result depends on."""


def step_code(function: str) -> str:
    """Return the digest of the code that a step runs."""
    return code_digest(*_runs(function))


def _runs(function: str) -> tuple[str, str]:
    return function, CALLED_BY


def write_made_from(record: Mapping[str, Any], folder: Path) -> None:
    """Write down what a step's result is made from, whole; before the result itself."""
    partial = folder / f".{MADE_FROM_NAME}.partial"
    partial.write_text(json.dumps(record, sort_keys=True), encoding="utf-8")
    partial.replace(folder / MADE_FROM_NAME)


def write_code_parts(functions: set[str], code_dir: Path) -> None:
    """Keep the parts of each function's code, so that a later version can say which of them have changed."""
    code_dir.mkdir(parents=True, exist_ok=True)
    for function in sorted(functions):
        path = code_dir / f"{step_code(function)}.json"
        if not path.is_file():
            partial = path.with_name(f".{path.name}.{os.getpid()}.part")
            partial.write_text(json.dumps(dict(code_parts(*_runs(function))), indent=1), encoding="utf-8")
            partial.replace(path)


def evaluate(
    records: Sequence[StepRecord], *, retry: bool, code_dir: Path | None = None
) -> tuple[PlannedStep, ...]:
    """Say of each step whether it is done, by the content of what it is made from; computes nothing.

    Parameters
    ----------
    records : sequence of StepRecord
        Each after those that it takes results from.
    retry : bool
        Whether failed steps are about to be tried again, so that what depends on them waits.
    code_dir : Path, optional
        Where `write_code_parts` wrote.

    """
    settled = ("done",) if retry else ("done", "failed")
    planned: dict[str, PlannedStep] = {}
    contents: dict[str, str] = {}
    for record in records:
        before = [planned[source] for _, source in record.upstream]
        undone = [step for step in before if step.state not in settled]
        state, why, taken = _state(record, contents, code_dir)
        waits = state == "done" and bool(undone)
        if waits:
            state, why = "stale", f"{undone[0].step} comes first"
        elif state == "done":
            state, why = _after(record, taken, contents)
        result = Path(record.folder, RESULT_NAME)
        planned[record.name] = PlannedStep(
            record.participant_id, record.session_id, record.step, state, why, result, record.function, waits
        )
    return tuple(planned.values())


def _state(
    record: StepRecord, contents: dict[str, str], code_dir: Path | None
) -> tuple[State, str, Mapping[str, str]]:
    """Say how far a step is, but for what comes from the steps before; note its result's digest.

    The last of what is returned are the digests of the results that it took.
    """
    found = _read(record, RESULT_NAME)
    made = _read(record, MADE_FROM_NAME)
    if found is None or made is None:
        return "to do", "", {}
    document, contents[record.name] = found
    if "failure" in document:
        return "failed", decode(document["failure"], Failure).message, {}
    why = next(_reasons(record, document, made[0], code_dir), None)
    return "done" if why is None else "stale", why or "", made[0]["upstream"]


def _after(record: StepRecord, before: Mapping[str, str], contents: Mapping[str, str]) -> tuple[State, str]:
    """Compare the results that a step took with those that are there now."""
    if set(before) != {field for field, _ in record.upstream}:
        return "stale", f"it takes {len(record.upstream)} results now, not {len(before)}"
    for field, source in record.upstream:
        if before[field] != contents.get(source):
            return "stale", f"the result of an earlier step has changed ({field})"
    return "done", ""


def _read(record: StepRecord, name: str) -> tuple[dict[str, Any], str] | None:
    """Return a step's document and the digest of its content; None where there is none or it is no JSON."""
    try:
        with open(os.path.join(record.folder, name), "rb") as stream:
            content = stream.read()
        document: dict[str, Any] = json.loads(content)
    except (OSError, ValueError):
        return None
    return document, hashlib.sha256(content).hexdigest()


def _reasons(
    record: StepRecord, document: Mapping[str, Any], made: Mapping[str, Any], code_dir: Path | None
) -> Iterator[str]:
    """Yield why a result does not stand, but for what comes from the steps before."""
    for path, digest in document["files"].items():
        if not digest:
            continue
        try:
            size = os.stat(path).st_size
        except OSError:
            yield f"{os.path.basename(path)} is gone"
        else:
            if made["sizes"].get(path, size) != size:
                yield f"{os.path.basename(path)} is damaged"
    if made["place"] != record.place:
        yield "the work folder was moved"
    yield from _changed_inputs(record, made["files"])
    if made["arguments"] != record.arguments:
        pairs = _leaves(json.loads(made["arguments"])), _leaves(json.loads(record.arguments))
        yield _changed_setting(*map(dict, pairs))
    if made["code"] != step_code(record.function):
        yield _changed_code(made["code"], record.function, code_dir)


def _changed_inputs(record: StepRecord, before: Mapping[str, str | None]) -> Iterator[str]:
    now = {path: file_digest(path) for path in record.files}
    names = {os.path.basename(path): path for path in now}
    for path in before:
        if path not in now:
            name = os.path.basename(path)
            yield f"input {name} lies elsewhere now" if name in names else f"input {name} is not given now"
    for path, digest in now.items():
        if path not in before:
            yield f"input {os.path.basename(path)} is new"
        elif digest is None:
            yield f"input {os.path.basename(path)} is gone"
        elif digest != before[path]:
            yield f"input {os.path.basename(path)} has changed"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each scalar of an encoded value with where it stands."""
    if isinstance(value, dict) and set(value) == {"type", "fields"}:
        value = value["fields"]
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{name}[{number}]")
    else:
        yield name, value


def _changed_setting(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            kind, _, rest = name.partition(".")
            shown = f"setting {rest}" if kind == "settings" else name
            return f"{shown} has changed: {_shown(before.get(name))} -> {_shown(now.get(name))}"
    return "its settings have changed"


def _shown(value: object) -> str:
    return (
        "none" if value is None else os.path.basename(value) if isinstance(value, str) else json.dumps(value)
    )


def _changed_code(before: str, function: str, code_dir: Path | None) -> str:
    """Name the modules, tables and libraries that are not what they were."""
    now = code_parts(*_runs(function))
    try:
        old = json.loads((code_dir or Path()).joinpath(f"{before}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "the program has changed"
    changed = [name for name in sorted({*old, *now}) if old.get(name) != now.get(name)]
    short = [name.removeprefix("mripipe.") for name in changed[:SHOWN]]
    rest = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return f"the program has changed: {', '.join(short)}{rest}"


def step_records_to_json(records: Sequence[StepRecord]) -> list[dict[str, Any]]:
    """Turn records into what JSON can hold."""
    return [asdict(record) for record in records]


def step_records_from_json(items: Sequence[Mapping[str, Any]]) -> tuple[StepRecord, ...]:
    """Turn what `step_records_to_json` gave back; TypeError or KeyError where it is something else."""
    return tuple(
        StepRecord(
            **{
                **item,
                "files": tuple(item["files"]),
                "upstream": tuple((field, source) for field, source in item["upstream"]),
            }
        )
        for item in items
    )
