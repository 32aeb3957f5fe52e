"""A process that runs nodes one after the other; `mripipe.interfaces.pool` starts it.

Nodes come pickled on standard input and what became of each goes back on what was standard output. A
process of its own, not a fork: libraries with threads do not survive a fork, and a script need not be
importable for its steps to run in parallel.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from typing import BinaryIO

PARENT_POLL_SECONDS = 1.0
PR_SET_PDEATHSIG = 1
"""From Linux's `sys/prctl.h`."""


def serve() -> None:
    """Run nodes until standard input closes."""
    # What a library prints must not get between the pickles.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    requests = sys.stdin.buffer
    while (node := _next(requests)) is not None:
        pickle.dump(_run(node), answers)
        answers.flush()


def _next(requests: BinaryIO) -> object | None:
    try:
        node: object = pickle.load(requests)
    except EOFError:
        return None
    return node


def _run(node: object) -> str | None:
    """Run a node; return a traceback where nipype itself failed."""
    logging.getLogger("nipype").handlers.clear()
    try:
        node.run()  # type: ignore[attr-defined]
    except Exception:
        return traceback.format_exc()
    return None


def _die_with_parent() -> None:
    """Have Linux end this process with its parent, also in the middle of a library's own code."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with_parent(parent: int) -> None:
    """End this process when its parent is gone, so that no step outlives a killed run."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    os._exit(1)
