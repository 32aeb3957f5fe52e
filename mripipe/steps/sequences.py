"""Lay a visit's other sequences over its reference image: FLAIR, T2w, and what diffusion says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mripipe.core.bias import correct_bias
from mripipe.core.brain import carry_mask
from mripipe.core.diffusion_mean import mean_diffusion
from mripipe.core.grid import Volume
from mripipe.core.itk import affine_transform
from mripipe.core.placement import Placement, register_and_check
from mripipe.core.rough_brain import isolate_brain
from mripipe.errors import InputError
from mripipe.model.stages import CoregisteredImage
from mripipe.model.study import DIFFUSION_MAPS, Session
from mripipe.steps.diffusion_series import load_series
from mripipe.steps.load import load_image, save_image
from mripipe.steps.transforms import write_transform

BESIDE = ("FLAIR", "T2w")
"""Anatomical sequences that are used beside the reference image."""
LARGEST_MOVE_MM = 30.0
"""A head that moved further between a visit's sequences did so on paper: their headers disagree."""
PLAUSIBLE_MOVE_MM = 15.0
"""What a head coil and its padding leave a head to move in; patients move by some millimetres."""
LEAST_IN_VIEW = 0.5
"""A sequence that shows less of the brain is a slab, or lies elsewhere."""
TISSUE_ADC = 0.8
"""10^-3 mm^2/s; what most of a brain has, by which a map's own unit is told."""


@dataclass(frozen=True, eq=False)
class Scanned:
    """Images of one scan, which lie in one place."""

    name: str
    """Of the file, for messages."""
    suffix: str
    """FLAIR, T2w or dwi."""
    guide: Volume
    """The image that is registered."""
    images: tuple[tuple[str, Volume], ...]
    """Suffix and image of each that is used."""


def read_beside(session: Session) -> tuple[tuple[Scanned, ...], tuple[str, ...]]:
    """Read what a visit has beside its reference image.

    Returns
    -------
    tuple
        The scans, and warnings: a diffusion series that cannot be used is left out, with a warning.

    Raises
    ------
    InputError
        A FLAIR or T2w is unfit for use.

    """
    found = []
    for suffix in BESIDE:
        scan = session.scan(suffix)
        if scan is not None and scan != session.reference:
            image = load_image(scan.path)
            found.append(Scanned(scan.path.name, suffix, image, ((suffix, image),)))
    try:
        diffusion = _read_diffusion(session)
    except InputError as error:
        return tuple(found), (f"diffusion is not used to find the infarct: {error}",)
    return (*found, *([diffusion] if diffusion is not None else [])), ()


def place_beside(
    scanned: Scanned, reference: Volume, brain: NDArray[np.bool_], folder: Path
) -> tuple[tuple[CoregisteredImage, ...], tuple[str, ...]]:
    """Register the images of a scan to the reference image, and correct them; return warnings too."""
    diffusion = scanned.suffix == "dwi"
    # Echo-planar images have no scalp to cut a brain out of; they are taken with the head in one place.
    start, warnings = (np.eye(4), ()) if diffusion else _start_between(reference, brain, scanned)
    matrix, placement = register_and_check(reference, brain, scanned.guide, start)
    warnings += _doubts(scanned, placement)
    to_image = write_transform(affine_transform(matrix), folder / f"reference_to_{scanned.suffix}.h5")
    placed = []
    for suffix, image in scanned.images:
        # ADC is in units of its own, which a correction of brightness would spoil.
        if suffix != "ADC":
            image = correct_bias(image, carry_mask(brain, reference.affine, matrix, image))
        path = save_image(folder / f"{suffix}.nii.gz", image.data, image.affine)
        placed.append(CoregisteredImage(suffix, path, to_image, placement.better is not None))
    return tuple(placed), warnings


def _read_diffusion(session: Session) -> Scanned | None:
    """Read the scanner's trace and ADC, else make them from the series; None where there is neither."""
    scans = [scan for suffix in DIFFUSION_MAPS if (scan := session.scan(suffix)) is not None]
    if scans:
        images = [(scan.suffix, load_image(scan.path)) for scan in scans]
        units = [(s, _in_adc_unit(image) if s == "ADC" else image) for s, image in images]
        return Scanned(scans[0].path.name, "dwi", units[0][1], tuple(units))
    series = next((s for s in session.scans if s.suffix == "dwi" and s.bval is not None), None)
    if series is None:
        return None
    loaded = load_series(session)
    mean = mean_diffusion(loaded.data, loaded.table)
    guide, trace, adc = (Volume(part, loaded.affine) for part in (mean.b0, mean.trace, mean.adc))
    return Scanned(series.path.name, "dwi", guide, (("trace", trace), ("ADC", adc)))


def _in_adc_unit(image: Volume) -> Volume:
    """Return an ADC map in 10^-3 mm^2/s: scanners write it in mm^2/s or in 10^-6, 10^-5 or 10^-3 of it."""
    inside = image.data[image.data > 0]
    typical = float(np.median(inside)) if inside.size else TISSUE_ADC
    power = round(float(np.log10(typical / TISSUE_ADC)))
    return Volume(np.maximum(image.data / np.float32(10.0**power), 0.0).astype(np.float32), image.affine)


def _doubts(scanned: Scanned, placed: Placement) -> tuple[str, ...]:
    """Say what speaks against the place of a scan over the reference."""
    doubts = []
    if placed.better is not None:
        doubts.append(
            "another position, a centimetre or more away, fits the reference better, and the infarct is not"
            " looked for in it"
        )
    if placed.moved_mm > PLAUSIBLE_MOVE_MM:
        doubts.append(
            f"it was moved by {placed.moved_mm:.0f} mm from the scanner's position, expected"
            f" {PLAUSIBLE_MOVE_MM:.0f} mm or less"
        )
    if placed.in_view < LEAST_IN_VIEW:
        doubts.append(f"only {100 * placed.in_view:.0f} % of the brain lies in its field of view")
    return tuple(
        f"{scanned.suffix} may be misplaced ({scanned.name}): {doubt}; look at its pictures"
        for doubt in doubts
    )


def _start_between(
    reference: Volume, brain: NDArray[np.bool_], scanned: Scanned
) -> tuple[NDArray[np.floating], tuple[str, ...]]:
    """Trust the headers unless the brains lie apart; then start from one brain over the other."""
    try:
        isolated = isolate_brain(scanned.guide, sequence=scanned.suffix)
    except ValueError as error:
        raise InputError(f"{scanned.name}: {error}") from error
    there = np.argwhere(isolated.data > 0).mean(axis=0) @ isolated.affine[:3, :3].T + isolated.affine[:3, 3]
    here = np.argwhere(brain).mean(axis=0) @ reference.affine[:3, :3].T + reference.affine[:3, 3]
    start = np.eye(4)
    apart = float(np.linalg.norm(there - here))
    if apart <= LARGEST_MOVE_MM:
        return start, ()
    start[:3, 3] = there - here
    line = f"{scanned.name}: lies {apart:.0f} mm from the reference by its header; check their alignment"
    return start, (line,)
