"""``mripipe agree``: masks against references, as tables."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mripipe.bids.files import write_atomic
from mripipe.bids.pairs import MaskPair, match_masks
from mripipe.core.agreement import Agreement, SetAgreement, agreement_over
from mripipe.errors import InputError, RequestError
from mripipe.steps.agree import compare_files

MISSING = "n/a"
COLUMNS = {
    "dice": 4,
    "reference_ml": 3,
    "test_ml": 3,
    "volume_difference_ml": 3,
    "absolute_volume_difference_ml": 3,
    "hd95_mm": 2,
    "lesion_f1": 4,
    "n_reference": 0,
    "n_test": 0,
    "count_difference": 0,
    "absolute_count_difference": 0,
}
"""Fields of an `Agreement` and their decimals, in the table's order."""


@dataclass(frozen=True)
class Row:
    """One pair and what came of it."""

    pair: MaskPair
    found: Agreement | None
    status: str


def agree(given: Namespace) -> bool:
    """Compare masks; False if a pair could not be compared."""
    rows = [_compare(pair) for pair in _pairs(given.reference, given.tests)]
    table = _table(rows)
    found = [row.found for row in rows if row.found is not None]
    summary = _summary(agreement_over(found)) if len(found) > 1 else None
    sys.stdout.write(table if summary is None else f"{table}\n{summary}")
    if given.output is not None:
        _write(given.output, table, summary)
    if summary is not None and not given.reference.is_dir():
        print(
            "note: all pairs share one reference, so the ICC tells nothing about different brains; "
            "give two folders for that",
            file=sys.stderr,
        )
    return len(found) == len(rows)


def _pairs(reference: Path, tests: Sequence[Path]) -> tuple[MaskPair, ...]:
    """Return what is to be compared: two folders, or a reference with each test."""
    folders = [path for path in (reference, *tests) if path.is_dir()]
    if not folders:
        return tuple(MaskPair(str(test), reference, test) for test in tests)
    if len(tests) > 1 or len(folders) == 1:
        raise RequestError(f"{folders[0]}: a folder is compared with one other folder, files with files")
    return match_masks(reference, tests[0])


def _compare(pair: MaskPair) -> Row:
    if pair.reference is None or pair.test is None:
        side = "reference" if pair.reference is None else "test"
        print(f"missing: {pair.name}: no {side} mask", file=sys.stderr)
        return Row(pair, None, "missing_input")
    try:
        return Row(pair, compare_files(pair.reference, pair.test), "ok")
    except InputError as error:
        print(f"failed: {pair.name}: {error}", file=sys.stderr)
        return Row(pair, None, "failed")


def _table(rows: Sequence[Row]) -> str:
    """Write a row a pair; what could not be measured is n/a."""
    lines = [["reference", "test", *COLUMNS, "status"]]
    for row in rows:
        paths = [str(path) if path is not None else MISSING for path in (row.pair.reference, row.pair.test)]
        values = [_number(getattr(row.found, name, None), places) for name, places in COLUMNS.items()]
        lines.append([*paths, *values, row.status])
    return _tsv(lines)


def _summary(whole: SetAgreement) -> str:
    """Write a row a measure over the set."""
    limits = whole.volume_bland_altman
    rows = [
        ("mean_dice", whole.mean_dice, 4, "1"),
        ("volume_icc_2_1", whole.icc_2_1, 4, "1"),
        ("volume_bland_altman_bias", limits.bias if limits else None, 3, "mL"),
        ("volume_bland_altman_lower", limits.lower if limits else None, 3, "mL"),
        ("volume_bland_altman_upper", limits.upper if limits else None, 3, "mL"),
        ("volume_within_subject_sd", whole.within_subject_sd_ml, 3, "mL"),
        ("volume_minimal_detectable_change", whole.minimal_detectable_change_ml, 3, "mL"),
    ]
    pairs = str(len(whole.pairs))
    lines = [[name, _number(value, places), unit, pairs] for name, value, places, unit in rows]
    return _tsv([["measure", "value", "unit", "n_pairs"], *lines])


def _number(value: float | None, places: int) -> str:
    # Adding 0.0 makes a rounded -0.0 a plain 0.
    return MISSING if value is None else f"{round(value, places) + 0.0:.{places}f}"


def _tsv(lines: Sequence[Sequence[str]]) -> str:
    # A path may hold a tab or a line end, which would break the table.
    return "".join("\t".join(" ".join(cell.split()) for cell in cells) + "\n" for cells in lines)


def _write(path: Path, table: str, summary: str | None) -> None:
    """Write the table, and what sums it up beside it."""
    write_atomic(path, table)
    beside = path.with_name(f"{path.stem}_summary{path.suffix}")
    if summary is not None:
        write_atomic(beside, summary)
