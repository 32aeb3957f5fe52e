"""Lesions carried to another grid keep their place and size, whatever the axes and voxels."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.grid import voxel_to_world
from mripipe.core.incidence import covered_share, crop_to_lesion, lesion_on_grid, lesioned_share

TARGET = np.array([[1.0, 0, 0, -20], [0, 1, 0, -20], [0, 0, 1, -20], [0, 0, 0, 1]])
SHAPE = (41, 41, 41)
LOW, HIGH = np.array([-12.4, 2.6, -5.4]), np.array([-2.4, 12.6, 6.6])
"""A box left of the midline, in front, mm."""

GRIDS = {
    "same": (TARGET, SHAPE),
    "LAS": (np.array([[-1.0, 0, 0, 20], [0, 1, 0, -20], [0, 0, 1, -18], [0, 0, 0, 1]]), (41, 41, 39)),
    "PSR": (np.array([[0, 0, 1.0, -20], [-1, 0, 0, 20], [0, 1, 0, -20], [0, 0, 0, 1]]), SHAPE),
    "half": (np.diag([0.5, 0.5, 0.5, 1.0]) + np.array([[0, 0, 0, -20.25]] * 3 + [[0.0] * 4]), (82, 82, 82)),
    "anisotropic": (
        np.array([[1.0, 0, 0, -20], [0, 1, 0, -20], [0, 0, 4, -18.5], [0, 0, 0, 1]]),
        (41, 41, 10),
    ),
}


def box(affine, shape):
    points = voxel_to_world(np.argwhere(np.ones(shape, bool)), affine)
    return ((points > LOW) & (points < HIGH)).all(axis=1).reshape(shape)


@pytest.mark.parametrize("name", GRIDS)
def test_a_lesion_keeps_its_place(name):
    affine, shape = GRIDS[name]
    found = voxel_to_world(lesion_on_grid(box(affine, shape), affine, SHAPE, TARGET), TARGET)
    wanted = np.argwhere(box(TARGET, SHAPE))
    assert len(np.unique(found, axis=0)) == len(found)
    assert (found[:, 0] < 0).all()
    tolerance = 2.0 if name == "anisotropic" else 0.6
    assert (found > LOW - tolerance).all()
    assert (found < HIGH + tolerance).all()
    assert len(found) == pytest.approx(len(wanted), rel=0.12)
    if name in ("same", "LAS", "PSR"):
        assert len(found) == len(wanted)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_cropping_changes_nothing(name, order):
    affine, shape = GRIDS[name]
    mask = np.array(box(affine, shape), order=order)
    small, moved = crop_to_lesion(mask, affine)
    assert small.size < mask.size
    assert small.sum() == mask.sum()
    whole = lesion_on_grid(mask, affine, SHAPE, TARGET)
    cropped = lesion_on_grid(small, moved, SHAPE, TARGET)
    assert set(map(tuple, cropped)) == set(map(tuple, whole))


def test_an_empty_mask_has_no_voxel():
    small, moved = crop_to_lesion(np.zeros((4, 5, 6), bool), TARGET)
    assert small.size == 0
    assert lesion_on_grid(small, moved, SHAPE, TARGET).shape == (0, 3)


def test_what_lies_outside_the_grid_is_left_out():
    mask = np.ones((10, 10, 10), bool)
    affine = TARGET.copy()
    affine[0, 3] = 16.0
    found = lesion_on_grid(mask, affine, SHAPE, TARGET)
    assert len(found) == 500
    assert found.min() >= 0


def labelled():
    labels = np.zeros(SHAPE, np.uint8)
    labels[:20], labels[21:] = 1, 3
    return labels


def test_a_field_of_view_covers_its_share_of_each_label():
    affine = TARGET.copy()
    affine[0, 3] = 0.0
    share = covered_share(labelled(), TARGET, (41, 41, 41), affine)
    assert (share[1], share[3]) == (0, 1)
    assert np.isnan(share[2])
    thick = np.array([[1.0, 0, 0, -20], [0, 1, 0, -20], [0, 0, 4, -18.5], [0, 0, 0, 1]])
    assert covered_share(labelled(), TARGET, (41, 41, 10), thick)[1] == pytest.approx(40 / 41)


def test_the_lesioned_share_counts_the_label_alone():
    labels = labelled()
    voxels = lesion_on_grid(box(TARGET, SHAPE), TARGET, SHAPE, TARGET)
    share = lesioned_share(voxels, labels, np.bincount(labels.ravel()))
    assert share[1] == pytest.approx(len(voxels) / (20 * 41 * 41))
    assert share[3] == 0
