"""Read what a step returned; nothing here needs the workflow engine."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from mripipe.model.failure import Failure

from .codec import decode


def result_of(function: str, path: Path) -> Any:
    """Read the ``result.json`` of a step given as ``module:name``: what it returned, or a Failure."""
    return read_result(path, get_type_hints(load_function(function))["return"])


def read_result(path: Path, hint: Any) -> Any:
    """Read a ``result.json``: an instance of the annotation, or a Failure."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if "failure" in document:
        return decode(document["failure"], Failure)
    return decode(document["result"], hint)


def load_function(reference: str) -> Callable[..., Any]:
    """Import a function from ``module:name``."""
    module, _, name = reference.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
