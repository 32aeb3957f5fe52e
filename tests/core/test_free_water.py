"""Free water: what was put in comes out, as by dipy, and is refused where shells do not allow it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from dipy.core.gradients import gradient_table
from dipy.reconst.fwdti import FreeWaterTensorModel

from mripipe.core.free_water import fit_free_water, free_water_obstacle
from mripipe.core.gradients import GradientTable
from mripipe.core.phantom_diffusion import axial_radial, even_gradients
from mripipe.core.tensor import fit_tensor
from mripipe.core.tensor_maps import tensor_maps
from mripipe.errors import InputError

FA, MD, WATER = 0.6, 0.75e-3, 3.0e-3


def table(*shells, n_b0=3):
    b, rows = [np.zeros(n_b0)], [np.zeros((n_b0, 3))]
    for b_value, n in shells:
        even = even_gradients(n, b_value=b_value, n_b0=0)
        b.append(even.b_values)
        rows.append(even.directions)
    return GradientTable(np.concatenate(b), np.vstack(rows))


def signals(gradients, fractions, *, sigma=0.0, s0=800.0, seed=0):
    """Return signals of one fibre a voxel, in random directions, with water."""
    rng = np.random.default_rng(seed)
    ways = rng.normal(size=(len(fractions), 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    axial, radial = (float(v) for v in axial_radial(np.float64(MD), np.float64(FA)))
    b = gradients.b_values
    tissue = np.exp(-b * (radial + (axial - radial) * (ways @ gradients.directions.T) ** 2))
    share = np.asarray(fractions)[:, None]
    clean = s0 * ((1 - share) * tissue + share * np.exp(-b * WATER))
    noise = s0 * sigma * rng.normal(size=(2, *clean.shape))
    return np.hypot(clean + noise[0], noise[1])


TWO = table((500.0, 12), (1000.0, 30))


@pytest.mark.parametrize(
    "gradients", [TWO, table((300.0, 6), (1000.0, 20)), table((700.0, 20), (1400.0, 20))]
)
@pytest.mark.parametrize("s0", [0.8, 4000.0])
def test_fraction_and_tissue_are_recovered_without_noise(gradients, s0):
    fractions = np.repeat([0.0, 0.1, 0.3, 0.5, 0.7, 0.9], 5)
    found = fit_free_water(signals(gradients, fractions, s0=s0), gradients)
    maps = tensor_maps(found.elements)
    np.testing.assert_allclose(found.fraction, fractions, atol=2e-3)
    np.testing.assert_allclose(maps.fa, FA, atol=5e-3)
    np.testing.assert_allclose(maps.md, MD, rtol=0.01)


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_noise_leaves_the_mean_where_it_is(fraction):
    signal = signals(TWO, np.full(600, fraction), sigma=1 / 30, seed=1)
    found = fit_free_water(signal, TWO)
    assert found.fraction.mean() == pytest.approx(fraction, abs=0.015)
    assert tensor_maps(found.elements).fa.mean() == pytest.approx(FA, abs=0.05)
    # What the plain tensor makes of the same voxels.
    plain = tensor_maps(fit_tensor(signal, TWO).elements).fa.mean()
    assert plain < FA - 0.25 * fraction


def test_same_as_dipys_nonlinear_fit():
    signal = signals(TWO, np.repeat([0.0, 0.2, 0.5, 0.7], 5), sigma=1 / 30, seed=2)
    gradients = gradient_table(TWO.b_values, bvecs=TWO.directions, b0_threshold=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = FreeWaterTensorModel(gradients, fit_method="NLS").fit(signal)
    ours = fit_free_water(signal, TWO)
    np.testing.assert_allclose(ours.fraction, theirs.f, atol=1e-3)
    np.testing.assert_allclose(tensor_maps(ours.elements).fa, theirs.fa, atol=2e-3)


def test_fluid_is_all_water_and_has_no_tissue():
    signal = signals(TWO, np.ones(50), sigma=1 / 50, seed=3)
    found = fit_free_water(signal, TWO)
    assert found.fraction.min() > 0.9
    assert np.isnan(found.elements[found.fraction > 0.95]).all()
    assert (found.fraction > 0.95).mean() > 0.9


def test_voxels_without_signal_stay_without_a_value():
    signal = signals(TWO, np.full(3, 0.3))
    signal[0], signal[1, 5] = 0.0, np.nan
    found = fit_free_water(signal, TWO)
    assert np.isnan(found.fraction[:2]).all()
    assert np.isnan(found.elements[:2]).all()
    assert found.fraction[2] == pytest.approx(0.3, abs=2e-3)


def test_higher_shells_are_left_out():
    gradients = table((500.0, 12), (1000.0, 30), (3000.0, 20))
    signal = signals(gradients, np.full(4, 0.4))
    signal[:, gradients.b_values > 2000] *= 7.0
    np.testing.assert_allclose(fit_free_water(signal, gradients).fraction, 0.4, atol=2e-3)


@pytest.mark.parametrize(
    ("gradients", "reason"),
    [
        (table((1000.0, 30)), "one shell (b = 1000)"),
        (table((1000.0, 30), (3000.0, 30)), "one shell (b = 1000)"),
        (table((2500.0, 30)), "no shell up to b = 1500"),
        (table((500.0, 12), (1000.0, 30), n_b0=0), "no volume at b = 0"),
        (table((800.0, 12), (1000.0, 30)), "shells too close or too high (b = 800, 1000)"),
        (table((1000.0, 12), (1500.0, 30)), "shells too close or too high (b = 1000, 1500)"),
    ],
)
def test_shells_that_do_not_tell_water_from_tissue_are_refused(gradients, reason):
    assert free_water_obstacle(gradients) == reason
    with pytest.raises(InputError) as error:
        fit_free_water(np.ones((1, gradients.b_values.size)), gradients)
    assert reason in str(error.value)


def test_shells_that_do():
    assert free_water_obstacle(TWO) is None
    assert free_water_obstacle(table((300.0, 6), (1000.0, 30), (2000.0, 30))) is None
