"""Tracts as centre lines with elliptical cross-sections: how much of one lies at a point, how far along.

Between two nodes the centre, both half axes and the frame of the ellipse are blended linearly. A point's
distance from the border of the cross-section it lies in gives the share of the tract there: 1/2 on the
border, falling from 1 to 0 over `SOFT_MM`, which stands for how far people differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

CORE = 0.65
"""Half axes of the core over those of the whole: what lies in it belongs to the tract in nearly everyone."""
SOFT_MM = 3.0
"""Width of the border: registration and anatomy vary by about this much."""


@dataclass(frozen=True)
class Node:
    """A point of a centre line, in one hemisphere."""

    segment: str
    centre_mm: tuple[float, float, float]
    """Distance from the midline, y, z in MNI mm."""
    across_mm: float
    """Half axis of the cross-section towards the side of the head; of a tract that crosses, out of the plane
    in which it bends."""
    along_mm: float
    """The other half axis."""
    tilt_deg: float
    """Turn of both about the centre line, from the side of the head towards the back where it rises."""


@dataclass(frozen=True, eq=False)
class Course:
    """A tract of one hemisphere, or one that crosses the midline."""

    name: str
    crosses: bool
    """Whether it crosses the midline: both halves are then one tract."""
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        if len(self.nodes) < 2:
            raise ValueError(f"{self.name}: expected two nodes or more, found {len(self.nodes)}; add one")
        for node in self.nodes:
            if min(node.across_mm, node.along_mm) <= 0 or node.centre_mm[0] < 0:
                raise ValueError(
                    f"{self.name} at {node.centre_mm}: half axes must be above 0 and x not negative"
                )

    @property
    def segments(self) -> tuple[str, ...]:
        """Names of the segments in the order of the nodes."""
        return tuple(dict.fromkeys(node.segment for node in self.nodes))

    @property
    def pieces_mm(self) -> NDArray[np.float64]:
        """Lengths of the centre line from each node to the next."""
        centres = np.array([node.centre_mm for node in self.nodes], np.float64)
        return np.asarray(np.linalg.norm(np.diff(centres, axis=0), axis=1))


@dataclass(frozen=True, eq=False)
class TractAt:
    """A tract at some points."""

    probability: NDArray[np.float32]
    """0 to 1, shape (N,)."""
    core: NDArray[np.float32]
    """The same of the tract's core, 0 to 1, shape (N,)."""
    position: NDArray[np.float32]
    """Where along the centre line, 0 at the first node and 1 at the last, shape (N,)."""
    segment: NDArray[np.int8]
    """Number of the nearest node's segment, shape (N,)."""
    tangent: NDArray[np.float32]
    """Unit direction of the centre line in MNI axes, shape (N, 3)."""


def parse_courses(text: str, *, crossing: Sequence[str] = ()) -> tuple[Course, ...]:
    r"""Read courses from a tab-separated table.

    Parameters
    ----------
    text : str
        Header, then a line a node: tract, segment, x_mm, y_mm, z_mm, across_mm, along_mm, tilt_deg,
        landmark.
    crossing : sequence of str
        Tracts that cross the midline; each of their segments becomes a course of its own.

    Examples
    --------
    >>> rows = ["CST\ta\t7\t-20\t-30\t4\t5\t0\tpons", "CST\tb\t20\t-14\t0\t4\t7\t0\tcapsule"]
    >>> course, = parse_courses("header\n" + "\n".join(rows))
    >>> course.segments, course.nodes[1].centre_mm
    (('a', 'b'), (20.0, -14.0, 0.0))

    """
    nodes: dict[tuple[str, str], list[Node]] = {}
    for line in text.splitlines()[1:]:
        if line.strip():
            tract, segment, x, y, z, across, along, tilt, _ = line.split("\t")
            node = Node(segment, (float(x), float(y), float(z)), float(across), float(along), float(tilt))
            nodes.setdefault((tract, segment if tract in crossing else ""), []).append(node)
    return tuple(Course(tract, tract in crossing, tuple(rows)) for (tract, _), rows in nodes.items())


def tract_at(course: Course, mni_mm: Floats, *, side: str) -> TractAt:
    """Look a tract up at points.

    Parameters
    ----------
    course : Course
    mni_mm : array (N, 3)
        Points in MNI mm.
    side : ``left``, ``right`` or ``both``
        Hemisphere; ``both`` for a tract that crosses.

    """
    sign = {"left": -1.0, "right": 1.0, "both": 1.0}[side]
    points = np.asarray(mni_mm, np.float64) * np.array([sign, 1.0, 1.0])
    flipped = np.full(len(points), sign)
    if side == "both":
        flipped = np.where(points[:, 0] < 0, -1.0, 1.0)
        points = points * np.column_stack([flipped, np.ones((len(points), 2))])
    centres, frames, radii = _frames(course)
    lengths = course.pieces_mm
    start = np.concatenate([[0.0], np.cumsum(lengths)]) / lengths.sum()
    best = np.full(len(points), np.inf)
    radius = np.zeros(len(points))
    position = np.zeros(len(points))
    piece = np.zeros(len(points), np.int64)
    reach = radii.max() + SOFT_MM
    low, high = centres.min(axis=0) - reach, centres.max(axis=0) + reach
    near = np.flatnonzero(np.all((points > low) & (points < high), axis=1))
    for k in range(len(lengths)):
        border, local, share = _border_mm(
            points[near], centres[k : k + 2], frames[k : k + 2], radii[k : k + 2]
        )
        closer = border < best[near]
        chosen = near[closer]
        best[chosen], radius[chosen] = border[closer], local[closer]
        position[chosen] = start[k] + share[closer] * (start[k + 1] - start[k])
        piece[chosen] = k + (share[closer] > 0.5)
    tangents = frames[piece, 2] * np.column_stack([flipped, np.ones((len(points), 2))])
    names = course.segments
    numbers = np.array([names.index(node.segment) for node in course.nodes], np.int8)
    return TractAt(
        probability=_soft(best).astype(np.float32),
        core=_soft(best + (1.0 - CORE) * radius).astype(np.float32),
        position=position.astype(np.float32),
        segment=numbers[piece],
        tangent=tangents.astype(np.float32),
    )


def segment_starts(course: Course) -> tuple[tuple[str, float], ...]:
    r"""Return each segment with the place along the centre line, 0 to 1, where it begins.

    Examples
    --------
    >>> rows = ["CST\ta\t7\t0\t-30\t4\t5\t0\tpons", "CST\tb\t7\t0\t0\t4\t7\t0\tcapsule"]
    >>> course, = parse_courses("header\n" + "\n".join(rows))
    >>> segment_starts(course)
    (('a', 0.0), ('b', 0.5))

    """
    centres = np.array([node.centre_mm for node in course.nodes])
    places = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    places /= places[-1]
    starts = [(course.nodes[0].segment, 0.0)]
    for number, node in enumerate(course.nodes[1:], start=1):
        if node.segment != starts[-1][0]:
            # Half-way between two nodes, where the nearest one changes.
            starts.append((node.segment, float(places[number - 1] + places[number]) / 2.0))
    return tuple(starts)


def _frames(course: Course) -> tuple[Floats, Floats, Floats]:
    """Return centres (K, 3), frames (K, 3, 3) of rows across, along, tangent, and half axes (K, 2)."""
    centres = np.array([node.centre_mm for node in course.nodes])
    tangents = np.gradient(centres, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    reference = _plane_normal(centres) if course.crosses else np.array([1.0, 0.0, 0.0])
    across = reference - tangents * (tangents @ reference)[:, None]
    if np.linalg.norm(across, axis=1).min() < 0.2:
        raise ValueError(f"{course.name}: its centre line turns to the side of the head; move a node")
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    along = np.cross(tangents, across)
    tilt = np.deg2rad([node.tilt_deg for node in course.nodes])[:, None]
    turned = np.cos(tilt) * across - np.sin(tilt) * along, np.sin(tilt) * across + np.cos(tilt) * along
    radii = np.array([(node.across_mm, node.along_mm) for node in course.nodes])
    return centres, np.stack([*turned, tangents], axis=1), radii


def _plane_normal(centres: Floats) -> Floats:
    """Return the direction that a bent centre line leaves out, pointing forwards or up."""
    normal = np.linalg.svd(centres - centres.mean(axis=0))[2][-1]
    return np.asarray(normal * np.sign(normal[np.argmax(np.abs(normal))]))


def _border_mm(
    points: Floats, centres: Floats, frames: Floats, radii: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return each point's distance from the border of one piece, negative inside, with what it rests on.

    That is the radius of the cross-section towards the point, and the point's share along the piece.
    """
    step = centres[1] - centres[0]
    share = np.clip((points - centres[0]) @ step / (step @ step), 0.0, 1.0)
    offset = points - centres[0] - share[:, None] * step
    frame = frames[0] + share[:, None, None] * (frames[1] - frames[0])
    half = radii[0] + share[:, None] * (radii[1] - radii[0])
    local = np.einsum("nij,nj->ni", frame, offset)
    # Beyond an end the tract is closed by half an ellipsoid as long as its thinner axis.
    axes = np.column_stack([half, half.min(axis=1)])
    scaled = np.linalg.norm(local / axes, axis=1)
    size = np.linalg.norm(local, axis=1)
    thin = half.min(axis=1)
    radius = np.where(scaled > 1e-6, size / np.maximum(scaled, 1e-6), thin)
    return size - radius, radius, share


def _soft(border_mm: Floats) -> Floats:
    """Fall from 1 to 0 across the border, smoothly."""
    t = np.clip(0.5 - border_mm / SOFT_MM, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))
