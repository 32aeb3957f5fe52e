"""Rigid motions of RAS mm: the rigid part of an affine, small motions as vectors, means of transforms.

A motion near the identity is written exp(v), v = (rotation vector in radians, translation part in mm), in the
Lie algebra of SE(3): halving v halves the motion, and -v is exactly its inverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import expm, logm

Floats = NDArray[np.floating]


def rigid_part(matrix: Floats, centre_mm: ArrayLike) -> Floats:
    """Return the rigid matrix nearest to an affine that agrees with it at one point.

    Parameters
    ----------
    matrix : array (4, 4)
        Affine without reflection, RAS mm to RAS mm.
    centre_mm : array (3,)
        The point, in the space that the affine maps from; near the middle of what matters.

    Returns
    -------
    array (4, 4)
        Its rotation is that of the polar decomposition (Higham 1986, doi:10.1137/0907079).

    Examples
    --------
    >>> stretched = np.diag([1.1, 0.9, 1.2, 1.0])
    >>> rigid_part(stretched, (10.0, 0.0, 0.0))[:3, 3].tolist()
    [1.0, 0.0, 0.0]

    """
    centre = np.asarray(centre_mm, float)
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = u @ vt
    rigid[:3, 3] = matrix[:3, :3] @ centre + matrix[:3, 3] - u @ vt @ centre
    return rigid


def motion_vector(matrix: Floats) -> Floats:
    """Return v, shape (6,), of a rigid matrix exp(v) that turns by less than half a turn."""
    generator = np.real(logm(matrix))
    return np.array([generator[2, 1], generator[0, 2], generator[1, 0], *generator[:3, 3]])


def motion_matrix(vector: Floats) -> Floats:
    """Return the rigid matrix exp(v), shape (4, 4), of v, shape (6,).

    Examples
    --------
    >>> quarter_turn_about_z = motion_matrix(np.array([0.0, 0.0, np.pi / 2, 0.0, 0.0, 0.0]))
    >>> np.round(quarter_turn_about_z @ [1.0, 0.0, 0.0, 1.0], 6).tolist()
    [0.0, 1.0, 0.0, 1.0]

    """
    a, b, c = vector[:3]
    generator = np.zeros((4, 4))
    generator[:3, :3] = [[0.0, -c, b], [c, 0.0, -a], [-b, a, 0.0]]
    generator[:3, 3] = vector[3:]
    return np.asarray(expm(generator), float)


def mean_affine(matrices: Sequence[Floats]) -> Floats:
    """Return the log-Euclidean mean of affines near each other and near the identity, shape (4, 4).

    Source: Arsigny et al. 2009, doi:10.1007/s10851-008-0135-9

    Examples
    --------
    >>> np.round(mean_affine([np.diag([2.0, 1.0, 1.0, 1.0]), np.diag([0.5, 1.0, 1.0, 1.0])]), 6)[0].tolist()
    [1.0, 0.0, 0.0, 0.0]

    """
    mean = np.mean([np.real(logm(matrix)) for matrix in matrices], axis=0)
    return np.asarray(expm(mean), float)
