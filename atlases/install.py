"""Add an atlas from a user's files, once its grid, labels and sides have been checked."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mripipe.errors import InputError, RequestError

from .atlas import WHOLE_VOXEL, atlas_names, user_atlas_folder
from .sides import check_sides
from .tables import AtlasLabel, format_label_table, read_label_table
from .template import TEMPLATE_SPACE

MNI_BOX_MM = np.array([[-100.0, -145.0, -95.0], [100.0, 110.0, 130.0]])
"""Lowest and highest corner of the MNI brains' grids, with a margin; labels beyond are not in MNI space."""

LARGEST_LABEL = 65535

SCALES = (1.0, 100.0, 255.0)
"""What stands for certainty in maps of probability."""

SAME_PLACE_MM = 0.01
"""Two affines that move no corner of the grid by more than this are the same."""

SMALLEST_VOXEL_MM3 = 1e-6
"""Below this an affine is singular."""

LISTED = 10
"""Labels named in a message before the rest are only counted."""


@dataclass(frozen=True)
class InstalledAtlas:
    """What was installed, and what its user should know."""

    name: str
    """Name to load it by."""
    folder: Path
    """Where its three files are."""
    n_labels: int
    """Labels in the image."""
    sides_verified: bool
    """Whether the names of the labels confirm that left is left."""
    notes: tuple[str, ...]
    """Oddities that were accepted."""


def install_atlas(
    file: Path, label_table: Path, *, name: str, space: str, licence: str = "n/a"
) -> InstalledAtlas:
    """Check an atlas and copy it into the user's atlas folder.

    Parameters
    ----------
    file : Path
        NIfTI label map in an MNI space: three axes, whole numbers, 0 for the background, left and right
        told by its affine. Or maps of probability, a volume a label, from 0 to 1, 100 or 255.
    label_table : Path
        See `mripipe.atlases.tables.read_label_table`.
    name : str
        Name to load it by: letters, digits, ``_``, ``-``, ``.``.
    space : str
        Template space, named as in BIDS, such as ``MNI152NLin6Asym``.
    licence : str
        Licence of the atlas.

    Returns
    -------
    InstalledAtlas

    Raises
    ------
    RequestError
        If the name or the space cannot be used, or the name is taken.
    InputError
        If the image is no label map in MNI space, has labels that the table does not name, or has labels on
        the side opposite to their name.

    """
    file, label_table = Path(file), Path(label_table)
    _check_request(name, space)
    table = read_label_table(label_table)
    labels, affine = _read_label_map(file)
    present, notes = _match_labels(table, _labels_in(labels), file, label_table)
    _check_extent(labels if labels.ndim == 3 else np.asarray(labels.any(axis=3)), affine, file)
    sides = check_sides(present, labels, affine, name=str(file))
    notes += sides.notes
    if not sides.verified:
        notes += ("sides unverified: the names tell no left and right, the header alone does",)
    if space != TEMPLATE_SPACE:
        notes += (f"in {space}: against {TEMPLATE_SPACE} borders may be off by some mm",)
    sided = [AtlasLabel(row.index, row.name, row.abbreviation, sides.sides[row.index]) for row in present]
    content = _nifti_bytes(*(_cropped(labels, affine) if labels.ndim == 4 else (labels, affine)))
    about = {
        "name": name,
        "space": space,
        "licence": " ".join(licence.split()) or "n/a",
        "sides": "verified" if sides.verified else "unverified",
        "kind": "labels" if labels.ndim == 3 else "probabilities",
        "built_from": [_source(file), _source(label_table)],
        "notes": list(notes),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    payloads = {
        f"{name}.nii.gz": gzip.compress(content, 9, mtime=0),
        f"{name}.tsv": format_label_table(sided).encode(),
        f"{name}.json": (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode(),
    }
    return InstalledAtlas(name, _write_folder(payloads, name), len(present), sides.verified, notes)


def _check_request(name: str, space: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise RequestError(
            f"atlas name {name!r}: expected letters, digits, '_', '-' or '.'; choose another name"
        )
    if not re.fullmatch(r"[A-Za-z0-9]+", space):
        raise RequestError(
            f"space {space!r}: expected a template's name such as {TEMPLATE_SPACE}; name the space"
        )
    if name in atlas_names():
        raise RequestError(f"atlas '{name}' is there already; choose another name, or remove its folder")


def _read_label_map(file: Path) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Read labels (X, Y, Z), or shares of `WHOLE_VOXEL` (X, Y, Z, N), and where they lie."""
    try:
        image = nib.Nifti1Image.from_filename(file)
        values = np.asanyarray(image.dataobj) if image.ndim == 3 else np.empty(image.shape[:3])
        maps = _read_shares(image, file) if image.ndim == 4 else None
        forms = image.get_sform(coded=True)[0], image.get_qform(coded=True)[0]
    except InputError:
        raise
    except Exception as error:  # nibabel raises a dozen kinds for a file that is no NIfTI image
        raise InputError(f"{file}: expected a NIfTI label map, found {error}; give a whole file") from error
    if maps is not None:
        return maps, _placement(*forms, values.shape, file)
    if image.ndim != 3:
        raise InputError(
            f"{file}: expected a label map with 3 axes or maps of probability with 4, found shape "
            f"{image.shape}; give one of these"
        )
    if not np.isfinite(values).all() or not np.array_equal(values, np.rint(values)):
        raise InputError(f"{file}: expected whole numbers, found fractions or NaN; give the label map itself")
    if values.min() < 0 or not 0 < values.max() <= LARGEST_LABEL:
        raise InputError(
            f"{file}: expected labels from 1 to {LARGEST_LABEL}, found values from {values.min():g} to "
            f"{values.max():g}; give the label map itself"
        )
    return values.astype(np.uint16), _placement(*forms, values.shape, file)


def _read_shares(image: nib.Nifti1Image, file: Path) -> NDArray[np.uint8]:
    """Read maps of probability as shares of `WHOLE_VOXEL`."""
    values = np.asanyarray(image.dataobj)
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0 or not 0 < highest <= SCALES[-1]:
        raise InputError(
            f"{file}: expected probabilities from 0 to 1, 100 or 255, found values from {lowest:g} to "
            f"{highest:g}; give maps of probability, or one label map"
        )
    scale = next(scale for scale in SCALES if highest <= scale)
    shares = np.zeros(image.shape, np.uint8, order="F")
    for number in range(image.shape[3]):
        shares[..., number] = np.rint(values[..., number] * np.float32(WHOLE_VOXEL / scale))
    return shares


def _cropped(
    shares: NDArray[np.integer], affine: NDArray[np.float64]
) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Leave out the empty border, which in many volumes takes much memory."""
    covered = np.asarray(shares.any(axis=3))
    spans = [np.flatnonzero(covered.any(axis=others))[[0, -1]] for others in ((1, 2), (0, 2), (0, 1))]
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [low for low, _ in spans]
    return shares[tuple(slice(low, high + 1) for low, high in spans)], moved


def _labels_in(labels: NDArray[np.integer]) -> set[int]:
    if labels.ndim == 3:
        return {int(value) for value in np.unique(labels)} - {0}
    return {number + 1 for number in range(labels.shape[3]) if labels[..., number].any()}


def _placement(
    sform: NDArray[np.float64] | None, qform: NDArray[np.float64] | None, shape: Sequence[int], file: Path
) -> NDArray[np.float64]:
    if sform is None and qform is None:
        raise InputError(f"{file}: sform and qform code are 0, so left and right are not told; set them")
    if sform is not None and qform is not None:
        off_mm = float(np.abs((sform - qform) @ _corners([(0, length - 1) for length in shape])).max())
        if off_mm > SAME_PLACE_MM:
            raise InputError(
                f"{file}: sform and qform disagree by up to {off_mm:.1f} mm; correct the header, "
                "so that left and right are told once"
            )
    affine = np.asarray(qform if sform is None else sform, float)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < SMALLEST_VOXEL_MM3:
        raise InputError(f"{file}: the affine has no volume (a zero voxel size?); correct the header")
    return affine


def _corners(spans: Sequence[ArrayLike]) -> NDArray[np.int64]:
    """Homogeneous corners of a box of voxels, shape (4, 8)."""
    return np.array(np.meshgrid(*spans, [1])).reshape(4, -1)


def _match_labels(
    table: Sequence[AtlasLabel], found: set[int], file: Path, label_table: Path
) -> tuple[tuple[AtlasLabel, ...], tuple[str, ...]]:
    """Table lines that are in the image, and a note on those that are not."""
    named = {row.index for row in table}
    if unnamed := sorted(found - named):
        raise InputError(
            f"{label_table}: expected every label of {file.name}, found no line for {_listed(unnamed)}; "
            "add these labels to the table"
        )
    present = tuple(row for row in table if row.index in found)
    absent = sorted(named - found)
    return present, (f"in the table, not in the image: {_listed(absent)}",) if absent else ()


def _check_extent(labels: NDArray[np.generic], affine: NDArray[np.float64], file: Path) -> None:
    """Refuse labels that cannot be in MNI space, by the corners of the labelled box."""
    spans = [np.flatnonzero(labels.any(axis=others))[[0, -1]] for others in ((1, 2), (0, 2), (0, 1))]
    corners_mm = (affine @ _corners(spans))[:3].T
    low, high = corners_mm.min(axis=0), corners_mm.max(axis=0)
    if (low < MNI_BOX_MM[0]).any() or (high > MNI_BOX_MM[1]).any():
        box = ", ".join(f"{axis} {a:.0f} to {b:.0f}" for axis, a, b in zip("xyz", low, high, strict=True))
        limits = ", ".join(
            f"{axis} {a:.0f} to {b:.0f}" for axis, a, b in zip("xyz", *MNI_BOX_MM, strict=True)
        )
        raise InputError(
            f"{file}: expected labels within an MNI brain ({limits} mm), found {box} mm; "
            "bring the label map into MNI space first"
        )


def _nifti_bytes(labels: NDArray[np.integer], affine: NDArray[np.float64]) -> bytes:
    smallest = np.uint8 if labels.max() <= np.iinfo(np.uint8).max else np.uint16
    image = nib.Nifti1Image(labels.astype(smallest), affine)
    image.header.set_xyzt_units("mm")
    content: bytes = image.to_bytes()
    return content


def _source(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _write_folder(payloads: dict[str, bytes], name: str) -> Path:
    """All files or none: written beside, then renamed into place."""
    parent = user_atlas_folder()
    target = parent / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=parent) as scratch:
            staged = Path(scratch) / name
            staged.mkdir()
            for file_name, payload in payloads.items():
                (staged / file_name).write_bytes(payload)
            staged.rename(target)
    except OSError as error:
        raise RequestError(
            f"{target}: the atlas cannot be written ({error}); free or name another folder"
        ) from error
    return target


def _listed(indices: Sequence[int]) -> str:
    more = f" and {len(indices) - LISTED} more" if len(indices) > LISTED else ""
    return ", ".join(map(str, indices[:LISTED])) + more
