"""Frozen dataclasses to JSON values and back, by their annotations.

A dataclass becomes ``{"type": name, "fields": {...}}``, a tuple a list, a `Path` its text. What the
annotations do not allow is refused in both directions, so that a result that cannot be read back is
never written.
"""

from __future__ import annotations

import dataclasses
import numbers
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def encode(value: object, hint: Any) -> Any:
    """Turn a value into what `json` can write.

    Parameters
    ----------
    value : object
        Instance of a dataclass, tuple, Path, str, bool, int, float or None.
    hint : type
        What the value is declared to be.

    Raises
    ------
    TypeError
        The value is not what was declared; the message says which field.

    Examples
    --------
    >>> encode((Path("a.nii"), None), tuple[Path | None, ...])
    ['a.nii', None]

    """
    return _encode(value, hint, "value")


def decode(data: Any, hint: Any) -> Any:
    """Turn what `encode` gave for the same annotation back into an equal value.

    Raises
    ------
    TypeError
        The data is not what was declared; the message says which field.

    Examples
    --------
    >>> decode(["a", 2], tuple[str, int])
    ('a', 2)

    """
    return _decode(data, hint, "value")


def paths_in(value: object) -> Iterator[Path]:
    """Yield every path inside a value, in order of the fields."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from paths_in(item)
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            yield from paths_in(getattr(value, item.name))


def _encode(value: object, hint: Any, where: str) -> Any:
    if value is None or get_origin(hint) is Literal or hint in (str, bool, int, float):
        return _scalar(value, hint, where)
    if _is_union(hint):
        return _first_fit(_encode, value, hint, where)
    if hint is Path and isinstance(value, Path):
        return str(value)
    if get_origin(hint) is tuple and isinstance(value, tuple):
        hints = _item_hints(hint, len(value), where)
        return [
            _encode(item, h, f"{where}[{i}]") for i, (item, h) in enumerate(zip(value, hints, strict=True))
        ]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and type(value) is hint:
        fields = {
            name: _encode(getattr(value, name), inner, f"{where}.{name}")
            for name, inner in _hints(hint).items()
        }
        return {"type": type(value).__qualname__, "fields": fields}
    raise _misfit(value, hint, where)


def _decode(data: Any, hint: Any, where: str) -> Any:
    if data is None or get_origin(hint) is Literal or hint in (str, bool, int, float):
        return _scalar(data, hint, where)
    if _is_union(hint):
        return _first_fit(_decode, data, hint, where)
    if hint is Path and isinstance(data, str):
        return Path(data)
    if get_origin(hint) is tuple and isinstance(data, list):
        hints = _item_hints(hint, len(data), where)
        return tuple(
            _decode(item, h, f"{where}[{i}]") for i, (item, h) in enumerate(zip(data, hints, strict=True))
        )
    is_record = isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(data, dict)
    if is_record and data.get("type") == _name(hint):
        inner, fields = _hints(hint), data.get("fields", {})
        if set(inner) == set(fields):
            return hint(**{n: _decode(fields[n], inner[n], f"{where}.{n}") for n in inner})
    raise _misfit(data, hint, where)


def _scalar(value: object, hint: Any, where: str) -> Any:
    """Check a leaf; numpy's numbers become Python's, bool is never taken for a number."""
    if value is None and (hint is None or hint is type(None) or type(None) in get_args(hint)):
        return None
    if get_origin(hint) is Literal and value in get_args(hint):
        return value
    if hint is str and isinstance(value, str):
        return str(value)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if hint is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    raise _misfit(value, hint, where)


def _first_fit(function: Any, value: Any, hint: Any, where: str) -> Any:
    members = [member for member in get_args(hint) if member is not type(None)]
    if len(members) == 1:
        return function(value, members[0], where)
    for member in members:
        try:
            return function(value, member, where)
        except TypeError:
            continue
    raise _misfit(value, hint, where)


def _item_hints(hint: Any, length: int, where: str) -> tuple[Any, ...]:
    hints = get_args(hint)
    if len(hints) == 2 and hints[1] is Ellipsis:
        return (hints[0],) * length
    if len(hints) != length:
        raise TypeError(f"{where}: expected {len(hints)} items, got {length}")
    return hints


@cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {item.name: hints[item.name] for item in dataclasses.fields(cls)}


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _name(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) and not get_origin(hint) else str(hint)


def _misfit(value: object, hint: Any, where: str) -> TypeError:
    shown = repr(value)
    return TypeError(f"{where}: expected {_name(hint)}, got {type(value).__name__} {shown[:80]}")
