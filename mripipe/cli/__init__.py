"""The command line: arguments to settings, one line for an error, the exit status."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from mripipe.errors import InputError, ProcessingError, RequestError

from .arguments import build_parser

DONE, FAILED, BAD_REQUEST, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses; the last is what a shell reports for a program ended by Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process where not given.

    Returns
    -------
    int
        0 all asked for is done, 1 something failed, 2 the request is wrong, 130 ended by Ctrl-C.

    """
    parser = build_parser()
    given = parser.parse_args(arguments)
    try:
        # Imported here: `--version` and `--help` need no numerical library.
        from . import commands

        return DONE if getattr(commands, given.command.replace("-", "_"))(given) else FAILED
    except KeyboardInterrupt:
        print("\nmripipe: stopped; the same command takes it up where it was", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if given.verbose:
            traceback.print_exc()
        print(f"mripipe: error: {_one_line(error)}", file=sys.stderr)
        _keep_traceback(given)
        return BAD_REQUEST if isinstance(error, RequestError) else FAILED


def _keep_traceback(given: argparse.Namespace) -> None:
    """Write the traceback to the run's logs, if it has got as far as having any."""
    logs = getattr(given, "out_dir", Path()) / "logs"
    if hasattr(given, "out_dir") and logs.is_dir():
        with contextlib.suppress(OSError):
            (logs / "crash_mripipe.txt").write_text(traceback.format_exc(), encoding="utf-8")


def _one_line(error: Exception) -> str:
    if not isinstance(error, RequestError | InputError | ProcessingError | OSError):
        return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}; -v shows where"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; check the folder's permissions and free space"
    return " ".join(str(error).split())
