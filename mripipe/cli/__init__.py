"""The command line: arguments to settings, one line for an error, the exit status."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from mripipe.errors import RequestError

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

        return DONE if getattr(commands, given.command)(given) else FAILED
    except KeyboardInterrupt:
        print("\nmripipe: stopped; the same command takes it up where it was", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, RuntimeError, OSError) as error:
        if given.verbose:
            traceback.print_exc()
        print(f"mripipe: error: {_one_line(error)}", file=sys.stderr)
        return BAD_REQUEST if isinstance(error, RequestError) else FAILED


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; check the folder's permissions and free space"
    return " ".join(str(error).split()) or type(error).__name__
