"""Lateral ventricles: place in the template, fluid by intensity, volumes by side."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.atlases.template import load_template
from mripipe.core.grid import Volume
from mripipe.core.tissue import TissueModel
from mripipe.core.ventricles import (
    fluid_mask,
    template_ventricles,
    ventricle_fluid,
    ventricle_room,
    ventricle_volumes_ml,
)

SHAPE = (40, 30, 30)


@pytest.mark.parametrize("step", [2, 3])
def test_template_has_two_mirrored_ventricles_of_a_healthy_size(step):
    template = load_template()
    # Odd steps do not keep x = 0 in the middle, so the mirror is tried on the even one alone.
    csf, affine = template.csf[::step, ::step, ::step], template.affine @ np.diag([step, step, step, 1])
    found = template_ventricles(csf, affine)
    x = np.argwhere(found) @ affine[:3, :3].T + affine[:3, 3]
    for half in (x[:, 0] < 0, x[:, 0] > 0):
        assert 3.0 < half.sum() * step**3 / 1000 < 20.0
    if step == 2:
        np.testing.assert_array_equal(found, found[::-1])
    # The bodies lie above the temporal horns, behind the frontal pole.
    assert abs(x[:, 0]).max() < 45.0
    assert -70.0 < x[:, 1].min() < x[:, 1].max() < 45.0


def test_room_reaches_some_millimetres_further():
    template = load_template()
    csf, affine = template.csf[::2, ::2, ::2], template.affine @ np.diag([2, 2, 2, 1])
    ventricles, room = template_ventricles(csf, affine), ventricle_room(csf, affine)
    assert room[ventricles].all()
    index = np.argwhere(ventricles)
    end = index[np.argmax(index[:, 1])]
    # Forward of the frontal horn: 3 voxels of 2 mm.
    assert room[end[0], end[1] + 3, end[2]]
    assert not room[end[0], end[1] + 4, end[2]]


@pytest.mark.parametrize(("means", "sequence"), [((70, 100, 25), "T1w"), ((80, 60, 200), "T2w")])
def test_fluid_is_told_by_intensity(means, sequence):
    truth = np.zeros(SHAPE, int)
    truth[10:20], truth[20:30] = 1, 2
    data = np.random.default_rng(0).normal(np.array(means, float)[truth], 5.0)
    # Fluid beyond all that the fit has seen is fluid too.
    extreme = (25, 5, 5)
    data[extreme] = -40.0 if sequence == "T1w" else 600.0
    model = TissueModel(np.array(means, float)[:, None], np.full((3, 1, 1), 25.0))
    brain = np.ones(SHAPE, bool)
    brain[35:] = False
    found = fluid_mask(Volume(data.astype(np.float32), np.diag([-1, 2, 3, 1.0])), brain, model)
    assert found[extreme]
    assert np.mean(found[20:30]) > 0.99
    assert np.mean(found[:20]) < 0.01
    assert not found[35:].any()


def test_volumes_go_by_side_whatever_the_arrays_order():
    fluid = np.zeros(SHAPE, bool)
    fluid[5:15, 5:25, 5:15] = True
    fluid[25:30, 5:25, 5:15] = True
    room = np.ones(SHAPE, bool)
    none = np.zeros(SHAPE, bool)
    x = np.broadcast_to(np.linspace(-30, 30, 40)[:, None, None], SHAPE)
    assert ventricle_volumes_ml(fluid, room, none, x, 0.002) == pytest.approx((4.0, 2.0))
    assert ventricle_volumes_ml(fluid, room, none, -x, 0.002) == pytest.approx((2.0, 4.0))


def test_sulci_and_the_infarcts_cavity_do_not_count():
    fluid = np.zeros(SHAPE, bool)
    fluid[5:15, 5:25, 5:15] = True
    fluid[3:5, 28:30, 20:25] = True
    lesion = np.zeros(SHAPE, bool)
    lesion[:, 15:] = True
    room = np.ones(SHAPE, bool)
    room[:, :, 10:] = False
    x = np.broadcast_to(np.linspace(-30, 30, 40)[:, None, None], SHAPE)
    room[3:5, 28:30, 20:25] = True
    found = ventricle_volumes_ml(fluid, room, lesion & (np.arange(30) < 20), x, 0.001)
    assert found == pytest.approx((0.5, 0.0))


def ball(zooms, radius_mm):
    """Return the share of each voxel of a grid that lies in a ball, by points 0.5 mm apart."""
    shape = tuple(int(44 / zoom) for zoom in zooms)
    steps = [round(zoom / 0.5) for zoom in zooms]
    axes = [(np.arange(n * k) + 0.5) * 0.5 - n * k * 0.25 for n, k in zip(shape, steps, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    fine = x**2 + y**2 + z**2 < radius_mm**2
    split = [part for n, k in zip(shape, steps, strict=True) for part in (n, k)]
    return fine.reshape(split).mean(axis=(1, 3, 5))


@pytest.mark.parametrize(("zooms", "within"), [((1.0, 1.0, 1.0), 0.05), ((1.0, 1.5, 3.0), 0.08)])
@pytest.mark.parametrize("beside", ["white", "grey"])
@pytest.mark.parametrize(("levels", "csf"), [((900.0, 640.0, 210.0), 380.0), ((120.0, 150.0, 400.0), 330.0)])
def test_border_lies_at_half_the_step_to_the_tissue_beside(zooms, within, levels, csf, beside):
    """The mixture's CSF is half tissue, and its own border too far out where grey matter lies beside."""
    white, grey, fluid = levels
    share = ball(zooms, 11.0)
    data = share * fluid + (1 - share) * {"white": white, "grey": grey}[beside]
    data += np.random.default_rng(3).normal(0.0, 12.0, share.shape)
    image = Volume(data.astype(np.float32), np.diag([-zooms[0], zooms[1], zooms[2], 1.0]))
    middle = (csf + grey) / 2
    guess = (data < middle) if fluid < grey else (data > middle)
    inside = np.ones(share.shape, bool)
    found = ventricle_fluid(image, guess, inside, grey)
    voxel = np.prod(zooms)
    truth = 4 / 3 * np.pi * 11.0**3
    assert np.count_nonzero(found) * voxel == pytest.approx(truth, rel=within)
    if beside == "grey":
        errors = [abs(np.count_nonzero(mask) * voxel / truth - 1) for mask in (guess, found)]
        assert errors[0] > errors[1]
    inside[: share.shape[0] // 2] = False
    assert not (ventricle_fluid(image, guess, inside, grey) & ~inside).any()


def test_no_fluid_stays_no_fluid():
    image = Volume(np.full(SHAPE, 100.0, np.float32), np.eye(4))
    nothing = np.zeros(SHAPE, bool)
    assert not ventricle_fluid(image, nothing, ~nothing, 80.0).any()
    block = nothing.copy()
    block[5:10, 5:10, 5:10] = True
    # No contrast: the first guess stays.
    np.testing.assert_array_equal(ventricle_fluid(image, block, ~nothing, 100.0), block)
