"""Exceptions, one kind for each reaction: fix the request, fix the data, or read the crash file."""

from __future__ import annotations


class RequestError(ValueError):
    """What was asked for cannot be done as asked (exit status 2)."""


class InputError(ValueError):
    """A file or table is unfit for use; the message names it, what was expected, found, and what to do."""


class ProcessingError(RuntimeError):
    """A step could not produce a result it can vouch for from valid input."""
