"""Convert a series with dcm2niix, and keep of what it writes only what tells nobody."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mripipe.bids.nifti import parse_header
from mripipe.errors import InputError, ProcessingError, RequestError
from mripipe.model.dicom import Series
from mripipe.model.protocol import Rule

TIMEOUT_S: Final = 1800
"""A series takes seconds; a program that hangs must not hold up the others."""
B0_MAX: Final = 50.0
"""b-values in s/mm^2 up to which a volume has no direction."""
SAME_DIRECTION: Final = 0.999
"""Cosine from which two directions are one."""

KEPT_NUMBERS: Final = frozenset(
    {"MagneticFieldStrength", "EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "SliceThickness"}
    | {"SpacingBetweenSlices", "EchoTrainLength", "NumberOfAverages", "PartialFourier"}
    | {
        "ParallelReductionFactorInPlane",
        "ParallelReductionFactorOutOfPlane",
        "MultibandAccelerationFactor",
        "PixelBandwidth",
    }
    | {"DwellTime", "TotalReadoutTime", "EffectiveEchoSpacing", "PercentPhaseFOV"}
    | {"PercentSampling", "AcquisitionMatrixPE", "ReconMatrixPE", "PhaseEncodingSteps", "SliceTiming"}
)
"""Keys of the sidecar that are kept with a number or a list of numbers."""
KEPT_WORDS: Final = {
    "PhaseEncodingDirection": r"[ijk]-?",
    "PhaseEncodingAxis": r"[ijk]",
    "MRAcquisitionType": r"[123]D",
    "InPlanePhaseEncodingDirectionDICOM": r"ROW|COL",
}
"""Keys that are kept with a word of this form."""
_OTHER_IMAGES: Final = re.compile(r"_(ph|real|imaginary|ADC|TRACE|FA|ROI\d*)[a-z]?$")


class NoDirectionsError(InputError):
    """A diffusion series is a trace or b = 0 series: nothing is wrong with it, it is another thing."""


@dataclass(frozen=True)
class Converted:
    """A series as it is published."""

    series: Series
    suffix: str
    image: bytes
    """NIfTI, not packed."""
    sidecar: Mapping[str, Any]
    bval: str | None = None
    bvec: str | None = None

    def files(self) -> dict[str, bytes]:
        """Return extension to content."""
        found = {
            ".nii.gz": gzip.compress(self.image, compresslevel=6, mtime=0),
            ".json": (json.dumps(self.sidecar, indent=2, ensure_ascii=False) + "\n").encode(),
        }
        for extension, text in ((".bval", self.bval), (".bvec", self.bvec)):
            if text is not None:
                found[extension] = text.encode()
        return found


def find_dcm2niix() -> str:
    """Return the program: the one that comes with the Python package, else the one on PATH.

    Raises
    ------
    RequestError
        There is none.

    """
    try:
        import dcm2niix

        if Path(dcm2niix.bin).is_file():
            return str(dcm2niix.bin)
    except ImportError:
        pass
    found = shutil.which("dcm2niix")
    if found is None:
        raise RequestError("dcm2niix is not installed; install the Python package dcm2niix")
    return found


def converter_version() -> str:
    """Return the version that dcm2niix gives itself, or ``unknown``.

    It stands in the log and not in the sidecars: these would change with it, and it looks like a date.
    """
    done = subprocess.run([find_dcm2niix(), "--version"], capture_output=True, check=False, timeout=60)
    found = re.findall(rb"v[0-9]+\.[0-9.]+", done.stdout)
    return found[-1].decode() if found else "unknown"


def convert_series(series: Series, rule: Rule, folder: Path, *, scanner: str | None) -> Converted:
    """Convert one series.

    Parameters
    ----------
    series : Series
        Whole, and taken by the rule.
    rule : Rule
        Picks the echo where there are several, and says how many directions diffusion must have.
    folder : Path
        Empty folder for what is made on the way.
    scanner : str, optional
        The scanner's code.

    Returns
    -------
    Converted

    Raises
    ------
    InputError
        Not exactly one image comes of the series, or not one that is fit for its suffix.
    ProcessingError
        dcm2niix fails.

    """
    source, out = folder / "in", folder / "out"
    source.mkdir(parents=True)
    out.mkdir()
    for number, file in enumerate(series.files):
        os.symlink(file.path.resolve(), source / f"{number:06d}.dcm")
    _run(source, out, series)
    images = sorted(p for p in out.glob("*.nii") if _OTHER_IMAGES.search(p.stem) is None)
    if any("_Eq" in path.stem for path in images):
        raise InputError(f"{series.label}: its slices are not evenly spaced; are some missing?")
    image = _one_image(images, rule, series)
    sidecar = _sidecar(image.with_suffix(".json"))
    content = _clean(image.read_bytes(), series)
    shape = parse_header(content, series.label).shape
    if rule.suffix != "dwi":
        if len(shape) != 3:
            raise InputError(f"{series.label}: {shape[3]} volumes, expected one for a {rule.suffix}")
        return Converted(series, rule.suffix, content, _public(sidecar, series, scanner))
    bval, bvec = (_text(image.with_suffix(ending)) for ending in (".bval", ".bvec"))
    _check_directions(series, rule, shape, bval, bvec)
    return Converted(series, "dwi", content, _public(sidecar, series, scanner), bval, bvec)


def n_directions(bval: str, bvec: str) -> int:
    r"""Return the number of different diffusion directions; opposite ones are the same.

    Examples
    --------
    >>> n_directions("0 1000 1000 1000", "0 1 -1 0\n0 0 0 1\n0 0 0 0")
    2

    """
    weights = np.array(bval.split(), dtype=np.float64)
    vectors = np.array([line.split() for line in bvec.splitlines() if line.strip()], dtype=np.float64).T
    used = vectors[(weights > B0_MAX) & (np.linalg.norm(vectors, axis=1) > 0.5)]
    different: list[np.ndarray[Any, Any]] = []
    for vector in used / np.linalg.norm(used, axis=1, keepdims=True):
        if all(abs(float(vector @ other)) < SAME_DIRECTION for other in different):
            different.append(vector)
    return len(different)


def _run(source: Path, out: Path, series: Series) -> None:
    """Call dcm2niix; what it prints may name the patient and is not passed on."""
    command = [find_dcm2niix(), "-g", "i", "-z", "n", "-b", "y", "-ba", "y", "-f", "image", "-o", str(out)]
    try:
        done = subprocess.run(
            [*command, str(source)],
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise ProcessingError(
            f"{series.label}: dcm2niix did not end within {TIMEOUT_S} s; convert it alone to see why"
        ) from error
    if done.returncode != 0 and not any(out.glob("*.nii")):
        raise ProcessingError(
            f"{series.label}: dcm2niix failed with status {done.returncode}; convert it alone to see why"
        )


def _one_image(images: list[Path], rule: Rule, series: Series) -> Path:
    """Return the only image, or of several echoes the only one within the rule's limits."""
    if len(images) > 1 and "echo_time_ms" in rule.limits:
        low, high = rule.limits["echo_time_ms"]
        times = {
            path: 1000 * float(_sidecar(path.with_suffix(".json")).get("EchoTime", 0)) for path in images
        }
        images = [path for path in images if low <= times[path] <= high]
    if len(images) != 1:
        raise InputError(f"{series.label}: {len(images)} images came of it, expected one; convert it by hand")
    return images[0]


def _sidecar(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8", errors="replace")))
    except (OSError, ValueError):
        return {}


def _text(path: Path) -> str | None:
    return path.read_text(encoding="ascii") if path.is_file() else None


def _check_directions(
    series: Series, rule: Rule, shape: tuple[int, ...], bval: str | None, bvec: str | None
) -> None:
    """Refuse what is no diffusion series with directions, such as a trace."""
    volumes = shape[3] if len(shape) > 3 else 1
    if bval is None or bvec is None:
        raise NoDirectionsError(
            f"{series.label}: no b-values and directions in it (a trace or b = 0 series?)"
        )
    if len(bval.split()) != volumes:
        raise InputError(f"{series.label}: {len(bval.split())} b-values for {volumes} volumes")
    found = n_directions(bval, bvec)
    if found < rule.directions_min:
        raise NoDirectionsError(
            f"{series.label}: {found} diffusion directions, expected at least {rule.directions_min} "
            "(a trace or b = 0 series?)"
        )


def _clean(raw: bytes, series: Series) -> bytes:
    """Return a NIfTI-1 file with blank texts and without extensions; voxels and geometry are untouched."""
    header = parse_header(raw, series.label).raw
    offset = int(header["vox_offset"])
    start = bytearray(raw[:348])
    # Old ANALYZE names, unused numbers, description and auxiliary file, the intent's name.
    for first, last in ((4, 36), (140, 148), (148, 252), (328, 344)):
        start[first:last] = bytes(last - first)
    start[108:112] = np.float32(352).astype(header["vox_offset"].dtype).tobytes()
    return bytes(start) + bytes(4) + raw[offset:]


def _public(sidecar: Mapping[str, Any], series: Series, scanner: str | None) -> dict[str, Any]:
    """Return what may be told: numbers, words of a known form, and a plain description of the scanner."""
    kept: dict[str, Any] = {"Modality": "MR"}
    machine = series.scanner
    texts = {
        "Manufacturer": machine.manufacturer,
        "ManufacturersModelName": machine.model,
        "SoftwareVersions": machine.software,
        "ReceiveCoilName": series.coil or sidecar.get("ReceiveCoilName") or sidecar.get("CoilString"),
        "DeviceSerialNumber": scanner,
    }
    kept |= {key: str(text) for key, text in texts.items() if text}
    # What dcm2niix does not find in an enhanced image the header may still say.
    seconds = {
        "RepetitionTime": series.repetition_time_ms,
        "InversionTime": series.inversion_time_ms,
        "EchoTime": series.echo_times_ms[0] if len(series.echo_times_ms) == 1 else None,
    }
    kept |= {key: round(value / 1000, 7) for key, value in seconds.items() if value is not None}
    if machine.field_strength_t is not None:
        kept["MagneticFieldStrength"] = machine.field_strength_t
    if series.flip_angle_deg is not None:
        kept["FlipAngle"] = series.flip_angle_deg
    for key, value in sorted(sidecar.items()):
        if key in KEPT_NUMBERS:
            is_plain = _is_numeric(value)
        else:
            is_plain = key in KEPT_WORDS and re.fullmatch(KEPT_WORDS[key], str(value)) is not None
        if is_plain:
            kept[key] = value
    return kept | {"ConversionSoftware": "dcm2niix"}


def _is_numeric(value: object) -> bool:
    if isinstance(value, list):
        return all(_is_numeric(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)
