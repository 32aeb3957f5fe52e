"""Depth within a mask, against the distances to all voxels outside."""

from __future__ import annotations

import numpy as np
import pytest

from mripipe.core.distance import depth_within


@pytest.mark.parametrize("share", [0.1, 0.9, 0.995])
def test_the_nearest_voxel_outside_counts(share):
    # Of three sizes, set up to the array's edges, from where there is nothing to be far from.
    mask = np.random.default_rng(0).random((9, 13, 7)) < share
    inside, outside = np.argwhere(mask), np.argwhere(~mask)
    nearest = np.linalg.norm(inside[:, None] - outside[None], axis=-1).min(axis=1)
    found = depth_within(mask)
    np.testing.assert_allclose(found[mask], nearest, rtol=1e-12)
    assert not found[~mask].any()


def test_of_nothing_and_of_all():
    assert not depth_within(np.zeros((3, 4, 5), bool)).any()
    assert np.isinf(depth_within(np.ones((3, 4, 5), bool))).all()
