"""Label maps with their table, space and licence: those of the package and those a user installed.

An atlas is three files: ``NAME.nii.gz``, ``NAME.tsv`` (index, name, abbreviation, side) and ``NAME.json``
(space, licence, references, how it was made, SHA-256 of the uncompressed image).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mripipe.errors import InputError, RequestError
from mripipe.model.atlas import AtlasFiles

from .tables import AtlasLabel, read_label_table

ATLAS_FOLDER_VARIABLE = "MRIPIPE_ATLASES"
"""Environment variable that names the folder of installed atlases."""

MM3_PER_ML = 1000.0

WHOLE_VOXEL = 255
"""Share of a label in a voxel that is all its own, as maps of probability store it."""


@dataclass(frozen=True)
class Atlas:
    """A label map, or maps of probability, in a named space."""

    name: str
    """Name it is loaded by."""
    labels: NDArray[np.integer]
    """Label of each voxel, 0 where there is none; shape (X, Y, Z), read-only. Of maps of probability, the
    share of label k + 1 in volume k, 0 to 255; shape (X, Y, Z, N)."""
    affine: NDArray[np.float64]
    """Voxel index to RAS+ mm, shape (4, 4)."""
    table: tuple[AtlasLabel, ...]
    """The labels, by index."""
    space: str
    """Template space, named as in BIDS."""
    licence: str
    """Licence, or ``n/a`` where it was not told."""
    provenance: Mapping[str, Any]
    """The JSON file beside the image."""

    def share(self, index: int) -> NDArray[np.float32]:
        """Share of one label in each voxel, 0 to 1, shape (X, Y, Z)."""
        if self.labels.ndim == 4:
            return np.asarray(self.labels[..., index - 1] / np.float32(WHOLE_VOXEL), np.float32)
        return np.asarray(self.labels == index, np.float32)

    def mask(self, indices: Collection[int]) -> NDArray[np.bool_]:
        """Voxels of some labels (half of them or more), shape (X, Y, Z)."""
        if self.labels.ndim == 4:
            chosen = self.labels[..., [index - 1 for index in indices]]
            return np.asarray((chosen >= WHOLE_VOXEL / 2).any(axis=3))
        return np.isin(self.labels, list(indices))

    def volume_ml(self, index: int) -> float:
        """Volume of one label."""
        voxel_mm3 = abs(float(np.linalg.det(self.affine[:3, :3])))
        return float(self.share(index).sum(dtype=np.float64)) * voxel_mm3 / MM3_PER_ML


def user_atlas_folder() -> Path:
    """Folder of installed atlases: ``$MRIPIPE_ATLASES``, else ``~/.local/share/mripipe/atlases``."""
    named = os.environ.get(ATLAS_FOLDER_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".local" / "share" / "mripipe" / "atlases"


def atlas_names() -> tuple[str, ...]:
    """Names of the atlases that can be loaded, the package's own first."""
    return (*sorted(_own()), *sorted(_installed().keys() - _own().keys()))


def load_atlas(name: str) -> Atlas:
    """Load an atlas of the package or an installed one.

    Parameters
    ----------
    name : str
        One of `atlas_names`.

    Returns
    -------
    Atlas

    Raises
    ------
    RequestError
        If there is no atlas of that name.
    InputError
        If a file of it is missing, unreadable or not the one that was installed.

    """
    return read_atlas(atlas_files(name))


def atlas_files(name: str) -> AtlasFiles:
    """Return where an atlas lies; RequestError where there is none of that name."""
    base = _base(name)
    image, table, about = (base.with_name(f"{name}{ending}") for ending in (".nii.gz", ".tsv", ".json"))
    return AtlasFiles(name, image, table, about)


def read_atlas(files: AtlasFiles) -> Atlas:
    """Load an atlas from its files; InputError as `load_atlas`."""
    name, base = files.name, files.image.with_name(files.name)
    provenance = _provenance(base, name)
    image_file = files.image
    try:
        content = gzip.decompress(image_file.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{image_file}: the atlas cannot be read ({error}); install it again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != provenance["sha256"]:
        raise InputError(
            f"{image_file}: expected SHA-256 {provenance['sha256'][:12]}..., found {found[:12]}...; "
            "the file was changed, install the atlas again"
        )
    image = nib.Nifti1Image.from_bytes(content)
    labels = np.asarray(image.dataobj)
    labels.setflags(write=False)
    return Atlas(
        name=name,
        labels=labels,
        affine=np.asarray(image.affine, float),
        table=read_label_table(files.table),
        space=provenance["space"],
        licence=provenance["licence"],
        provenance=provenance,
    )


def list_atlases() -> str:
    """Plain text: one line an atlas, with its space, its number of labels, its sides and its licence."""
    lines = [("name", "space", "labels", "sides", "licence")]
    for name in atlas_names():
        try:
            base = _base(name)
            about = _provenance(base, name)
            n_labels = len(read_label_table(base.with_name(f"{name}.tsv")))
            lines.append((name, about["space"], str(n_labels), about["sides"], about["licence"]))
        except InputError as error:
            lines.append((name, "n/a", "n/a", "n/a", f"unusable: {error}"))
    return _aligned(lines)


def describe_atlas(name: str) -> str:
    """Plain text: where an atlas comes from, and its labels with their volumes.

    Parameters
    ----------
    name : str
        One of `atlas_names`.

    Returns
    -------
    str

    Raises
    ------
    RequestError, InputError
        As `load_atlas`.

    """
    atlas = load_atlas(name)
    about = [
        f"{key}: {_plain(value)}" for key, value in atlas.provenance.items() if key not in ("name", "sha256")
    ]
    rows = [("index", "name", "abbreviation", "side", "volume_ml")]
    rows += [
        (str(row.index), row.name, row.abbreviation, row.side, f"{atlas.volume_ml(row.index):.1f}")
        for row in atlas.table
    ]
    return "\n".join([name, *about, "", _aligned(rows)])


def _own() -> dict[str, Path]:
    folder = Path(__file__).parent
    return {path.stem: path.with_suffix("") for path in folder.glob("*.json")}


def _installed() -> dict[str, Path]:
    found = user_atlas_folder().glob("*/*.json")
    return {path.stem: path.with_suffix("") for path in found if path.parent.name == path.stem}


def _base(name: str) -> Path:
    """Path of an atlas's files less their endings."""
    # The package's own come last, so that no installed atlas can take their place.
    known = _installed() | _own()
    if name not in known:
        raise RequestError(
            f"no atlas '{name}'; there are {', '.join(sorted(known))}. Add one with: mripipe atlas install"
        )
    # with_suffix would cut a name such as 'v1.2' at its dot.
    return known[name].with_name(name)


def _provenance(base: Path, name: str) -> dict[str, Any]:
    path = base.with_name(f"{name}.json")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); install the atlas again") from error
    missing = {"space", "licence", "sides", "sha256"} - set(about if isinstance(about, dict) else ())
    if missing:
        raise InputError(
            f"{path}: expected {', '.join(sorted(missing))}, found none; install the atlas again"
        )
    return dict(about)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "".join(f"\n  - {_plain(item)}" for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return str(value)


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]])
        for row in rows
    )
