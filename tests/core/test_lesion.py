"""Infarct probability on a small symmetric head: either side, missing FLAIR, noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from mripipe.core.lesion import lesion_log_odds, tissue_priors, view_patterns
from mripipe.core.lesion_field import lesion_probability

SHAPE = (61, 66, 56)
POINTS = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
RADIUS = np.linalg.norm(POINTS / (26.0, 29.0, 24.0), axis=-1)
BRAIN = RADIUS < 1.0
VENTRICLES = np.linalg.norm((np.abs(POINTS) - (5.0, 0.0, 0.0)) / (3.5, 9.0, 5.0), axis=-1) < 1
FLUID = VENTRICLES | (BRAIN & (RADIUS > 0.95))
WHITE = (RADIUS < 0.75) & ~FLUID
GREY = BRAIN & ~WHITE & ~FLUID
LEVELS = {
    "T1w": (70.0, 100.0, 25.0, 35.0),
    "FLAIR": (100.0, 80.0, 25.0, 170.0),
    "T2w": (110.0, 85.0, 240.0, 180.0),
    "ADC": (82.0, 75.0, 300.0, 150.0),
}
"""Grey matter, white matter, CSF, gliosis."""


def ball(side: int) -> np.ndarray:
    return BRAIN & ~FLUID & (np.linalg.norm(POINTS - (16.0 * side, 3.0, 2.0), axis=-1) < 8.0)


def images(*kinds: str, lesion: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = []
    for kind in kinds:
        grey, white, fluid, sick = LEVELS[kind]
        image = np.select([lesion, FLUID, WHITE, GREY], [sick, fluid, white, grey], 0.0)
        out.append((image + rng.normal(0.0, 5.0, SHAPE)).astype(np.float32))
    return np.stack(out)


def probability(pictures: np.ndarray, *kinds: str) -> np.ndarray:
    priors = tissue_priors(*(m.astype(np.float32) for m in (GREY, WHITE, FLUID)))
    odds, _ = lesion_log_odds(pictures, kinds, BRAIN, priors, np.ones(SHAPE, bool), VENTRICLES)
    return lesion_probability(odds, BRAIN)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_priors_sum_to_one_and_rule_nothing_out():
    priors = tissue_priors(*(m.astype(np.float32) for m in (GREY, WHITE, FLUID)))
    assert priors.shape == (3, *SHAPE)
    np.testing.assert_allclose(priors.sum(axis=0), 1.0, atol=1e-5)
    assert priors.min() > 0
    assert np.mean(priors[1][RADIUS < 0.6] > 0.5) > 0.7


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(
    "kinds", [("T1w",), ("FLAIR",), ("T2w",), ("T1w", "FLAIR"), ("T1w", "ADC"), ("FLAIR", "T2w", "ADC")]
)
def test_infarct_is_found_on_either_side(kinds, side):
    found = probability(images(*kinds, lesion=ball(side)), *kinds)
    assert found.dtype == np.float32
    assert 0.0 <= found.min() <= found.max() <= 1.0
    assert not found[~BRAIN].any()
    assert dice(found > 0.5, ball(side)) > 0.75
    assert np.mean(found[ball(-side)] > 0.5) < 0.02


def test_a_healthy_head_has_next_to_none():
    found = probability(images("T1w", "FLAIR", lesion=np.zeros(SHAPE, bool)), "T1w", "FLAIR")
    assert np.mean(found[BRAIN] > 0.5) < 0.01


def test_where_flair_was_not_scanned_the_t1_speaks_alone():
    pictures = images("T1w", "FLAIR", lesion=ball(1))
    pictures[1, :, :, 30:] = np.nan
    found = probability(pictures, "T1w", "FLAIR")
    assert np.isfinite(found).all()
    assert dice(found > 0.5, ball(1)) > 0.7
    assert np.mean(found[..., 30:][ball(1)[..., 30:]] > 0.5) > 0.5


def test_cavity_is_told_from_gliosis():
    hole = BRAIN & ~FLUID & (np.linalg.norm(POINTS - (16.0, 3.0, 2.0), axis=-1) < 5.0)
    pictures = images("T1w", "FLAIR", lesion=ball(1))
    pictures[0][hole] -= 10.0
    pictures[1][hole] -= 145.0
    priors = tissue_priors(*(m.astype(np.float32) for m in (GREY, WHITE, FLUID)))
    _, cavity = lesion_log_odds(pictures, ("T1w", "FLAIR"), BRAIN, priors, np.ones(SHAPE, bool), VENTRICLES)
    assert np.mean(cavity[hole] > 0.5) > 0.9
    assert np.mean(cavity[ball(1) & ~hole] > 0.5) < 0.1


@pytest.mark.parametrize("kinds", [("T2w",), ("T1w", "FLAIR")])
def test_a_ventricle_drawn_wide_by_the_infarct_is_none_of_it(kinds):
    wide = np.linalg.norm((POINTS - (7.5, 0.0, 0.0)) / (6.0, 9.0, 5.0), axis=-1) < 1
    infarct = WHITE & ~wide & (np.linalg.norm(POINTS - (16.0, 3.0, 2.0), axis=-1) < 11.0)
    pictures = images(*kinds, lesion=infarct)
    for picture, kind in zip(pictures, kinds, strict=True):
        tissue = WHITE & wide
        picture[tissue] += LEVELS[kind][2] - LEVELS[kind][1]
    priors = tissue_priors(*(m.astype(np.float32) for m in (GREY, WHITE, FLUID)))
    drawn = wide & ~VENTRICLES
    shares = []
    for expected in (VENTRICLES, np.zeros(SHAPE, bool)):
        odds, _ = lesion_log_odds(pictures, kinds, BRAIN, priors, np.ones(SHAPE, bool), expected)
        shares.append(np.mean(lesion_probability(odds, BRAIN)[drawn] > 0.5))
    assert shares[0] < 0.15
    assert shares[1] > 0.4


def test_each_part_of_the_brain_is_judged_by_what_shows_it():
    pictures = images("T1w", "FLAIR", "ADC", lesion=ball(1))
    pictures[1, :, :, 30:] = np.nan
    pictures[2, :, 36:] = np.nan
    parts = list(view_patterns(pictures, BRAIN))
    assert sorted(present for present, _ in parts) == [[0], [0, 1], [0, 1, 2], [0, 2]]
    np.testing.assert_array_equal(np.sum([region for _, region in parts], axis=0), BRAIN)
    for present, region in parts:
        assert np.isfinite(pictures[present][:, region]).all()
    # Too little of the brain to fit tissues in: the reference decides there.
    pictures[2, :, 6:] = np.nan
    assert sorted(present for present, _ in view_patterns(pictures, BRAIN)) == [[0], [0, 1]]
    found = probability(pictures, "T1w", "FLAIR", "ADC")
    assert dice(found > 0.5, ball(1)) > 0.7


def test_what_is_cavity_is_not_told_by_diffusion():
    hole = BRAIN & ~FLUID & (np.linalg.norm(POINTS - (16.0, 3.0, 2.0), axis=-1) < 5.0)
    pictures = images("T1w", "FLAIR", "ADC", lesion=ball(1))
    pictures[0][hole] -= 10.0
    pictures[1][hole] -= 145.0
    priors = tissue_priors(*(m.astype(np.float32) for m in (GREY, WHITE, FLUID)))
    _, cavity = lesion_log_odds(
        pictures, ("T1w", "FLAIR", "ADC"), BRAIN, priors, np.ones(SHAPE, bool), VENTRICLES
    )
    assert np.mean(cavity[hole] > 0.5) > 0.9
    assert np.mean(cavity[ball(1) & ~hole] > 0.5) < 0.1


@pytest.mark.parametrize("side", [-1, 1])
def test_shading_on_one_side_is_no_infarct(side):
    pictures = images("T1w", lesion=np.zeros(SHAPE, bool))
    pictures *= 1.0 - 0.25 * expit(side * POINTS[..., 0] / 6.0)
    assert np.mean(probability(pictures, "T1w")[BRAIN] > 0.5) < 0.01


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("gliosis", [(60.0, 130.0), (35.0, 200.0)])
def test_a_soft_border_is_drawn_half_way_for_faint_and_bright_infarcts(gliosis, side):
    wide = BRAIN & ~FLUID & (np.linalg.norm(POINTS - (13.0 * side, 3.0, 2.0), axis=-1) < 10.0)
    healthy = images("T1w", "FLAIR", lesion=np.zeros(SHAPE, bool))
    share = gaussian_filter(wide.astype(float), 1.2)[None]
    pictures = healthy + share * (np.array(gliosis)[:, None, None, None] - healthy)
    found = probability(pictures.astype(np.float32), "T1w", "FLAIR") > 0.5
    near = np.linalg.norm(POINTS - (13.0 * side, 3.0, 2.0), axis=-1) < 16.0
    assert abs((found & near).sum() / wide.sum() - 1.0) < 0.1


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("gliosis", [40.0, 55.0])
def test_on_t1w_alone_a_soft_border_within_white_matter_is_drawn_half_way(gliosis, side):
    # Half gliosis, half white matter is as bright as grey matter: by itself it is no infarct.
    wide = BRAIN & ~FLUID & (np.linalg.norm(POINTS - (13.0 * side, 3.0, 2.0), axis=-1) < 11.5)
    healthy = images("T1w", lesion=np.zeros(SHAPE, bool))
    share = gaussian_filter(wide.astype(float), 1.2)
    found = probability((healthy + share * (gliosis - healthy)).astype(np.float32), "T1w") > 0.5
    truth = (share >= 0.5) & ~FLUID
    assert dice(found, truth) > 0.92
    assert abs((found & ~FLUID).sum() / truth.sum() - 1.0) < 0.1


def test_what_is_suspected_has_no_say_in_what_healthy_tissue_looks_like():
    # A quarter of the brain is little brighter than grey matter: by itself it passes for some of it.
    wide = BRAIN & ~FLUID & (POINTS[..., 0] > 6)
    picture = images("FLAIR", lesion=np.zeros(SHAPE, bool))
    sick = np.random.default_rng(1).normal(1.12 * LEVELS["FLAIR"][0], 8.0, SHAPE)
    picture[0] = np.where(wide, sick, picture[0])
    priors = tissue_priors(*(m.astype(np.float32) for m in (GREY, WHITE, FLUID)))
    everywhere = np.ones(SHAPE, bool)
    found = []
    for suspect in (wide, BRAIN, None):
        odds, _ = lesion_log_odds(picture, ("FLAIR",), BRAIN, priors, everywhere, VENTRICLES, suspect)
        found.append(lesion_probability(odds, BRAIN) > 0.5)
    assert dice(found[0], wide) > 0.8
    assert found[0][BRAIN & (POINTS[..., 0] < 0)].mean() < 0.01
    # Were all of it suspected there would be nothing to compare it with.
    assert dice(found[1], wide) < 0.2
    assert dice(found[2], wide) < 0.2
