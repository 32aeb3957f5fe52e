"""Slices and voxels that no tensor explains: found where they are, nowhere else, and made harmless."""

import numpy as np
import pytest

from mripipe.core.diffusion_slices import fill_dropped_slices, find_dropped_slices
from mripipe.core.gradients import GradientTable
from mripipe.core.phantom_diffusion import even_gradients
from mripipe.core.tensor import design_matrix, fit_tensor
from mripipe.core.tensor_maps import tensor_maps
from mripipe.core.tensor_robust import fit_tensor_robust

SHAPE = (24, 22, 18)


def table(n):
    even = even_gradients(n)
    return GradientTable(even.b_values, even.directions)


def tensors(n, seed):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.uniform(0.3e-3, 1.6e-3, (n, 3)))[:, ::-1]
    frames = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    full = np.einsum("nij,nj,nkj->nik", frames, values, frames)
    return full[:, [0, 0, 1, 0, 1, 2], [0, 1, 1, 2, 2, 2]]


def clean_signal(n, gradients, seed=1):
    return 800 * np.exp(design_matrix(gradients)[:, 1:] @ (tensors(n, seed).T * 1e3)).T


def series(n=20, sigma=25.0):
    """Return a ball of tissue with noise, its gradients, where it is, and it without noise."""
    gradients = table(n)
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    mask = np.linalg.norm((index - np.array(SHAPE) / 2) / (11, 10, 8.5), axis=-1) < 1
    data = np.zeros((*SHAPE, n + 1), np.float32)
    data[mask] = clean_signal(int(mask.sum()), gradients)
    noise = np.random.default_rng(2).normal(0, sigma, data.shape)
    return (data + noise).astype(np.float32), gradients, mask, data


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_dropped_slices_are_found_and_no_others(axis):
    data, gradients, mask, clean = series()
    hit = {(3, 8), (3, 10), (11, 9), (17, 8)}
    for volume, place in hit:
        where = [slice(None)] * 3
        where[axis] = place
        data[(*where, volume)] *= 0.45
    found = find_dropped_slices(data, gradients, mask, axis=axis)
    assert {(int(v), int(s)) for v, s in np.argwhere(found)} == hit
    filled = fill_dropped_slices(data, gradients, mask, found, axis=axis)
    changed = np.argwhere((filled != data).any(axis=tuple(a for a in range(3) if a != axis)))
    assert {(int(v), int(s)) for s, v in changed} == hit
    where = (slice(None),) * axis + (8,)
    error = np.abs(filled[where][mask[where]] - clean[where][mask[where]])[:, 3]
    assert error.mean() < 30


def test_nothing_is_found_in_noise_or_in_a_volumes_gain():
    data, gradients, mask, _ = series(sigma=60.0)
    data[..., 5] *= 0.8
    assert not find_dropped_slices(data, gradients, mask, axis=2).any()


def test_neighbours_that_fell_out_together_are_found():
    data, gradients, mask, _ = series()
    data[:, :, 6:12, 4] *= 0.3
    found = find_dropped_slices(data, gradients, mask, axis=2)
    assert {(int(v), int(s)) for v, s in np.argwhere(found)} == {(4, s) for s in range(6, 12)}


def test_volumes_beyond_the_tensor_are_not_judged():
    data, gradients, mask, _ = series()
    b = gradients.b_values.copy()
    b[15:] = 3000.0
    data[:, :, 9, 16] = 0.0
    mixed = GradientTable(b, gradients.directions)
    found = find_dropped_slices(data, mixed, mask, axis=2)
    assert found.shape == (21, 18)
    assert not found[15:].any()


def test_robust_tensors_withstand_outliers():
    gradients = table(30)
    clean = clean_signal(2000, gradients, seed=5)
    rng = np.random.default_rng(6)
    noisy = np.maximum(clean + rng.normal(0, 20, clean.shape), 1.0)
    spoilt = noisy.copy()
    for k in range(1, 31, 10):
        spoilt[::2, k] *= 0.3
    truth = tensor_maps(fit_tensor(clean, gradients).elements)
    wrong, right, still = (
        tensor_maps(fit.elements)
        for fit in (
            fit_tensor(spoilt, gradients),
            fit_tensor_robust(spoilt, gradients),
            fit_tensor_robust(noisy, gradients),
        )
    )
    error = [np.abs(maps.fa - truth.fa)[::2].mean() for maps in (wrong, right, still)]
    assert error[1] < 0.35 * error[0]
    # Without outliers it loses little against the plain fit.
    plain = np.abs(tensor_maps(fit_tensor(noisy, gradients).elements).fa - truth.fa).mean()
    assert np.abs(still.fa - truth.fa).mean() < 1.15 * plain


def test_no_voxels_give_no_tensors():
    assert fit_tensor_robust(np.empty((0, 31)), table(30)).elements.shape == (0, 6)
