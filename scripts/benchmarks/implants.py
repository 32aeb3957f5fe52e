"""Measure the segmentation on real heads into which infarcts of real shape are implanted.

Usage: python scripts/benchmarks/implants.py BIDS MADE MASKS --out DIR [--cases 8] [--seed 20]

BIDS holds real heads without an infarct, MADE what ``mripipe run`` made of them, MASKS infarcts in MNI space
(``*_mask.nii.gz``). Infarcts of 15 to 250 mL, mostly in the MCA territory of one side, are taken in even
steps of volume, every second one mirrored, and carried to a head by its own way to MNI. What an infarct looks
like is drawn for each: how dark gliosis is on T1w, how bright on FLAIR, how soft its border is, and which
share is cavity. Every case is segmented from all sequences that the head has, and from the T1w alone. A case
that is done has a file ``DIR/NN.json`` and is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.processing import resample_to_output
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

import mripipe
from mripipe.atlases.template import load_template
from mripipe.atlases.territories import mca_mask
from mripipe.bids.files import write_atomic
from mripipe.core.grid import Volume
from mripipe.core.itk import to_itk
from mripipe.model.study import Session

Floats = NDArray[np.floating]

VOLUMES_ML = (15.0, 250.0)
LEAST_IN_TERRITORY = 0.7
CAVITY_DEPTH_MM = 3.0
"""A cavity keeps this distance from the infarct's border."""
CAVITY_GRAIN_MM = 4.0
TEXTURE = 0.3
"""Share of the tissue's own contrast that gliosis keeps."""
SHADING_MM = 15.0
"""Over this reach the brightness of tissue is averaged."""


@dataclass(frozen=True)
class Look:
    """What an infarct looks like."""

    t1w: float
    """Of gliosis, from 0 for CSF to 1 for grey matter."""
    flair: float
    """Of gliosis, over grey matter's."""
    edge_mm: float
    """Deviation of the Gaussian that softens the border."""
    cavity: float
    """Share of what lies deep enough."""


@dataclass(frozen=True, eq=False)
class Head:
    """A real head and a grid of 1 mm in its own space."""

    scans: dict[str, nib.Nifti1Image]
    fine: nib.Nifti1Image
    brain: NDArray[np.bool_]
    tissues: tuple[Floats, Floats, Floats]
    """Template maps of grey matter, white matter and CSF on the fine grid."""
    way: sitk.Transform
    """Maps points of the head to MNI."""


def load_head(session: Session, made: Path) -> Head:
    """Read a head and what was made of it."""
    scans = {scan.suffix: nib.load(scan.path) for scan in session.scans if scan.suffix in ("T1w", "FLAIR")}
    fine = resample_to_output(scans["T1w"], 1.0, order=1)
    way = sitk.ReadTransform(str(next(made.glob("anat/*_from-MNI*_to-T1w_mode-image_xfm.h5"))))
    mask = nib.load(next(made.glob("anat/*_desc-brain_mask.nii.gz")))
    brain = on_grid(np.asarray(mask.dataobj, float), mask.affine, fine) >= 0.5
    template = load_template()
    tissues = [from_mni(m, template.affine, fine, way) for m in (template.gm, template.wm, template.csf)]
    return Head(scans, fine, brain, (tissues[0], tissues[1], tissues[2]), way)


def from_mni(data: Floats, affine: Floats, fine: nib.Nifti1Image, way: sitk.Transform) -> NDArray[np.float32]:
    """Carry a volume from MNI to the fine grid."""
    grid = to_itk(Volume(np.zeros(fine.shape, np.float32), fine.affine))
    carried = sitk.Resample(to_itk(Volume(np.asarray(data, np.float32), affine)), grid, way)
    return np.asarray(sitk.GetArrayFromImage(carried).transpose(2, 1, 0))


def on_grid(data: Floats, affine: Floats, image: nib.Nifti1Image) -> NDArray[np.float64]:
    """Average a volume over the voxels of another image in the same space."""
    there = np.linalg.inv(affine) @ image.affine
    # How far a voxel of the image reaches along each axis of the volume.
    reach = np.abs(there[:3, :3] / voxel_sizes(image.affine)) @ voxel_sizes(image.affine)
    sigma = np.sqrt(np.maximum((reach / voxel_sizes(affine)) ** 2 - 1.0, 0.0)) / 2.355
    index = np.indices(image.shape).reshape(3, -1)
    points = there[:3, :3] @ index + there[:3, 3:]
    return np.asarray(map_coordinates(gaussian_filter(data, sigma), points, order=1).reshape(image.shape))


def chosen_masks(folder: Path, cases: int) -> list[Path]:
    """Choose infarcts of the MCA territory in even steps of volume."""
    territory, affine = mca_mask("left") | mca_mask("right"), load_template().affine
    found = []
    for path in sorted(folder.glob("*_mask.nii.gz")):
        image = nib.as_closest_canonical(nib.load(path))
        mask = np.asarray(image.dataobj) > 0
        volume = mripipe.lesion_volume(image)
        if not VOLUMES_ML[0] <= volume <= VOLUMES_ML[1]:
            continue
        mni = apply_affine(image.affine, np.argwhere(mask))
        index = np.rint(apply_affine(np.linalg.inv(affine), mni)).astype(int)
        index = np.clip(index, 0, np.array(territory.shape) - 1)
        one_side = max(np.mean(mni[:, 0] < 0), np.mean(mni[:, 0] > 0))
        if min(one_side, territory[tuple(index.T)].mean()) >= LEAST_IN_TERRITORY:
            found.append((volume, path))
    found.sort()
    return [found[k][1] for k in np.unique(np.linspace(0, len(found) - 1, cases).astype(int))]


def hollow_part(share: Floats, part: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a cavity of blobs that takes a part of what lies deep in the infarct."""
    grain = gaussian_filter(rng.standard_normal(share.shape), CAVITY_GRAIN_MM)
    deep = distance_transform_edt(share >= 0.5) > CAVITY_DEPTH_MM
    if part == 0.0 or not deep.any():
        return np.zeros(share.shape)
    return np.asarray(
        gaussian_filter((deep & (grain >= np.quantile(grain[deep], 1.0 - part))).astype(float), 0.7)
    )


def shading(image: Floats, maps: list[Floats], voxel_mm: Floats) -> Floats:
    """Return how bright tissue is around each voxel, 1 on average: what is implanted is shaded like it."""
    tissue = (maps[0] + maps[1] > 0.9).astype(float)
    sigma = SHADING_MM / voxel_mm
    weight = gaussian_filter(tissue, sigma) + 1e-6
    return np.asarray(gaussian_filter(tissue * image, sigma) / weight / np.median(image[tissue > 0]))


def implant(
    image: Floats,
    kind: str,
    maps: list[Floats],
    voxel_mm: Floats,
    infarct: Floats,
    cavity: Floats,
    look: Look,
) -> Floats:
    """Blend gliosis and cavity into an image."""
    field = shading(image, maps, voxel_mm)
    flat = image / np.maximum(field, 0.1)
    # The medians of grey matter and CSF, by the template's maps.
    grey, csf = (
        float(np.median(flat[m >= min(0.9, np.quantile(m[m > 0.1], 0.9))])) for m in (maps[0], maps[2])
    )
    dull = csf + look.t1w * (grey - csf) if kind == "T1w" else look.flair * grey
    gliosis = dull + TEXTURE * (flat - np.median(flat[infarct > 0.5]))
    return image + infarct * field * ((1.0 - cavity) * gliosis + cavity * csf - flat)


def make_case(
    head: Head, mask: Path, mirrored: bool, look: Look, folder: Path, rng: np.random.Generator
) -> None:
    """Write a head's sequences with an infarct, and the truth on the T1w's grid."""
    image = nib.as_closest_canonical(nib.load(mask))
    affine = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0, 1.0]) @ image.affine
    share = from_mni(np.asarray(image.dataobj) > 0, affine, head.fine, head.way) * head.brain
    soft = gaussian_filter(share, look.edge_mm) * head.brain
    hollow = hollow_part(share, look.cavity, rng)
    for kind, scan in head.scans.items():
        data = np.asarray(scan.dataobj, float)
        infarct, cavity, *maps = (
            on_grid(part, head.fine.affine, scan)
            for part in (soft, hollow, *(tissue * head.brain for tissue in head.tissues))
        )
        changed = implant(data, kind, maps, voxel_sizes(scan.affine), infarct, cavity, look)
        nib.save(nib.Nifti1Image(changed.astype(np.float32), scan.affine), folder / f"{kind}.nii.gz")
    truth = on_grid(soft, head.fine.affine, head.scans["T1w"]) >= 0.5
    nib.save(nib.Nifti1Image(truth.astype(np.uint8), head.scans["T1w"].affine), folder / "truth.nii.gz")


def run_case(folder: Path) -> dict[str, Any]:
    """Segment from all sequences and from the T1w alone; return a row."""
    truth = nib.as_closest_canonical(nib.load(folder / "truth.nii.gz"))
    true = np.asarray(truth.dataobj) > 0
    row: dict[str, Any] = {"true_ml": mripipe.lesion_volume(truth)}
    flair = folder / "FLAIR.nii.gz"
    for name, beside in (("all", flair), ("t1w", None)) if flair.is_file() else (("t1w", None),):
        found = mripipe.segment_lesion(folder / "T1w.nii.gz", beside)
        mask = np.asarray(nib.as_closest_canonical(found.mask).dataobj) > 0
        nib.save(found.mask, folder / f"found_{name}.nii.gz")
        # Where nothing was found there is neither, and all of the infarct is missed.
        ends, missed = found.interval, found.volume_ml is None
        row |= {
            f"dice_{name}": float(2.0 * (mask & true).sum() / (mask.sum() + true.sum())),
            f"ml_{name}": 0.0 if missed else found.volume_ml,
            f"side_{name}": found.side,
            f"held_{name}": ends is not None and bool(ends.lower_ml <= row["true_ml"] <= ends.upper_ml),
        }
    return row


def case(number: int, mask: Path, session: Session, made: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Make and segment one case."""
    rng = np.random.default_rng(seed + number)
    look = Look(
        t1w=rng.uniform(0.3, 0.7),
        flair=rng.uniform(1.2, 1.5),
        edge_mm=rng.uniform(0.5, 1.5),
        cavity=float(rng.choice([0.0, 0.3, 0.6])),
    )
    folder.mkdir(parents=True, exist_ok=True)
    make_case(load_head(session, made), mask, number % 2 == 1, look, folder, rng)
    told = {"mask": mask.name.split("_")[0], "mirrored": number % 2 == 1, "session": session.session_id}
    return {**told, **asdict(look), **run_case(folder)}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("bids", "made", "masks"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--seed", type=int, default=20, help="of what the infarcts look like")
    given = parser.parse_args()
    sessions = [
        session for subject in mripipe.read_study(given.bids).subjects for session in subject.sessions
    ]
    rows = []
    for number, mask in enumerate(chosen_masks(given.masks, given.cases)):
        session = sessions[number % len(sessions)]
        path = given.out / f"{number:02d}.json"
        if not path.is_file():
            made = given.made / session.participant_id / session.session_id
            row = case(number, mask, session, made, given.out / f"{number:02d}", given.seed)
            write_atomic(path, json.dumps(row, indent=1))
        rows.append(json.loads(path.read_text(encoding="utf-8")))
        print(
            " ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items()),
            flush=True,
        )
    for name in ("all", "t1w"):
        measured = [row for row in rows if f"dice_{name}" in row]
        if measured:
            dice = [row[f"dice_{name}"] for row in measured]
            error = [100.0 * (row[f"ml_{name}"] / row["true_ml"] - 1.0) for row in measured]
            for what, values in (("Dice", dice), ("volume error, %", error)):
                print(
                    f"{name}: {what} {min(values):.3g} to {max(values):.3g}, median {np.median(values):.3g}"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
