import numpy as np
import pytest
from dipy.core.gradients import gradient_table
from dipy.reconst.dti import TensorModel

from mripipe.core.gradients import GradientTable, directions_from_fsl
from mripipe.core.phantom_diffusion import axial_radial, even_gradients
from mripipe.core.tensor import design_matrix, fit_tensor, predict, solve_normal, tensor_volumes
from mripipe.core.tensor_maps import eigenvalues, main_directions, tensor_maps
from mripipe.errors import InputError


def table(n=30, b=1000.0):
    even = even_gradients(n, b_value=b)
    return GradientTable(even.b_values, even.directions)


def tensors(n, seed=0):
    """Draw positive tensors in mm^2/s; return their elements, eigenvalues and frames."""
    rng = np.random.default_rng(seed)
    values = np.sort(rng.uniform(0.1e-3, 2.5e-3, (n, 3)))[:, ::-1]
    frames = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0]
    full = np.einsum("nij,nj,nkj->nik", frames, values, frames)
    return full[:, [0, 0, 1, 0, 1, 2], [0, 1, 1, 2, 2, 2]], values, frames


def signals(elements, gradients, s0=900.0):
    return s0 * np.exp(design_matrix(gradients)[:, 1:] @ (elements.T * 1e3)).T


def test_noiseless_tensors_come_back_exactly():
    elements, _, _ = tensors(50)
    found = fit_tensor(signals(elements, table()), table())
    np.testing.assert_allclose(found.elements, elements, atol=1e-12)
    np.testing.assert_allclose(found.log_s0, np.log(900.0))
    np.testing.assert_allclose(predict(found, table()), signals(elements, table()))


def test_noisy_maps_are_those_of_dipy():
    gradients = table(24)
    clean = signals(tensors(400, seed=3)[0], gradients)
    rng = np.random.default_rng(4)
    noisy = np.hypot(clean + rng.normal(0, 30, clean.shape), rng.normal(0, 30, clean.shape))
    maps = tensor_maps(fit_tensor(noisy, gradients).elements)
    theirs = TensorModel(gradient_table(gradients.b_values, bvecs=gradients.directions)).fit(noisy)
    np.testing.assert_allclose(maps.fa, theirs.fa, atol=1e-5)
    for name in ("md", "ad", "rd"):
        np.testing.assert_allclose(getattr(maps, name) * 1e3, getattr(theirs, name) * 1e3, atol=1e-5)


def test_weighting_beats_equal_weights_under_noise():
    # With the b = 0 volume alone noisy the two would differ the other way about.
    gradients = table(30, b=1500.0)
    elements, _, _ = tensors(3000, seed=5)
    clean = signals(elements, gradients)
    rng = np.random.default_rng(6)
    noisy = np.maximum(clean + rng.normal(0, 25, clean.shape), 1.0)
    weighted = fit_tensor(noisy, gradients).elements
    plain = (np.linalg.pinv(design_matrix(gradients)) @ np.log(noisy).T)[1:].T * 1e-3
    assert np.sqrt(np.mean((weighted - elements) ** 2)) < 0.9 * np.sqrt(np.mean((plain - elements) ** 2))


def test_single_precision_is_enough():
    gradients = table()
    signal = signals(tensors(200, seed=7)[0], gradients)
    one, two = (tensor_maps(fit_tensor(signal.astype(kind), gradients).elements) for kind in (float, "f4"))
    np.testing.assert_allclose(one.fa, two.fa, atol=1e-5)


def test_no_scale_of_the_signal_matters():
    gradients = table(12)
    signal = signals(tensors(5, seed=8)[0], gradients) * (1 + 0.1 * np.sin(np.arange(13)))
    for scale in (1e-8, 1e8):
        np.testing.assert_allclose(
            fit_tensor(signal * scale, gradients).elements, fit_tensor(signal, gradients).elements, atol=1e-12
        )


def test_left_out_volumes_do_not_count():
    gradients = table(20)
    elements, _, _ = tensors(4, seed=9)
    signal = signals(elements, gradients)
    weights = np.ones_like(signal)
    signal[1, 7], weights[1, 7] = 3.0, 0.0
    np.testing.assert_allclose(fit_tensor(signal, gradients, weights=weights).elements, elements, atol=1e-12)
    assert not np.allclose(fit_tensor(signal, gradients).elements[1], elements[1], atol=1e-5)


def test_a_voxel_without_signal_gives_finite_numbers():
    assert np.isfinite(fit_tensor(np.zeros((1, 31)), table()).elements).all()


def test_a_singular_system_is_not_a_number():
    normal = np.zeros((28, 1))
    assert np.isnan(solve_normal(normal, np.ones((7, 1)))).all()


def test_eigenvalues_of_random_and_degenerate_tensors():
    elements, values, _ = tensors(300, seed=10)
    np.testing.assert_allclose(eigenvalues(elements).T, values, atol=1e-9)
    round_one = np.array([[1e-3, 0, 1e-3, 0, 0, 1e-3], [0, 0, 0, 0, 0, 0]])
    np.testing.assert_allclose(eigenvalues(round_one).T, [[1e-3] * 3, [0] * 3], atol=1e-15)


def test_main_direction_is_the_first_eigenvector():
    elements, _, frames = tensors(300, seed=11)
    cosine = np.abs(np.einsum("ni,ni->n", main_directions(elements), frames[:, :, 0]))
    assert cosine.min() > 1 - 1e-6


def test_maps_of_a_tensor_with_known_anisotropy():
    axial, radial = axial_radial(np.array(0.8e-3), np.array(0.6))
    maps = tensor_maps(np.array([[radial, 0, radial, 0, 0, axial]], float))
    found = [float(value[0]) for value in (maps.fa, maps.md, maps.ad, maps.rd)]
    np.testing.assert_allclose(found, [0.6, 0.8e-3, float(axial), float(radial)])


def test_negative_eigenvalues_are_cut():
    maps = tensor_maps(np.array([[1e-3, 0, -0.2e-3, 0, 0, 0.1e-3]]))
    assert maps.fa[0] < 1.0
    assert maps.rd[0] == pytest.approx(0.05e-3, rel=1e-4)


@pytest.mark.parametrize("affine", [np.diag([-2.0, 2, 2, 1]), np.diag([2.0, 2, 2, 1])], ids=["LAS", "RAS"])
def test_directions_are_along_the_world_whatever_the_storage(affine):
    # A fibre to the right and front, told by a bvec in FSL's axes.
    fibre = np.sqrt(0.5) * np.array([1.0, 1.0, 0.0])
    world = even_gradients(20)
    vectors = world.directions.T * np.array([[-1.0], [1.0], [1.0]])
    signal = 500 * np.exp(-world.b_values * (0.3e-3 + 1.2e-3 * (world.directions @ fibre) ** 2))[None]
    gradients = GradientTable(world.b_values, directions_from_fsl(vectors, affine))
    assert abs(main_directions(fit_tensor(signal, gradients).elements)[0] @ fibre) > 0.9999


def test_high_b_values_are_left_out():
    rows = np.vstack([np.zeros(3), *[even_gradients(10).directions[1:]] * 2])
    gradients = GradientTable(np.array([0.0] + [1000.0] * 10 + [3000.0] * 10), rows)
    assert tensor_volumes(gradients).tolist() == [True] * 11 + [False] * 10


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        (GradientTable(np.full(20, 1000.0), even_gradients(20).directions[1:]), "b = 0"),
        (
            GradientTable(
                np.array([0.0] + [1e3] * 5), np.vstack([np.zeros(3), even_gradients(5).directions[1:]])
            ),
            "5 directions",
        ),
    ],
)
def test_what_fixes_no_tensor_is_refused(gradients, message):
    with pytest.raises(InputError, match=message):
        tensor_volumes(gradients)


def test_wrong_number_of_volumes_is_refused():
    with pytest.raises(InputError, match="31 volumes"):
        fit_tensor(np.ones((2, 30)), table())


def test_an_earlier_fit_gives_the_weights():
    gradients = table(12)
    clean = signals(tensors(3, seed=11)[0], gradients)
    noisy = clean + np.random.default_rng(12).normal(0, 60, clean.shape)
    first = fit_tensor(noisy, gradients)
    again = fit_tensor(noisy, gradients, start=first)
    for signal, weight, found in zip(noisy, predict(first, gradients), again.elements, strict=True):
        rows = design_matrix(gradients) * weight[:, None]
        expected = np.linalg.lstsq(rows, np.log(signal) * weight, rcond=None)[0][1:] * 1e-3
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.abs(again.elements - first.elements).max() > 1e-6
