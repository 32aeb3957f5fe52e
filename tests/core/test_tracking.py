"""Tracking of two straight bundles that slant through grids of every orientation."""

from dataclasses import dataclass

import numpy as np
import pytest

from mripipe.core.gradients import GradientTable
from mripipe.core.tracking import track_way
from mripipe.core.tracking_cleaning import clean_streamlines, length_mm, sharpest_turn_deg
from mripipe.core.tracking_fibres import find_fibres, find_response, harmonic_order, tracking_volumes
from mripipe.core.tracking_way import Way, way_of
from mripipe.core.tract_course import Course, Node

RADIUS_MM = 5.0
CENTRE_X_MM = 22.0
SLANT = np.array([0.4, 0.25, 0.88])
"""Of the right bundle, upwards and to the side of the head; the left one mirrors it."""


def turned(degrees):
    """Return a rotation about a skew axis."""
    axis = np.array([0.3, -0.5, 0.81])
    axis /= np.linalg.norm(axis)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def grid(kind):
    """Return an affine whose grid of `SHAPE` holds both bundles, and its shape."""
    sizes, shape = np.array([2.5, 2.5, 2.5]), (30, 22, 24)
    if kind == "anisotropic":
        sizes, shape = np.array([2.0, 2.5, 4.0]), (38, 22, 15)
    linear = np.diag(sizes * ([-1, 1, 1] if kind == "LAS" else [1, 1, 1]))
    if kind == "PSR":
        linear, shape = np.zeros((3, 3)), (22, 24, 30)
        linear[1, 0], linear[2, 1], linear[0, 2] = -2.5, 2.5, 2.5
    if kind == "oblique":
        linear, shape = turned(25.0) @ linear, (34, 30, 30)
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = -linear @ (np.array(shape) - 1) / 2.0
    return affine, shape


def half_sphere(count):
    """Spread directions over half a sphere by the golden angle."""
    number = np.arange(count)
    z = 1.0 - (number + 0.5) / count
    angle = number * np.pi * (3.0 - np.sqrt(5.0))
    ring = np.sqrt(1.0 - z**2)
    return np.column_stack([ring * np.cos(angle), ring * np.sin(angle), z])


@dataclass
class Scene:
    affine: np.ndarray
    points: np.ndarray
    signal: np.ndarray
    table: GradientTable
    fa: np.ndarray
    md: np.ndarray
    directions: np.ndarray
    away: dict
    along: dict


def scene(kind="RAS", count=30, noise=10.0):
    affine, shape = grid(kind)
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    table = GradientTable(np.array([0.0] + [1000.0] * count), np.vstack([np.zeros(3), half_sphere(count)]))
    away, along, directions = {}, {}, np.zeros((*shape, 3))
    inside = np.zeros(shape, bool)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        heading = SLANT * [sign, 1, 1] / np.linalg.norm(SLANT)
        offset = points - [sign * CENTRE_X_MM, 0.0, 0.0]
        along[side] = offset @ heading
        away[side] = np.linalg.norm(offset - along[side][..., None] * heading, axis=-1)
        mine = away[side] < RADIUS_MM
        inside |= mine
        directions[mine] = heading
    cosine = np.einsum("xyzi,ni->xyzn", directions, table.directions)
    diffusivity = np.where(inside[..., None], 0.3e-3 + 1.4e-3 * cosine**2, 0.8e-3)
    signal = 1000.0 * np.exp(-table.b_values * diffusivity)
    signal += np.random.default_rng(7).normal(0.0, noise, signal.shape)
    fa = np.where(inside, 0.8, 0.05)
    md = np.where(inside, 0.77e-3, 0.8e-3)
    return Scene(affine, points, signal.astype(np.float32), table, fa, md, directions, away, along)


def way(made, side):
    """Way-points at the lower end, the middle and the upper end of one bundle."""
    near, place = made.away[side] < RADIUS_MM + 3.0, made.along[side]
    own = made.points[..., 0] * (-1 if side == "left" else 1) > 0
    gates = [near & (abs(place - centre) < 3.0) for centre in (-18.0, 0.0, 18.0)]
    return Way(near & own, tuple(gates), near & own)


def follow(made, side, lesion=None, **options):
    lesion = np.zeros(made.fa.shape, bool) if lesion is None else lesion
    response = find_response(made.signal, made.table, made.affine, fa=made.fa, md=made.md, allowed=~lesion)
    return track_way(
        made.signal,
        made.table,
        made.affine,
        way(made, side),
        fa=made.fa,
        directions=made.directions,
        lesion=lesion,
        response=response,
        **{"n_seeds": 400, **options},
    )


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["RAS", "LAS", "PSR", "anisotropic", "oblique"])
def test_a_bundle_is_followed_on_its_side_whatever_the_storage(kind, side):
    made = scene(kind)
    found = follow(made, side)
    sign = -1.0 if side == "left" else 1.0
    assert len(found.streamlines) > 60
    heading = SLANT * [sign, 1, 1] / np.linalg.norm(SLANT)
    for line in found.streamlines:
        offset = line - [sign * CENTRE_X_MM, 0.0, 0.0]
        place = offset @ heading
        away = np.linalg.norm(offset - place[:, None] * heading, axis=1)
        # Half a voxel's diagonal beyond the bundle at most.
        assert away.max() < RADIUS_MM + 3.0
        assert place[0] < -14.0
        assert place[-1] > 14.0
    whole = np.concatenate(found.streamlines)
    assert (whole[:, 0] * sign).mean() > 15.0
    weights = found.density[..., None]
    middle = (weights * made.points).sum(axis=(0, 1, 2)) / weights.sum()
    # The middle of the density lies on the bundle's axis.
    offset = middle - [sign * CENTRE_X_MM, 0.0, 0.0]
    assert np.linalg.norm(offset - (offset @ heading) * heading) < 1.0


def test_density_is_a_share_of_the_streamlines():
    made = scene()
    found = follow(made, "left")
    assert found.n_begun == 400
    assert 0.2 < found.density.max() <= 1.0
    assert found.density[made.away["left"] > RADIUS_MM + 3.0].max() == 0.0
    assert found.density[made.away["right"] < RADIUS_MM].max() == 0.0


def test_the_same_data_give_the_same_streamlines():
    made = scene(noise=30.0)
    first, again = (follow(made, "right") for _ in range(2))
    assert len(first.streamlines) == len(again.streamlines)
    assert all(np.array_equal(a, b) for a, b in zip(first.streamlines, again.streamlines, strict=True))
    assert np.array_equal(first.density, again.density)


def test_a_lesion_across_a_bundle_leaves_nothing_of_it_and_all_of_the_other():
    made = scene()
    lesion = (abs(made.along["left"] - 8.0) < 6.0) & (made.away["left"] < 12.0)
    assert follow(made, "left", lesion).streamlines == ()
    assert follow(made, "left", lesion).density.max() == 0.0
    assert len(follow(made, "right", lesion).streamlines) > 60


def test_a_lesion_of_half_the_bundle_leaves_the_other_half():
    made = scene()
    offset = made.points[..., 1] - made.along["right"] * SLANT[1]
    lesion = (abs(made.along["right"]) < 5.0) & (offset > 0)
    found = follow(made, "right", lesion, n_seeds=800)
    assert len(found.streamlines) > 20
    assert found.density[lesion].max() == 0.0


def test_a_bundle_outside_the_image_gives_nothing():
    made = scene()
    lost = way(made, "left")
    nowhere = np.zeros(made.fa.shape, bool)
    lost = Way(lost.corridor, (nowhere, *lost.gates[1:]), lost.seeds)
    response = find_response(
        made.signal, made.table, made.affine, fa=made.fa, md=made.md, allowed=made.fa > 0
    )
    found = track_way(
        made.signal, made.table, made.affine, lost, fa=made.fa, directions=made.directions,
        lesion=nowhere, response=response,
    )  # fmt: skip
    assert found.streamlines == ()
    assert found.n_begun == 0


def test_fibres_that_cross_have_two_peaks():
    made = scene(count=64)
    other = np.array([0.0, 1.0, 0.0])
    first = SLANT / np.linalg.norm(SLANT)
    mixed = sum(
        500.0 * np.exp(-made.table.b_values * (0.3e-3 + 1.4e-3 * (made.table.directions @ direction) ** 2))
        for direction in (first, other)
    )
    signal = np.broadcast_to(mixed.astype(np.float32), (3, 3, 3, mixed.size))
    response = find_response(
        made.signal, made.table, made.affine, fa=made.fa, md=made.md, allowed=made.fa > 0
    )
    where = np.ones((3, 3, 3), bool)
    fibres = find_fibres(signal, made.table, made.affine, where=where, response=response)
    amplitude, vertices = fibres.amplitudes[1, 1, 1], fibres.sphere.vertices
    near = [abs(vertices @ direction) > np.cos(np.deg2rad(15)) for direction in (first, other)]
    apart = abs(vertices @ np.cross(first, other)) > 0.9
    assert min(amplitude[part].max() for part in near) > 0.6 * amplitude.max()
    assert amplitude[apart].max() < 0.1 * amplitude.max()


def test_the_response_is_that_of_one_bundle():
    made = scene(noise=3.0)
    response = find_response(
        made.signal, made.table, made.affine, fa=made.fa, md=made.md, allowed=made.fa > 0
    )
    assert response.along == pytest.approx(1.7e-3, rel=0.03)
    assert response.across == pytest.approx(0.3e-3, rel=0.08)
    assert response.unweighted == pytest.approx(1000.0, rel=0.01)
    nowhere = np.zeros(made.fa.shape, bool)
    assert (
        find_response(made.signal, made.table, made.affine, fa=made.fa, md=made.md, allowed=nowhere) is None
    )


def test_too_few_directions_are_not_tracked():
    def table(*shells):
        b = np.concatenate([[0.0], *(np.full(count, value) for count, value in shells)])
        return GradientTable(b, np.vstack([np.zeros(3), *(half_sphere(count) for count, _ in shells)]))

    assert tracking_volumes(table((12, 1000.0))) is None
    assert tracking_volumes(table((30, 300.0))) is None
    assert tracking_volumes(table((30, 1000.0)).take(np.arange(1, 31))) is None
    chosen = tracking_volumes(table((20, 1000.0), (30, 2500.0), (6, 3500.0)))
    assert chosen.sum() == 31
    assert chosen[0]
    assert chosen[21:51].all()
    assert harmonic_order(14) is None
    few = table((12, 1000.0))
    response = find_response(*_flat(few), fa=np.ones((2, 2, 2)), md=np.full((2, 2, 2), 7e-4), allowed=ALL)
    with pytest.raises(ValueError, match="12 directions, 15 needed"):
        find_fibres(*_flat(few), where=ALL, response=response)


ALL = np.ones((2, 2, 2), bool)


def _flat(table):
    cosine = table.directions @ np.array([0.0, 0.6, 0.8])
    signal = 1000.0 * np.exp(-table.b_values * (0.3e-3 + 1.4e-3 * cosine**2))
    return np.tile(signal, (2, 2, 2, 1)), table, np.diag([2.0, 2.0, 2.0, 1.0])


def test_cleaning_drops_what_leaves_a_way_point_out_turns_back_or_runs_apart():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    gates = [np.zeros((30, 30, 30), bool) for _ in range(2)]
    gates[0][:, :, :3], gates[1][:, :, 26:] = True, True
    z = np.linspace(1.0, 57.0, 60)
    chance = np.random.default_rng(3)

    def straight(x, y):
        return np.column_stack([np.full(60, x), np.full(60, y), z]).astype(np.float32)

    bundle = [straight(*(30.0 + chance.normal(0.0, 1.0, 2))) for _ in range(60)]
    bundle[1] = bundle[1][::-1]
    short = straight(30.0, 30.0)[:40]
    corner = np.vstack([straight(30, 30)[:30], straight(30, 30)[28] + np.linspace([0, 0, 0], [25, 0, 0], 25)])
    corner = np.vstack([corner, np.column_stack([np.full(30, 55.0), np.full(30, 30.0), z[30:]])])
    apart = straight(45.0, 30.0)
    wrong = [short, corner.astype(np.float32), apart]
    kept = clean_streamlines([*bundle[:30], *wrong, *bundle[30:]], gates, affine)
    assert len(kept) == 60
    assert all(line[0, 2] < line[-1, 2] for line in kept)
    assert max(length_mm(line) for line in kept) < 57.0
    assert sharpest_turn_deg(wrong[1]) > 75.0
    assert clean_streamlines(wrong[:1], gates, affine) == ()


COURSE = Course(
    "T",
    crosses=False,
    nodes=tuple(Node(part, (16.0, 0.0, z), 5.0, 5.0, 0.0) for part, z in (("low", -20), ("high", 20))),
)


@pytest.mark.parametrize(("side", "sign"), [("left", -1.0), ("right", 1.0)])
@pytest.mark.parametrize("kind", ["LAS", "oblique", "anisotropic"])
def test_the_way_lies_on_its_side_and_in_millimetres(kind, side, sign):
    affine, shape = grid(kind)
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    inside = np.linalg.norm(points, axis=-1) < 34.0
    found = way_of(
        COURSE, side, way_points=("low", "high"), inside=inside, mni_mm=points[inside], affine=affine
    )
    assert (points[found.corridor][:, 0] * sign > 0).all()
    assert inside[found.corridor].all()
    away = np.linalg.norm(points[..., :2] - [sign * 16.0, 0.0], axis=-1)
    level = inside & (abs(points[..., 2]) < 10.0)
    # From the border of the tract 8 mm, within a voxel's diagonal.
    assert found.corridor[level & (away < 10.5) & (points[..., 0] * sign > 0)].all()
    assert not found.corridor[level & (away > 16.0)].any()
    assert not found.gates[0][level & (away > 10.0)].any()
    assert (points[found.gates[0]][:, 2] < 1.0).all()
    assert (points[found.gates[1]][:, 2] > -1.0).all()
    assert found.seeds[level & (away < 4.0)].all()
    assert not found.seeds[away > 8.0].any()


def test_a_tract_outside_the_brain_has_no_way():
    affine, shape = grid("RAS")
    inside = np.zeros(shape, bool)
    inside[:3] = True
    points = (np.argwhere(inside) @ affine[:3, :3].T + affine[:3, 3]) * [1, 1, 1]
    found = way_of(COURSE, "right", way_points=("low",), inside=inside, mni_mm=points, affine=affine)
    assert not found.seeds.any()
    assert not found.corridor.any()
