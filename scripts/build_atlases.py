"""Build the atlases of the package from their text tables.

Usage: python scripts/build_atlases.py [FOLDER]    (FOLDER: atlases/ of this checkout)
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mripipe.atlases.contours import Contour, paint_hemisphere, parse_contours
from mripipe.atlases.tables import format_label_table
from mripipe.atlases.template import TEMPLATE_SPACE, Template, load_template
from mripipe.atlases.territories import TERRITORIES_NAME, TERRITORY_LABELS

ATLASES = Path(__file__).resolve().parent.parent / "atlases"

MIN_TISSUE = 0.25
"""Least grey plus white matter of a labelled voxel: thin sulci are in, ventricles and cisterns are not."""

BACKGROUND_TERRITORY = "MCAs"
"""Territory of the brain that no contour covers."""

REFERENCES = (
    (
        "Tatu et al. 1998, Arterial territories of the human brain: cerebral hemispheres",
        "10.1212/WNL.50.6.1699",
    ),
    (
        "Damasio 1983, A computed tomographic guide to the identification of cerebral vascular territories",
        "10.1001/archneur.1983.04050030032005",
    ),
    (
        "van der Zwan et al. 1992, Variability of the territories of the major cerebral arteries",
        "10.3171/jns.1992.77.6.0927",
    ),
    (
        "Liu et al. 2023, Digital 3D brain MRI arterial territories atlas (compared with)",
        "10.1038/s41597-022-01923-0",
    ),
    (
        "Fonov et al. 2011 (the template), Unbiased average age-appropriate atlases",
        "10.1016/j.neuroimage.2010.07.033",
    ),
)


def territory_volume(contours: Sequence[Contour], template: Template) -> NDArray[np.uint8]:
    """Territory labels on the template's grid.

    Parameters
    ----------
    contours : sequence of Contour
    template : Template
        Axes RAS+, x = 0 on the voxel plane in the middle.

    Returns
    -------
    array of uint8, shape (197, 233, 189)
        Mirror-symmetric; the midline plane belongs to no side and is 0.

    """
    shape, origin = template.mask.shape, template.affine[:3, 3]
    if not np.array_equal(template.affine[:3, :3], np.eye(3)) or shape[0] != 1 - 2 * origin[0]:
        raise ValueError("the contours are painted on a 1 mm RAS+ grid with its middle plane at x = 0")
    middle = shape[0] // 2
    x_mm, y_mm, z_mm = (
        np.arange(1.0, middle + 1),
        np.arange(shape[1]) + origin[1],
        np.arange(shape[2]) + origin[2],
    )
    right = {
        row.abbreviation.removesuffix("_R"): row.index for row in TERRITORY_LABELS if row.side == "right"
    }
    half = paint_hemisphere(contours, right, x_mm, y_mm, z_mm, background=right[BACKGROUND_TERRITORY])
    labels = np.zeros(shape, np.uint8)
    labels[middle + 1 :] = half
    labels[:middle] = half[::-1] - 1
    # Both sides must hold the tissue: the template's last bit must not break the symmetry.
    tissue = template.mask & (template.gm + template.wm >= MIN_TISSUE)
    labels[~(tissue & tissue[::-1])] = 0
    return labels


def nifti_bytes(labels: NDArray[np.uint8], affine: NDArray[np.float64]) -> bytes:
    """Uncompressed NIfTI-1 file of a label map in MNI space."""
    image = nib.Nifti1Image(labels, affine)
    image.set_sform(affine, code="mni")
    image.set_qform(affine, code="mni")
    image.header.set_intent("label")
    image.header.set_xyzt_units("mm")
    content: bytes = image.to_bytes()
    return content


def build_territories(folder: Path) -> None:
    """Write the arterial territories' image, label table and provenance into a folder."""
    table = ATLASES / f"{TERRITORIES_NAME}_contours.tsv"
    text = table.read_text(encoding="utf-8")
    template = load_template()
    content = nifti_bytes(territory_volume(parse_contours(text), template), template.affine)
    about = {
        "name": TERRITORIES_NAME,
        "space": TEMPLATE_SPACE,
        "licence": "Apache-2.0",
        "sides": "verified",
        "description": "Territories of the cerebral arteries, mirror-symmetric, 1 mm",
        "built_by": "scripts/build_atlases.py",
        "built_from": table.name,
        "built_from_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "method": "contours by axial level, blended between levels through signed distances, mirrored "
        f"about x = 0, kept where grey plus white matter of the template is {MIN_TISSUE} or more",
        "references": [{"citation": citation, "doi": doi} for citation, doi in REFERENCES],
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        ".nii.gz": gzip.compress(content, 9, mtime=0),
        ".tsv": format_label_table(TERRITORY_LABELS).encode(),
        ".json": (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode(),
    }
    for ending, payload in files.items():
        temporary = folder / f".{TERRITORIES_NAME}{ending}.part"
        temporary.write_bytes(payload)
        temporary.replace(folder / f"{TERRITORIES_NAME}{ending}")


if __name__ == "__main__":
    build_territories(Path(sys.argv[1]) if len(sys.argv) > 1 else ATLASES)
