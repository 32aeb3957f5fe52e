"""Which pieces of a probability map are the infarct."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from mripipe.core.lesion_select import (
    select_acute,
    select_contralateral,
    select_infarct,
    selected_probability,
    without_rim,
)

SHAPE = (80, 60, 50)
"""The middle of the first axis is the midline."""


def box(*slices: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*ends) for ends in slices)] = True
    return mask


TERRITORY = box((5, 30), (10, 50), (10, 40)) | box((50, 75), (10, 50), (10, 40))
BRAIN = np.ones(SHAPE, bool)
MAIN = box((10, 28), (20, 40), (15, 30))
"""5.4 mL at 1 mm."""


def select(*masks: np.ndarray, voxel_ml: float = 1e-3) -> np.ndarray:
    return select_infarct(np.any(masks, axis=0) * 0.9, TERRITORY, BRAIN, voxel_ml=voxel_ml)


@pytest.mark.parametrize("flip", [False, True])
def test_main_piece_is_kept_on_either_side(flip):
    mask = MAIN[::-1] if flip else MAIN
    np.testing.assert_array_equal(select(mask), mask)


def test_below_one_half_is_nothing():
    assert not select_infarct(MAIN * 0.49, TERRITORY, BRAIN).any()
    assert not select_infarct(np.zeros(SHAPE), TERRITORY, BRAIN).any()


def test_volume_counts_not_voxels():
    small = box((10, 22), (20, 32), (15, 30))
    assert small.sum() == 2160
    assert not select(small).any()
    np.testing.assert_array_equal(select(small, voxel_ml=1.5e-3), small)


def test_outside_the_territory_is_no_infarct_however_large():
    assert not select(box((10, 28), (20, 40), (38, 50)), voxel_ml=5e-3).any()


def test_the_piece_with_most_territory_is_the_main_one():
    rival = box((10, 28), (40, 60), (30, 50))
    assert rival.sum() > MAIN.sum()
    away = box((52, 70), (20, 40), (15, 30))
    kept = select(away, box((5, 26), (0, 16), (36, 50)))
    np.testing.assert_array_equal(kept, away)


def test_near_pieces_on_the_same_side_belong_to_it():
    near, far = box((10, 28), (44, 50), (15, 30)), box((10, 28), (0, 4), (15, 30))
    np.testing.assert_array_equal(select(MAIN, near, far), MAIN | near)


@pytest.mark.parametrize("flip", [False, True])
def test_a_far_piece_belongs_to_it_where_it_is_large_and_in_the_territory(flip):
    way = -1 if flip else 1
    main = box((8, 29), (11, 24), (11, 23))
    assert main.sum() * 1e-3 > 3.0
    far = box((10, 22), (40, 49), (28, 39))
    assert far.sum() * 1e-3 > 1.0
    np.testing.assert_array_equal(select((main | far)[::way]), (main | far)[::way])
    small = box((10, 19), (40, 49), (28, 39))
    assert small.sum() * 1e-3 < 1.0
    np.testing.assert_array_equal(select((main | small)[::way]), main[::way])
    # As large, and partly outside the territory; in it, on the other side.
    outside = box((10, 22), (42, 53), (29, 40))
    assert 0.5 < TERRITORY[outside].mean() < 0.9
    np.testing.assert_array_equal(select((main | outside)[::way]), main[::way])
    np.testing.assert_array_equal(select((main | far[::-1])[::way]), main[::way])


def test_specks_do_not():
    speck = box((10, 13), (42, 45), (15, 18))
    np.testing.assert_array_equal(select(MAIN, speck), MAIN)


def test_pieces_across_the_midline_do_not():
    medial = box((20, 36), (20, 40), (15, 30))
    across = box((41, 50), (20, 40), (15, 30))
    np.testing.assert_array_equal(select(medial, across), medial)
    np.testing.assert_array_equal(select(medial[::-1], across[::-1]), medial[::-1])


def test_the_main_piece_may_bulge_over_the_midline():
    bulging = box((12, 44), (20, 40), (15, 30))
    np.testing.assert_array_equal(select(bulging), bulging)


def test_a_sheet_of_fluid_under_the_surface_is_cut_off_a_lesion_there_is_not():
    points = np.moveaxis(np.indices(SHAPE), 0, -1) - (40.0, 30.0, 25.0)
    radius = np.linalg.norm(points / (38.0, 28.0, 23.0), axis=-1)
    brain = radius < 1.0
    sheet = brain & (radius > 0.9)
    infarct = brain & (np.linalg.norm(points - (26.0, 0.0, 0.0), axis=-1) < 10.0)
    deep_sheet = brain & (np.abs(points[..., 1]) < 1.5) & (radius < 0.5)
    kept = without_rim(sheet | infarct | deep_sheet, brain)
    away = sheet & (points[..., 0] < 0)
    assert np.mean(kept[away]) < 0.02
    assert np.mean(kept[infarct]) > 0.95
    assert kept[deep_sheet].all()


def other_side(*masks: np.ndarray, voxel_ml: float = 1e-3) -> np.ndarray:
    everything = np.any([MAIN, *masks], axis=0) * 0.9
    infarct = select_infarct(everything, TERRITORY, BRAIN, voxel_ml=voxel_ml)
    return select_contralateral(everything, infarct, TERRITORY, BRAIN, voxel_ml=voxel_ml)


OLD = box((55, 70), (24, 40), (15, 30))
"""3.6 mL on the other side."""


@pytest.mark.parametrize("flip", [False, True])
def test_an_older_infarct_on_the_other_side_is_told_apart(flip):
    everything, way = (MAIN | OLD) * 0.9, -1 if flip else 1
    infarct = select_infarct(everything[::way], TERRITORY, BRAIN)
    np.testing.assert_array_equal(infarct, MAIN[::way])
    found = select_contralateral(everything[::way], infarct, TERRITORY, BRAIN)
    np.testing.assert_array_equal(found, OLD[::way])


def test_what_is_small_or_elsewhere_on_the_other_side_is_no_infarct():
    small, elsewhere = box((55, 65), (24, 40), (15, 30)), box((52, 75), (20, 45), (39, 50))
    assert small.sum() * 1e-3 < 3.0 < elsewhere.sum() * 1e-3
    assert not other_side(small).any()
    assert not other_side(elsewhere).any()
    np.testing.assert_array_equal(other_side(small, voxel_ml=2e-3), small)


def test_another_piece_on_the_infarcts_own_side_is_no_older_one():
    assert not other_side(box((8, 30), (44, 60), (10, 35))).any()


def test_a_bulge_over_the_midline_is_no_older_infarct():
    bulging = box((10, 46), (20, 40), (15, 30))
    assert not select_contralateral(bulging * 0.9, bulging, TERRITORY, BRAIN).any()


def test_without_an_infarct_there_is_no_other_side():
    assert not select_contralateral(OLD * 0.9, np.zeros(SHAPE, bool), TERRITORY, BRAIN).any()


@pytest.mark.parametrize("flip", [False, True])
def test_fragments_of_an_acute_infarct_are_kept_on_its_side_in_the_territory(flip):
    fragments = [box((10, 20), (20, 30), (15, 25)), box((8, 12), (45, 49), (12, 16))]
    speck, elsewhere = box((25, 27), (12, 14), (30, 33)), box((10, 20), (52, 58), (20, 30))
    other_side = box((60, 66), (20, 28), (15, 25))
    wanted, everything = (np.any(m, axis=0) for m in (fragments, [*fragments, speck, elsewhere, other_side]))
    if flip:
        wanted, everything = wanted[::-1], everything[::-1]
    np.testing.assert_array_equal(select_acute(everything * 0.9, TERRITORY), wanted)
    # In a brain of another size the same voxels are another volume.
    assert not select_acute(everything * 0.9, TERRITORY, voxel_ml=4e-4).any()


def test_fragments_alone_are_no_acute_infarct():
    assert not select_acute(box((8, 12), (45, 49), (12, 16)) * 0.9, TERRITORY).any()
    assert not select_acute(np.zeros(SHAPE), TERRITORY).any()


def test_a_selected_piece_keeps_its_border_between_voxels_and_no_other_piece_comes_with_it():
    probability = gaussian_filter((MAIN | box((50, 60), (20, 40), (15, 30))).astype(float), 3.0)
    kept = (probability >= 0.5) & MAIN
    found = selected_probability(probability, kept)
    assert ((found >= 0.5) == kept).all()
    # Cut through the middle, looked up four times as finely: half of a blurred edge is where the edge was.
    line = zoom(found[:, 30, 22], 4, order=1, grid_mode=True, mode="grid-constant")
    assert np.count_nonzero(line >= 0.5) / 4 == pytest.approx(18.0, abs=0.3)
    assert not found[45:].any()
