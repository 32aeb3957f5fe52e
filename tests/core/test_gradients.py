import numpy as np
import pytest

from mripipe.core.gradients import (
    GradientTable,
    directions_from_fsl,
    directions_to_fsl,
    odd_lengths,
    without_direction,
)
from mripipe.core.phantom_diffusion import even_gradients, fsl_vectors
from mripipe.errors import InputError

OBLIQUE = np.array(
    [[-1.9, 0.3, 0.1, 80.0], [0.3, 1.95, -0.2, -90.0], [0.1, 0.2, 2.4, -60.0], [0.0, 0.0, 0.0, 1.0]]
)
LAS, RAS = np.diag([-2.0, 2.0, 2.0, 1.0]), np.diag([2.0, 2.0, 3.0, 1.0])
PSR = np.array([[0, 0, 2.0, 0], [-2.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", [LAS, RAS, PSR], ids=["LAS", "RAS", "PSR"])
def test_bvec_axes_are_those_that_the_phantom_writes(affine):
    table = even_gradients(12)
    found = directions_from_fsl(fsl_vectors(table, affine), affine)
    np.testing.assert_allclose(found, table.directions, atol=1e-12)


@pytest.mark.parametrize("affine", [LAS, RAS, PSR, OBLIQUE], ids=["LAS", "RAS", "PSR", "oblique"])
def test_writing_undoes_reading(affine):
    vectors = np.random.default_rng(0).normal(size=(3, 9))
    np.testing.assert_allclose(
        directions_to_fsl(directions_from_fsl(vectors, affine), affine), vectors, atol=1e-12
    )


def test_a_length_survives_an_anisotropic_oblique_grid():
    vectors = np.random.default_rng(1).normal(size=(3, 5))
    found = directions_from_fsl(vectors, OBLIQUE)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(vectors, axis=0))


def test_volumes_that_the_scanner_derived_are_told_from_b0():
    b = [0.0, 5.0, 1000.0, 1000.0]
    vectors = np.array([[0, 0, 1.0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert without_direction(b, vectors).tolist() == [False, False, False, True]


def test_lengths_other_than_one_are_found():
    vectors = np.array([[0, 1.0, 0.7], [0, 0, 0], [0, 0.005, 0]])
    assert odd_lengths([0.0, 1000.0, 1000.0], vectors).tolist() == [False, False, True]


def test_shells_and_directions():
    rows = np.vstack([np.zeros(3), np.eye(3), -np.eye(3)[:1], np.eye(3)[:1]])
    table = GradientTable(np.array([5.0, 995.0, 1000.0, 1005.0, 1000.0, 3000.0]), rows)
    assert table.shells == (1000.0, 3000.0)
    assert table.shell_index.tolist() == [-1, 0, 0, 0, 0, 1]
    assert table.n_directions == 3


def test_no_shell_without_weighting():
    assert GradientTable(np.zeros(2), np.zeros((2, 3))).shells == ()


def test_turning_moves_each_direction_by_its_own_rotation():
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    table = GradientTable(np.array([1000.0, 1000.0]), np.array([[1.0, 0, 0], [1.0, 0, 0]]))
    turned = table.turned(np.stack([np.eye(3), quarter])).directions
    np.testing.assert_allclose(turned, [[1, 0, 0], [0, 1, 0]], atol=1e-15)


@pytest.mark.parametrize(
    ("b", "rows", "message"),
    [
        ([0.0, 1000.0], np.zeros((3, 3)), "2 x 3 directions"),
        ([0.0, -1.0], np.zeros((2, 3)), "0 or more"),
        ([0.0, np.nan], np.zeros((2, 3)), "finite"),
        ([0.0, 1000.0], np.zeros((2, 3)), "volume 1 has b = 1000"),
    ],
)
def test_unfit_tables_are_refused(b, rows, message):
    with pytest.raises(InputError, match=message):
        GradientTable(np.array(b), rows)
