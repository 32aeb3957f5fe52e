"""Lesion masks in MNI: volume, side, damage to each arterial territory, and where the lesions of all lie."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mripipe.atlases.template import TEMPLATE_SPACE
from mripipe.atlases.territories import MCA_LABELS, TERRITORY_LABELS, load_territories
from mripipe.bids.names import Entities, parse
from mripipe.bids.nifti import check_length, parse_header, read_bytes
from mripipe.core.grid import world_coordinate_mm
from mripipe.core.incidence import covered_share, crop_to_lesion, lesion_on_grid, lesioned_share
from mripipe.core.volumetry import count_components, lesion_side, lesion_volume_ml
from mripipe.errors import InputError, RequestError
from mripipe.model.group import Measurement, Oddity

NO_SESSION: Final = "n/a"
"""Session of a mask whose name has none."""

COVERED: Final = 0.99
"""Share of a territory that a mask's field of view must hold for its damage to be told."""

LESION_LABELS: Final = ("L", "lesion")


@dataclass(frozen=True)
class Incidence:
    """How many people have a lesion at each voxel of the template's grid."""

    counts: NDArray[np.int32]
    """Shape (197, 233, 189)."""
    affine: NDArray[np.float64]
    n: int
    """People counted."""
    spaces: tuple[str, ...]
    """Spaces that the masks' names tell."""


@dataclass
class _Sum:
    """Counts so far, and what is the same for all masks of one grid."""

    counts: NDArray[np.int32]
    n: int = 0
    coverage: dict[tuple[Any, ...], NDArray[np.float64]] = field(default_factory=dict)


def find_masks(folder: Path) -> list[Path]:
    """Return the lesion masks of a folder and those below it, sorted.

    Raises
    ------
    RequestError
        There is no such folder, or no mask in it.

    """
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such folder; expected lesion masks in MNI space")
    names = [
        p for p in folder.rglob("sub-*.nii*") if re.search(r"_label-(L|lesion)_(\w+-\w+_)*mask\.nii", p.name)
    ]
    if not names:
        raise RequestError(
            f"{folder}: no lesion mask found; expected names such as sub-1_space-MNI_label-L_mask.nii.gz"
        )
    return sorted(names)


def measure_masks(
    paths: Iterable[Path],
    *,
    days: Mapping[tuple[str, str], tuple[float | None, float | None]] | None = None,
    counted: set[Path] | None = None,
) -> tuple[list[Measurement], Incidence, list[Oddity]]:
    """Measure masks in MNI.

    Parameters
    ----------
    paths : iterable of Path
        Masks; a file that cannot be read is an oddity.
    days : mapping, optional
        Participant and visit to days from onset and from infusion.
    counted : set of Path, optional
        The masks that go into the incidence, one a person; all where not given.

    Returns
    -------
    tuple
        Measurements ``lesion_mni_ml``, ``damage_TERRITORY_SIDE`` in percent and more; incidence; oddities.

    """
    atlas = load_territories()
    total = _Sum(np.zeros(atlas.labels.shape, np.int32))
    rows: list[Measurement] = []
    oddities: list[Oddity] = []
    spaces: set[str] = set()
    for path in paths:
        try:
            entities = parse(path.name)
            spaces.add(entities.space or "unnamed")
            found = list(_measure(path, total, counted is None or path in counted))
        except InputError as error:
            oddities.append(Oddity(path.name, None, str(error)))
            continue
        who, session = _identity(entities)
        onset, infusion = (days or {}).get((who, session), (None, None))
        for name, value, unit, status in found:
            rows.append(Measurement(who, session, name, value, unit, status, path.name, 0, onset, infusion))
    other = sorted(space for space in spaces if space != TEMPLATE_SPACE)
    if other:
        text = f"masks in {', '.join(other)}: taken as {TEMPLATE_SPACE}; they may be some millimetres off"
        oddities.append(Oddity("masks", None, text))
    affine = np.asarray(atlas.affine, float)
    return rows, Incidence(total.counts, affine, total.n, tuple(sorted(spaces))), oddities


def _identity(entities: Entities) -> tuple[str, str]:
    return f"sub-{entities.sub}", f"ses-{entities.ses}" if entities.ses else NO_SESSION


def _measure(path: Path, total: _Sum, counts: bool) -> Iterator[tuple[str, float | None, str, str]]:
    """Yield name, value, unit and status of everything measured on one mask."""
    atlas = load_territories()
    whole, whole_affine = _read_mask(path)
    mask, affine = crop_to_lesion(whole, whole_affine)
    voxels = lesion_on_grid(mask, affine, atlas.labels.shape, atlas.affine)
    if counts:
        total.counts[tuple(voxels.T)] += 1
        total.n += 1
    side = lesion_side(mask, world_coordinate_mm(mask.shape, affine, axis=0)) if mask.size else "none"
    status = "ok" if mask.size else "no_lesion_found"
    yield "lesion_mni_ml", lesion_volume_ml(mask, affine), "mL", status
    yield "n_components", float(count_components(mask)), "count", status
    sizes = _sizes()
    shares = lesioned_share(voxels, atlas.labels, sizes)
    key = (whole.shape, whole_affine.tobytes())
    if key not in total.coverage:
        total.coverage[key] = covered_share(atlas.labels, atlas.affine, whole.shape, whole_affine)
    covered = total.coverage[key]
    for row in TERRITORY_LABELS:
        yield _damage(row.abbreviation, shares, covered, sizes, (row.index,))
    for name, labels in MCA_LABELS.items():
        yield _damage(f"MCA_{name[0].upper()}", shares, covered, sizes, labels)
    if side in MCA_LABELS:
        _, value, unit, how = _damage("", shares, covered, sizes, MCA_LABELS[side])
        yield "mca_territory_percent", value, unit, how


@lru_cache(maxsize=1)
def _sizes() -> NDArray[np.intp]:
    """Return the voxels of each territory."""
    return np.bincount(load_territories().labels.ravel().astype(np.intp))


def _damage(
    name: str,
    shares: NDArray[np.float64],
    covered: NDArray[np.float64],
    sizes: NDArray[np.intp],
    labels: Iterable[int],
) -> tuple[str, float | None, str, str]:
    """Return the percent of some labels together that is lesion; none where they were not all in view."""
    chosen = list(labels)
    weight = sizes[chosen] / sizes[chosen].sum()
    if float(covered[chosen] @ weight) < COVERED:
        return f"damage_{name}", None, "%", "not_covered"
    return f"damage_{name}", 100 * float(shares[chosen] @ weight), "%", "ok"


def _read_mask(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Read a mask of whole numbers, or of fractions that are lesion from one half on."""
    raw = read_bytes(path)
    header = parse_header(raw[:544], path.name)
    if len(header.shape) != 3:
        raise InputError(f"{path.name}: expected one 3D volume; choose one")
    check_length(header, len(raw), path.name)
    data = np.asarray(header.raw.data_from_fileobj(BytesIO(raw))).reshape(header.shape)
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0:
        raise InputError(f"{path.name}: mask values from {low:g} to {high:g}: expected 0 and above")
    return np.asarray(data >= 0.5), np.asarray(header.affine, float)
