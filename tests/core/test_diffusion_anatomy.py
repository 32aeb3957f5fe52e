"""Distortion by the field, found in the anatomy: a known one, none, beside an infarct, in any storage."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.diffusion_anatomy import TissueShown, agreement, field_from_anatomy, unbent, where_borne_out
from mripipe.core.field_algebra import slope_along
from tests.distorted_head import MM, SHAPE, ZOOMS, diffusion, field, points, shown

LEFT = np.array([-38.0, -6.0, 14.0])
B = 1000.0


def signal(md, plain):
    return np.where(md > 0, plain * np.exp(-B * md), 0).astype(np.float32)


def left_mm(found, strength, region):
    """Median and 95th percentile of what is left of the field."""
    truth = field(points(), strength).reshape(SHAPE)
    return np.percentile(np.abs(found - truth)[region], [50, 95])


def found(strength=1.0, hole=None, **look):
    fa, md, plain = diffusion(strength, hole=hole, **look)
    seen = shown(hole)
    return field_from_anatomy(fa, signal(md, plain), seen, ZOOMS, 1), seen, plain


@pytest.mark.parametrize(
    ("strength", "hole", "gain"),
    [(1.0, None, 0.0), (-1.0, None, 0.4), (1.0, LEFT, 0.0), (1.0, LEFT * [-1, 1, 1], 0.0)],
    ids=["forwards", "backwards, coils", "infarct left", "infarct right"],
)
def test_a_known_field_is_found(strength, hole, gain):
    ours, seen, plain = found(strength, hole, gain=gain)
    before, after = left_mm(np.zeros(SHAPE), strength, seen.region), left_mm(ours, strength, seen.region)
    assert before[1] > 3.0
    assert after[0] < 0.35
    assert after[1] < 0.35 * before[1]
    assert agreement(unbent(plain, ours, MM, 1, pressed=True), seen) > agreement(plain, seen) + 0.02


@pytest.mark.parametrize("gain", [0.0, 0.4])
def test_no_field_is_made_where_there_is_none(gain):
    """A gain that changes from side to side must not pass for signal that was pressed together."""
    ours, seen, _ = found(0.0, gain=gain)
    assert left_mm(ours, 0.0, seen.region)[0] < 0.15
    assert left_mm(ours, 0.0, seen.region)[1] < 0.5


@pytest.mark.parametrize("flips", [(0,), (1,), (0, 1, 2)])
def test_storage_does_not_matter(flips):
    fa, md, plain = diffusion(1.0)
    seen, weighted = shown(), signal(md, plain)
    ours = field_from_anatomy(fa, weighted, seen, ZOOMS, 1)
    turned = TissueShown(
        np.flip(seen.tissues, [axis + 1 for axis in flips]), np.flip(seen.region, flips)
    )  # fmt: skip
    other = field_from_anatomy(np.flip(fa, flips), np.flip(weighted, flips), turned, ZOOMS, 1)
    sign = -1.0 if 1 in flips else 1.0
    apart = np.abs(np.flip(other, flips) * sign - ours)[seen.region]
    assert np.percentile(apart, 99) < 0.1


def test_another_axis_may_be_encoded():
    fa, md, plain = diffusion(1.0)
    seen, weighted = shown(), signal(md, plain)
    turned = TissueShown(seen.tissues.swapaxes(1, 2), seen.region.swapaxes(0, 1))
    ours = field_from_anatomy(fa, weighted, seen, ZOOMS, 1)
    other = field_from_anatomy(fa.swapaxes(0, 1), weighted.swapaxes(0, 1), turned, ZOOMS, 0)
    assert np.percentile(np.abs(other.swapaxes(0, 1) - ours)[seen.region], 99) < 0.1


def test_units_of_the_signal_do_not_matter():
    fa, md, plain = diffusion(1.0)
    seen, weighted = shown(), signal(md, plain)
    one, other = (field_from_anatomy(fa, part, seen, ZOOMS, 1) for part in (weighted, 1e-4 * weighted))
    assert np.percentile(np.abs(other - one)[seen.region], 99) < 0.1


def test_a_signal_is_thinned_where_it_was_pressed_together():
    """The sum along the phase encoding stays; FA keeps its value."""
    rng = np.random.default_rng(1)
    image = np.zeros((4, 40, 4), np.float32)
    image[:, 12:28] = rng.uniform(50, 100, (4, 16, 4))
    away = 5.0 * np.sin(np.linspace(0, np.pi, 40))[None, :, None] * np.ones((4, 1, 4))
    straight = unbent(image, away, 2.0, 1, pressed=True)
    np.testing.assert_allclose(straight.sum(axis=1), image.sum(axis=1), rtol=0.03)
    flat = unbent(np.ones_like(image), away, 2.0, 1, pressed=False)
    np.testing.assert_array_equal(flat, 1.0)
    np.testing.assert_allclose(
        unbent(np.ones_like(image), away, 2.0, 1, pressed=True), 1 + slope_along(away, 2.0, 1), rtol=1e-6
    )


@pytest.mark.parametrize(("sign", "kept"), [(1, True), (-1, False)], ids=["true", "wrong"])
def test_a_field_is_kept_where_another_image_bears_it_out(sign, kept):
    _, _, plain = diffusion(1.0)
    seen, truth = shown(), field(points()).reshape(SHAPE).astype(np.float32)
    ours = where_borne_out(sign * truth, plain, seen, ZOOMS, 1)
    strong = seen.region & (np.abs(truth) > 2.0)
    share = float(np.median(ours[strong] / (sign * truth[strong])))
    assert share == pytest.approx(1.0 if kept else 0.0, abs=0.1)


def test_what_is_true_on_one_side_alone_is_kept_there_alone():
    _, _, plain = diffusion(1.0)
    seen, truth = shown(), field(points()).reshape(SHAPE).astype(np.float32)
    right = np.indices(SHAPE)[0] > SHAPE[0] // 2
    ours = where_borne_out(np.where(right, truth, -truth), plain, seen, ZOOMS, 1)
    far = np.abs(np.indices(SHAPE)[0] - SHAPE[0] / 2) > 6
    strong = seen.region & far & (np.abs(truth) > 2.0)
    assert np.median(ours[strong & right] / truth[strong & right]) > 0.8
    assert np.median(np.abs(ours[strong & ~right] / truth[strong & ~right])) < 0.2


def test_agreement_is_the_share_explained():
    seen = shown()
    mixed = np.tensordot([3.0, 1.0, 9.0], seen.tissues, axes=1)
    assert agreement(mixed, seen) == pytest.approx(1.0)
    coils = 1 + 0.4 * np.linspace(-1, 1, SHAPE[0])[:, None, None]
    assert agreement(mixed * coils, seen) == pytest.approx(1.0)
    noise = np.random.default_rng(1).normal(0, mixed[seen.region].std(), SHAPE)
    assert agreement(mixed + noise, seen) == pytest.approx(0.5, abs=0.02)
    assert agreement(noise, seen) == pytest.approx(0.0, abs=0.01)
