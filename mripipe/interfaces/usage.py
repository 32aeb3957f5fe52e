"""Time and memory that a piece of work takes in this process."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

RESET_PEAK = "5"
"""Tells Linux to forget the largest memory so far; see proc(5), `clear_refs`."""


@contextmanager
def measured() -> Iterator[dict[str, float | str | int]]:
    """Give a mapping that holds, after the work, its seconds, processor seconds and largest memory in MB."""
    found: dict[str, float | str | int] = {"host": socket.gethostname(), "process": os.getpid()}
    with suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
        stream.write(RESET_PEAK)
    start, processor = time.monotonic(), _processor_seconds()
    try:
        yield found
    finally:
        found["seconds"] = round(time.monotonic() - start, 3)
        found["cpu_seconds"] = round(_processor_seconds() - processor, 3)
        found["peak_mb"] = round(_peak_kb() / 1024, 1)


def _processor_seconds() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


def _peak_kb() -> int:
    with suppress(OSError), open("/proc/self/status", encoding="latin1") as stream:
        for line in stream:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
