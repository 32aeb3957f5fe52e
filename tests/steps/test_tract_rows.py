"""Which voxels a tract's mean rests on, from what was looked up on both sides."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.tract_course import TractAt
from mripipe.steps.tract_rows import MAPS, Measured, asymmetry_row, metric_row

N_LEVELS, EACH = 10, 40
LEVELS = np.repeat(np.arange(N_LEVELS), EACH)


def side(fa, *, there=None, lesion=None, mirrored=None):
    """Make a tract of ten levels; `there` says which voxels the field of view holds."""
    kept = np.ones(len(LEVELS), bool) if there is None else there
    ones = np.ones(kept.sum(), np.float32)
    at = TractAt(ones, ones, ones, np.zeros(len(ones), np.int8), np.zeros((len(ones), 3), np.float32))
    values = {name: np.broadcast_to(fa, len(LEVELS))[kept] for name in MAPS}
    shares = [np.zeros(len(LEVELS)) if part is None else part.astype(float) for part in (lesion, mirrored)]
    return Measured(at, ones, values, shares[0][kept], shares[1][kept], {"whole": 1.0}, LEVELS[kept])


def rows(ipsi, contra):
    pair = ((ipsi, "ipsilesional", "left", contra), (contra, "contralesional", "right", ipsi))
    return [
        metric_row("T", "whole", None, found, hemisphere, name, other=other, usable=True)
        for found, hemisphere, name, other in pair
    ]


def test_a_level_in_view_on_one_side_counts_on_neither():
    fa = np.where(LEVELS < 3, 0.2, 0.6)
    ipsi, contra = rows(side(0.9 * fa, there=LEVELS >= 3), side(fa))
    assert (ipsi.fa, contra.fa) == (pytest.approx(0.54), pytest.approx(0.6))
    assert asymmetry_row(ipsi, contra, "left", None).rfa == pytest.approx(0.9)


def test_a_level_that_the_lesion_takes_a_part_of_keeps_its_size():
    fa = np.where(LEVELS < 3, 0.2, 0.6)
    lesion = (LEVELS < 3) & (np.arange(len(LEVELS)) % 4 > 0)
    ipsi, contra = rows(side(0.9 * fa, lesion=lesion), side(fa, mirrored=lesion))
    assert (ipsi.fa, contra.fa) == (pytest.approx(0.9 * 0.48), pytest.approx(0.48))


def test_where_the_lesion_leaves_nothing_to_compare_the_other_side_is_measured_whole():
    fa = np.where(LEVELS < 3, 0.2, 0.6)
    lesion = np.arange(len(LEVELS)) >= 20
    ipsi, contra = rows(side(fa, lesion=lesion), side(fa, mirrored=lesion))
    assert (ipsi.status, ipsi.fa) == ("truncated_by_lesion", None)
    assert (contra.status, contra.fa) == ("ok", pytest.approx(0.48))


def test_sides_without_a_level_in_common_keep_their_own():
    ipsi, contra = rows(side(0.3, there=LEVELS < 5), side(0.6, there=LEVELS >= 5))
    assert (ipsi.fa, contra.fa) == (pytest.approx(0.3), pytest.approx(0.6))


@pytest.mark.parametrize("lost", ["ipsi", "contra"])
def test_a_side_that_is_thinner_at_a_level_is_still_compared_alike(lost):
    # Of one side half of the poor levels is outside the brain: its rich levels must not count more.
    fa = np.where(LEVELS < 3, 0.2, 0.6)
    thin = ~((LEVELS < 3) & (np.arange(len(LEVELS)) % 2 > 0))
    there = {"ipsi": None, "contra": None} | {lost: thin}
    ipsi, contra = rows(side(0.9 * fa, there=there["ipsi"]), side(fa, there=there["contra"]))
    assert ipsi.fa / contra.fa == pytest.approx(0.9)


def test_with_the_lesion_all_voxels_count():
    lesion = LEVELS < 5
    ipsi, contra = rows(side(np.where(lesion, 0.1, 0.5), lesion=lesion), side(0.5, mirrored=lesion))
    assert (ipsi.fa, ipsi.fa_with_lesion) == (pytest.approx(0.5), pytest.approx(0.3))
    assert (contra.fa, contra.fa_with_lesion) == (pytest.approx(0.5), pytest.approx(0.5))


def test_a_tract_that_stands_alone_is_measured_at_its_own_levels():
    found = metric_row("T", "whole", None, side(0.4), None, None, other=None, usable=True)
    assert (found.status, found.fa, found.md) == ("ok", pytest.approx(0.4), pytest.approx(400.0))
