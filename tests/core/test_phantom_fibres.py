"""Fibres of the phantoms: truth stays where it is, and wrong b-vectors break tracts apart as in a head."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.diffusion_mask import diffusion_mask
from mripipe.core.gradient_axes import check_axes
from mripipe.core.gradients import GradientTable, directions_from_fsl
from mripipe.core.grid import voxel_sizes_mm
from mripipe.core.phantom import visit_grid
from mripipe.core.phantom_diffusion import even_gradients, fsl_vectors, render_diffusion
from mripipe.core.phantom_fibres import CST_PATH_MM, OTHER_FA, TRACT_FA, corticospinal, white_matter
from mripipe.core.phantom_scan import SLAB_OF_VIEW_MM, make_grid
from mripipe.core.tensor import fit_tensor
from mripipe.core.tensor_maps import main_directions, tensor_maps
from tests.phantoms import patient

FLIPS = [((0, 1, 2), flip) for flip in (None, 0, 1, 2)]
SWAPS = [((1, 0, 2), None), ((0, 2, 1), None), ((2, 1, 0), 0), ((2, 0, 1), 1)]


def matrix(order, flip):
    """Return what an order of axes and then a flip do to vectors."""
    turn = np.eye(3)[list(order)]
    if flip is not None:
        turn[flip] *= -1.0
    return turn


def named(name):
    """Return what a name of a flip or an order of axes tells to do."""
    order = [0, 1, 2]
    if "order" in name:
        order = ["xyz".index(letter) for letter in name.split("order ")[1].split()[:3]]
    flip = "xyz".index(name.split(" flipped")[0][-1]) if "flipped" in name else None
    return matrix(order, flip)


def scanned(seed, side, orientation, oblique, snr):
    who = patient(seed, side, 150.0)
    grid = visit_grid(who, 0, "dwi", zooms_mm=(3.0, 3.0, 3.0), orientation=orientation)
    if oblique is not None:
        centre = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]
        grid = make_grid(
            centre,
            zooms_mm=(2.5, 3, 3),
            view_mm=SLAB_OF_VIEW_MM,
            orientation=orientation,
            oblique_deg=oblique,
        )
    gradients = even_gradients(20)
    return render_diffusion(who, 0, grid, gradients, snr=snr), gradients, grid.affine


@pytest.mark.parametrize(
    ("seed", "side", "orientation", "oblique", "snr", "orders"),
    [
        (1, "left", "LAS", None, 20.0, FLIPS + SWAPS),
        (2, "right", "LAS", (12.0, -8.0, 15.0), 20.0, FLIPS),
        (3, "left", "PSR", None, 12.0, FLIPS),
    ],
    ids=["LAS", "oblique", "PSR"],
)
def test_each_wrong_table_is_named_and_never_the_right_one(seed, side, orientation, oblique, snr, orders):
    data, gradients, affine = scanned(seed, side, orientation, oblique, snr)
    weighted = gradients.b_values > 0
    mask = diffusion_mask(data[..., weighted].mean(axis=3), voxel_sizes_mm(affine))
    fa, ways = np.zeros(mask.shape), np.zeros((*mask.shape, 3))
    for order, flip in orders:
        wrong = matrix(order, flip)
        vectors = directions_from_fsl(wrong @ fsl_vectors(gradients, affine), affine)
        fit = fit_tensor(data[mask], GradientTable(gradients.b_values, vectors))
        fa[mask], ways[mask] = np.nan_to_num(tensor_maps(fit.elements).fa), main_directions(fit.elements)
        found = check_axes(ways, fa, affine)
        if (order, flip) == FLIPS[0]:
            assert found.name is None
            assert found.best == found.as_given
        else:
            assert found.name is not None, (order, flip)
            # The sign of a direction has no meaning.
            np.testing.assert_array_equal(np.abs(np.trace(named(found.name) @ wrong)), 3.0)


def test_anisotropy_is_that_of_the_tract_and_its_damage():
    """Means over the core of the tract, which directions outside must not change."""
    height, lateral, y, *_ = np.array(CST_PATH_MM[1:-1]).T
    for sign, side, ratio in ((-1.0, "left", 0.6), (1.0, "right", 1.0)):
        points = np.array([sign * lateral, y, height])
        assert (corticospinal(points, side) > 0.9).all()
        md, fa, fibres = white_matter(points, "left", 0.6)
        np.testing.assert_allclose(fa, TRACT_FA * ratio)
        np.testing.assert_allclose(md, 0.75e-3)
        # It climbs, and bends outwards on its own side up to the capsule.
        assert (np.abs(fibres[2]) > 0.5).all()
        below = height < 20.0
        assert (sign * fibres[0][below] * fibres[2][below] > 0).all()


def test_hemispheres_are_mirrored_and_the_rest_has_its_own_anisotropy():
    points = np.random.default_rng(0).uniform([[14], [-80], [-20]], [[60], [50], [60]], (3, 4000))
    mirror = np.array([[-1.0], [1.0], [1.0]])
    (_, fa, here), (_, other_fa, there) = (white_matter(p, "none", 1.0) for p in (points, mirror * points))
    np.testing.assert_array_equal(fa, other_fa)
    np.testing.assert_allclose(np.linalg.norm(here, axis=0), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.abs((here * mirror * there).sum(axis=0)), 1.0, atol=1e-6)
    assert set(np.unique(fa)) == {OTHER_FA, TRACT_FA}


def test_a_step_along_a_fibre_ends_in_the_same_fibre():
    points = np.random.default_rng(1).uniform([[25], [-60], [-10]], [[50], [40], [50]], (3, 4000))
    here = white_matter(points, "none", 1.0)[2]
    flipped = here * np.array([[1.0], [-1.0], [1.0]])
    along, off = (
        ((here * white_matter(points + 8.0 * way, "none", 1.0)[2]).sum(axis=0) ** 2).mean()
        for way in (here, flipped)
    )
    assert along > 0.8
    assert off < 0.7


def test_the_corticospinal_tract_is_slender_in_the_brain_stem_and_a_fan_above_the_capsule():
    steps = np.linspace(-30.0, 30.0, 241)
    widths = {}
    for height, lateral, middle, *_ in CST_PATH_MM:
        across = np.array([lateral + steps, np.full(241, middle), np.full(241, height)])
        along = np.array([np.full(241, lateral), middle + steps, np.full(241, height)])
        widths[height] = [0.25 * (corticospinal(p, "right") >= 0.5).sum() for p in (across, along)]
        mirrored = along * np.array([[-1.0], [1.0], [1.0]])
        np.testing.assert_array_equal(corticospinal(mirrored, "left"), corticospinal(along, "right"))
    assert max(widths[-30.0]) < 16.0
    assert widths[30.0][0] == pytest.approx(14.0, abs=1.0)
    assert widths[30.0][1] == pytest.approx(34.0, abs=1.0)
