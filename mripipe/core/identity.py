"""Search bytes and text for values that tell who was scanned, where or when.

A value is searched in the spellings that programs write it in (`search_forms`), without regard to case. Long
values are searched anywhere. In text a short one must stand alone, for otherwise the patient ID ``123`` would
be found in every second number; in voxels and numbers, where any short run of bytes turns up by chance, it is
not searched at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["name", "id", "date", "time", "uid", "serial", "site", "free text", "private"]

SHORTEST: Final = 3
"""Fewer letters and digits than this tell nobody apart."""
LONG: Final = 6
"""From this length on a value is searched anywhere: 100 MB of noise hold six given bytes by chance once in
3 million times."""
LONG_NUMBER: Final = 8
"""The same for a value of digits alone, such as a date."""

EMPTY_WORDS: Final = frozenset(
    {"anon", "anonym", "anonymous", "anonymized", "anonymised", "deidentified", "removed", "unknown"}
    | {"none", "null", "patient", "name", "mrs", "prof"}
)
"""What stands where a value was taken out already, and what stands around names."""

_DATE = re.compile(r"(\d{4})[-./]?(\d{2})[-./]?(\d{2})")
_MARK_IN_BYTES = re.compile(rb"[0-9][0-9.]{9,63}")
_MARK_IN_TEXT = re.compile(r"[0-9][0-9.]{9,63}")
_NUMBER = re.compile(r"[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?")
_STANDARD_UIDS: Final = "1.2.840.10008."


@dataclass(frozen=True)
class Secrets:
    """What must not be found, in lower case."""

    forms: Mapping[str, Kind] = field(default_factory=dict, repr=False)
    """Spelling to kind."""
    marks: frozenset[str] = field(default_factory=frozenset, repr=False)
    """Unique identifiers and times to the fraction of a second; kept apart, for there are thousands."""
    n_values: int = 0
    """How many values the spellings are of."""

    def joined(self, other: Secrets) -> Secrets:
        """Return both together."""
        forms = {**self.forms, **other.forms}
        return Secrets(forms, self.marks | other.marks, self.n_values + other.n_values)

    def without(self, *kinds: Kind) -> Secrets:
        """Return the spellings of other kinds."""
        forms = {form: kind for form, kind in self.forms.items() if kind not in kinds}
        return Secrets(forms, self.marks, self.n_values)


def make_secrets(
    values: Iterable[tuple[Kind, str]], *, public: Iterable[str] = (), allowed: Iterable[str] = ()
) -> Secrets:
    """Prepare values for the search.

    Parameters
    ----------
    values : iterable of (kind, value)
        As they stand in the input.
    public : iterable of str
        What may be told: makers, models, software and coils. A site's name that is one of them is not
        searched for (some scanners give their model as the station), nor is a free text or private value that
        is a part of one; a name, ID, date, UID or serial number always is.
    allowed : iterable of str
        Spellings that are not searched for, whatever they are of.

    Returns
    -------
    Secrets
        Values that tell nobody, such as ``***`` or ``Anonymous``, are left out.

    Examples
    --------
    >>> sorted(make_secrets([("name", "Doe^Jane"), ("site", "UIH")], public=["UIH"]).forms)
    ['doe', 'doe jane', 'doe^jane', 'doejane', 'jane', 'jane doe', 'janedoe']

    """
    told = [text.casefold() for text in public if text]
    free = {text.casefold() for text in allowed}
    forms: dict[str, Kind] = {}
    marks: set[str] = set()
    seen: set[str] = set()
    for kind, value in set(values):
        text = " ".join(value.casefold().split())
        if kind in ("uid", "time"):
            if _MARK_IN_TEXT.fullmatch(text) and not text.startswith(_STANDARD_UIDS):
                marks.add(text)
                seen.add(text)
            continue
        if kind == "site" and text in told:
            continue
        if kind in ("free text", "private") and any(text in known for known in told):
            continue
        spellings = {form for form in search_forms(kind, text) if _tells(form) and form not in free}
        if spellings:
            seen.add(text)
        for form in spellings:
            forms.setdefault(form, kind)
    return Secrets(forms, frozenset(marks), len(seen))


def search_forms(kind: Kind, text: str) -> set[str]:
    """Return the spellings of a value.

    Examples
    --------
    >>> sorted(search_forms("date", "20220407"))[:3]
    ['04-07-2022', '04.07.2022', '04/07/2022']
    >>> sorted(search_forms("id", "ab-123-456"))
    ['ab-123-456', 'ab123456']

    """
    if kind == "date":
        return _date_forms(text)
    if kind == "name":
        return _name_forms(text)
    plain = "".join(c for c in text if c.isalnum())
    return {text, plain} if kind in ("id", "serial") and len(plain) >= LONG else {text}


def find_in_bytes(payload: bytes, secrets: Secrets) -> dict[Kind, int]:
    """Search binary data, such as voxels, for every long value; return how many of each kind are there."""
    lower = payload.lower()
    hits: dict[Kind, int] = {}
    for form, kind in secrets.forms.items():
        if len(form) >= LONG and any(raw in lower for raw in _encoded(form)):
            hits[kind] = hits.get(kind, 0) + 1
    if secrets.marks:
        found = {raw.strip(b".").decode() for raw in _MARK_IN_BYTES.findall(payload)}
        if known := found & secrets.marks:
            hits["uid"] = len(known)
    return hits


def find_in_texts(texts: Iterable[str], secrets: Secrets) -> dict[Kind, int]:
    """Search pieces of text, such as the cells of a table; return how many values of each kind are there.

    Numbers are compared with whole dates and UIDs alone.
    """
    words: list[str] = []
    numbers: list[str] = []
    for text in texts:
        (numbers if _NUMBER.fullmatch(text.strip()) else words).append(text.casefold())
    hits: dict[Kind, int] = {}
    whole, digits = "\n".join(words), "\n".join(numbers)
    for form, kind in secrets.forms.items():
        found = form in whole and (_searched_anywhere(form) or _stands_alone(form, whole))
        if kind in ("date", "id", "serial") and len(form) >= LONG:
            found = found or _stands_alone(form, digits)
        if found:
            hits[kind] = hits.get(kind, 0) + 1
    if secrets.marks:
        pieces = {piece.strip(".") for piece in _MARK_IN_TEXT.findall(whole + "\n" + digits)}
        if known := pieces & secrets.marks:
            hits["uid"] = len(known)
    return hits


def texts_in_json(payload: bytes, *, fixed: frozenset[str]) -> list[str]:
    """Return the keys and values of a JSON document as text, without values that are words of `fixed`."""
    return [text for text in _leaves(json.loads(payload)) if text not in fixed]


def texts_in_table(payload: bytes, *, fixed: frozenset[str]) -> list[str]:
    """Return the cells of a tab-separated table, without those that are words of `fixed`."""
    cells = re.split(r"[\t\r\n]", payload.decode("utf-8"))
    return [cell for cell in cells if cell and cell not in fixed]


def hide(text: str, secrets: Secrets) -> str:
    """Replace every value in a message by ``[hidden]``.

    Examples
    --------
    >>> hide("series 4 'jane_t1'", make_secrets([("name", "Doe^Jane")]))
    "series 4 '[hidden]_t1'"

    """
    for form in sorted(secrets.forms, key=len, reverse=True):
        if form in text.casefold():
            whole = re.escape(form) if _searched_anywhere(form) else _alone(form)
            text = re.sub(whole, "[hidden]", text, flags=re.IGNORECASE)
    return _MARK_IN_TEXT.sub(
        lambda piece: "[hidden]" if piece[0].strip(".") in secrets.marks else piece[0], text
    )


def _date_forms(text: str) -> set[str]:
    """Return the usual ways to write a day; the day of a date and time."""
    match = _DATE.match(text)
    if match is None:
        return set()
    year, month, day = match.groups()
    forms = {f"{year}{month}{day}"}
    for mark in "-./":
        forms |= {mark.join(parts) for parts in ((year, month, day), (day, month, year), (month, day, year))}
    return forms


def _name_forms(text: str) -> set[str]:
    """Return a person's name whole, its parts, and its first two parts in both orders."""
    parts = [part for part in re.split(r"[\^=\s,.;\\]+", text) if part]
    forms = {text, *parts}
    if len(parts) > 1:
        first, second = parts[:2]
        forms |= {f"{first}{gap}{second}" for gap in (" ", "")} | {
            f"{second}{gap}{first}" for gap in (" ", "")
        }
    return forms


def _tells(form: str) -> bool:
    """Say whether a spelling can tell anyone: letters and digits enough, and no filler."""
    plain = "".join(c for c in form if c.isalnum())
    return len(plain) >= SHORTEST and plain not in EMPTY_WORDS and len(set(plain)) > 1


def _searched_anywhere(form: str) -> bool:
    """Say whether a spelling is long enough; a plain number might be a part of another and must be longer."""
    return len(form) >= (LONG_NUMBER if form.isdigit() else LONG)


def _alone(form: str) -> str:
    """Return a pattern for a spelling with no letter or digit beside it; a number with no decimals."""
    if form.isdigit():
        beside = "0-9." if len(form) >= LONG else "0-9A-Za-z."
        return rf"(?<![{beside}]){form}(?![{beside[:-1]}]|\.[0-9])"
    return rf"(?<![^\W_]){re.escape(form)}(?![^\W_])"


def _stands_alone(form: str, text: str) -> bool:
    return re.search(_alone(form), text) is not None


def _encoded(form: str) -> set[bytes]:
    """Return a spelling in the encodings of text in DICOM, as `bytes.lower` leaves them."""
    encoded = set()
    for text in {form, form.upper(), form.title()}:
        encoded.add(text.encode("utf-8").lower())
        with suppress(UnicodeEncodeError):
            encoded.add(text.encode("latin-1").lower())
    return encoded


def _leaves(document: object) -> list[str]:
    """Return every key and value of a JSON document as text."""
    if isinstance(document, dict):
        return [text for key, value in document.items() for text in (str(key), *_leaves(value))]
    if isinstance(document, list):
        return [text for value in document for text in _leaves(value)]
    return [str(document)]
