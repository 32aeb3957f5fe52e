"""``logs/sub-001_steps.jsonl``: a line of JSON for each step that ran, with its time and memory."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

USAGE_NAME = "usage.json"

_FOLDERS = re.compile(r"(?:/[^\s/:;,'\"]+)+/(?=[^\s/])")
"""Of a path all but its last part, which may tell where somebody keeps a study."""


def log_step(
    logs: Path,
    visit: tuple[str, str | None],
    step: str,
    folder: Path,
    *,
    outcome: str,
    message: str | None = None,
) -> None:
    """Add a step's line; what cannot be logged, for want of room, does not stop the run.

    Parameters
    ----------
    logs : Path
        Folder of logs. One run at a time writes a participant's file.
    visit : tuple
        Participant and session.
    step : str
        Its name.
    folder : Path
        The step's own, where it left what it used.
    outcome : str
        ``done``, ``failed`` or ``unchanged``.
    message : str, optional
        Why it failed.

    """
    line: dict[str, Any] = {
        "time_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "participant_id": visit[0],
        "session_id": visit[1],
        "step": step,
        "outcome": outcome,
    }
    if outcome != "unchanged":
        with suppress(OSError, ValueError):
            line |= json.loads((folder / USAGE_NAME).read_text(encoding="utf-8"))
    if message is not None:
        line["message"] = _FOLDERS.sub("", message)
    with suppress(OSError):
        append_line(logs / f"{visit[0]}_steps.jsonl", line)


def append_line(path: Path, document: dict[str, Any]) -> None:
    """Add one line, in one go; what a full disk left of an earlier one is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        end = stream.seek(0, os.SEEK_END)
        if end:
            stream.seek(end - 1)
            torn = stream.read(1) != b"\n"
        else:
            torn = False
        text = ("\n" if torn else "") + json.dumps(document) + "\n"
        stream.write(text.encode())
