from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from mripipe.interfaces.codec import decode, encode, paths_in
from mripipe.model.failure import Failure
from mripipe.model.results import LesionVolumes, NormalisationQuality, VisitResult


@dataclass(frozen=True)
class Leaf:
    side: Literal["left", "right"]
    path: Path | None = None


@dataclass(frozen=True)
class Tree:
    name: str
    ok: bool
    count: int
    volume: float | None
    leaves: tuple[Leaf, ...]
    shape: tuple[int, int, int]
    either: Leaf | Failure
    matrix: tuple[tuple[float, ...], ...] = ()


LEAF = Leaf("left", Path("/a b/é.nii.gz"))
TREE = Tree("x\n<", True, 3, 0.1 + 0.2, (LEAF, Leaf("right")), (1, 2, 3), LEAF, ((1.0, -0.0), (5e-324,)))
VISIT = VisitResult(
    "sub-1",
    "ses-a",
    LesionVolumes("sub-1", "ses-a", "ok", days_from_onset=45.0, source="auto", n_components=2),
    preproc=Path("p.nii.gz"),
    quality=NormalisationQuality(0.9, 0.1, 3.0, 0.99),
    warnings=("one", "two"),
)


def through_json(value: object, hint: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value, hint))), hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (TREE, Tree),
        (VISIT, VisitResult),
        (Failure("sub-1", None, "align", "why"), Leaf | Failure),
        (LEAF, Leaf | Failure),
        ((), tuple[Leaf, ...]),
        (None, Path | None),
        (None, type(None)),
    ],
)
def test_round_trip_is_exact(value, hint):
    back = through_json(value, hint)
    assert back == value
    assert repr(back) == repr(value)


def test_not_a_number_survives():
    assert math.isnan(through_json(float("nan"), float))


def test_a_number_of_numpy_comes_back_as_pythons():
    back = through_json(
        LesionVolumes("s", "t", "ok", lesion_ml=np.float32(0.5), n_components=np.int64(2)), LesionVolumes
    )
    assert type(back.lesion_ml) is float
    assert type(back.n_components) is int
    assert (back.lesion_ml, back.n_components) == (0.5, 2)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (Leaf("up"), Leaf, r"value\.side: expected .*left"),
        (Leaf("left", "text"), Leaf, r"value\.path: expected Path, got str"),
        (1.5, int, "expected int, got float"),
        (True, int, "expected int, got bool"),
        (1, bool, "expected bool"),
        ("1", float, "expected float, got str"),
        (None, str, "expected str, got NoneType"),
        ((1, 2), tuple[int, int, int], "expected 3 items, got 2"),
        ([1], tuple[int, ...], "got list"),
        (LEAF, Failure, "expected Failure, got Leaf"),
        (3, Leaf | Failure, "got int"),
    ],
)
def test_what_was_not_declared_is_refused_and_named(value, hint, message):
    with pytest.raises(TypeError, match=message):
        encode(value, hint)


@pytest.mark.parametrize(
    "data",
    [
        {"type": "Other", "fields": {"side": "left", "path": None}},
        {"type": "Leaf", "fields": {"side": "left"}},
        {"type": "Leaf", "fields": {"side": "left", "path": None, "more": 1}},
        {"type": "Leaf", "fields": {"side": "left", "path": 3}},
        "Leaf",
    ],
)
def test_data_of_another_shape_is_refused(data):
    with pytest.raises(TypeError, match="expected"):
        decode(data, Leaf)


def test_every_path_is_found():
    assert list(paths_in(TREE)) == [LEAF.path, LEAF.path]
    assert list(paths_in((Path("a"), "b", None))) == [Path("a")]
