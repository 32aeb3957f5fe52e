"""Trace image and ADC of a series."""

import numpy as np
import pytest

from mripipe.core.diffusion_mean import mean_diffusion
from mripipe.core.gradients import GradientTable
from mripipe.errors import InputError

AXES = np.vstack([np.zeros((1, 3)), np.eye(3)])
SHAPE = (6, 5, 4)


def series(eigenvalues, b=1000.0, s0=800.0):
    """Make signals of a tensor along the axes, in 10^-3 mm^2/s."""
    decay = np.exp(-b * 1e-3 * np.asarray(eigenvalues))
    return np.broadcast_to(s0 * np.concatenate([[1.0], decay]), (*SHAPE, 4)).astype(np.float32)


def test_adc_is_the_mean_of_the_eigenvalues_and_trace_the_geometric_mean():
    table = GradientTable(np.array([0.0, 1000.0, 1000.0, 1000.0]), AXES)
    found = mean_diffusion(series((1.7, 0.3, 0.4)), table)
    assert found.adc == pytest.approx(np.full(SHAPE, 0.8), rel=1e-4)
    assert found.trace == pytest.approx(np.full(SHAPE, 800.0 * np.exp(-0.8)), rel=1e-4)
    assert found.b0 == pytest.approx(np.full(SHAPE, 800.0))


def test_another_shell_has_no_say():
    b = np.array([0.0, 800.0, 800.0, 800.0, 3000.0])
    table = GradientTable(b, np.vstack([AXES, [[1.0, 0.0, 0.0]]]))
    data = np.concatenate([series((1.0, 1.0, 1.0), b=800.0), np.full((*SHAPE, 1), 400.0, np.float32)], axis=3)
    assert mean_diffusion(data, table).adc == pytest.approx(np.full(SHAPE, 1.0), rel=1e-4)


def test_where_there_is_no_signal_there_is_no_adc():
    table = GradientTable(np.array([0.0, 1000.0, 1000.0, 1000.0]), AXES)
    data = series((0.8, 0.8, 0.8)).copy()
    data[0] = 0.0
    data[1] *= 0.05
    found = mean_diffusion(data, table)
    assert np.isfinite(found.adc).all()
    assert not found.adc[:2].any()
    assert (found.adc[2:] > 0.7).all()


@pytest.mark.parametrize("b", [[1000.0, 1000.0, 1000.0], [0.0, 200.0, 3000.0]])
def test_a_series_without_a_b0_or_a_fitting_shell_is_refused(b):
    rows = np.where(np.array(b)[:, None] > 50, np.eye(3), 0.0)
    with pytest.raises(InputError, match=r"ADC: expected volumes at b = 0 and at b = 500 to 1500"):
        mean_diffusion(np.ones((*SHAPE, 3)), GradientTable(np.array(b), rows))
