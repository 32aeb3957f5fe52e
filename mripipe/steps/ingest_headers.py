"""Read DICOM headers: which files make which series, whether it is whole, and what tells who it is."""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from mripipe.bids.visit_key import parse_day
from mripipe.core.identity import Kind
from mripipe.core.slices import check_slices
from mripipe.model.dicom import Finding, Scanner, Series, SourceFile, maker

_PREAMBLE: Final = 132
_DICOMDIR: Final = "1.2.840.10008.1.3.10"
_UNCOMPRESSED: Final = frozenset(
    {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.98"}
)
_DATES: Final = ("StudyDate", "AcquisitionDate", "AcquisitionDateTime", "SeriesDate", "ContentDate")
_TEXT_VRS: Final = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "CS", "AE", "PN", "DA", "DT", "UN"})
_PRIVATE_SHORTEST: Final = 6
"""Shorter private texts are words such as ``A->P`` or ``YES``."""
_PRIVATE_LONGEST: Final = 256

_ID = re.compile(
    "PatientID|Accession|StudyID|StepID|ProcedureID|OrderNumber|RecordLocator|AdmissionID|EpisodeID|SubjectID"
    "|Telephone|ReadingID|InsurancePlan"
)
_SERIAL = re.compile("SerialNumber|GantryID|DetectorID|PlateID|CassetteID|DeviceID")
_SITE = re.compile("^Institution|StationName|^PatientAddress")
_FREE = re.compile(
    "StudyDescription|ProcedureDescription|StepDescription|Comments|PatientHistory|Occupation|OfResidence"
    "|Reason|MilitaryRank|BranchOfService|EthnicGroup|Religious|ClinicalTrial|AdmittingDiagnoses"
)


@dataclass
class InputStudy:
    """What the headers of all files say together."""

    series: tuple[Series, ...]
    findings: tuple[Finding, ...]
    secrets: dict[int, set[tuple[Kind, str]]] = field(repr=False)
    """Position in `series` to the values of its headers that must not be written."""
    n_files: int = 0
    n_dicom: int = 0


@dataclass(frozen=True)
class _Instance:
    """One file, as far as it is needed to judge its series."""

    file: SourceFile
    uid: str
    number: int | None
    normals: tuple[tuple[float, ...], ...]
    places: tuple[tuple[float, ...], ...]
    faults: tuple[str, ...]


@dataclass
class _Group:
    """A series while it is collected."""

    first: Any
    instances: list[_Instance]
    echo_times: set[float]
    secrets: set[tuple[Kind, str]]


def read_headers(files: Sequence[SourceFile]) -> InputStudy:
    """Read every file's header and sort the files into series.

    Parameters
    ----------
    files : sequence of SourceFile
        From `find_files`.

    Returns
    -------
    InputStudy
        Series in the order of patient, day and number. A file that is no DICOM is a note, one that cannot be
        read an error; the others go on.

    """
    # What pydicom says of odd values quotes them, and they may be names and dates.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    findings: list[Finding] = []
    groups: dict[tuple[str, str, str], _Group] = {}
    n_dicom = n_other = 0
    for file in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = _read(file)
                if found is None:
                    n_other += 1
                    continue
                n_dicom += 1
                _add(groups, file, *found)
            except Exception as error:
                # pydicom raises many kinds on damaged input; the file is named and the others go on.
                text = f"cannot be read as DICOM ({type(error).__name__}); copy it again"
                findings.append(Finding("error", "bad_file", text, where=file.name))
    if n_other:
        findings.append(Finding("note", "not_dicom", f"{n_other} files are not DICOM images"))
    built = [(_series(group, findings), group.secrets) for group in groups.values()]
    built.sort(key=lambda pair: _order(pair[0]))
    secrets = {at: values for at, (_, values) in enumerate(built)}
    return InputStudy(tuple(s for s, _ in built), tuple(findings), secrets, len(files), n_dicom)


def _order(series: Series) -> tuple[str, str, int, str]:
    day = series.study_date.isoformat() if series.study_date else ""
    return series.patient_id, day, series.number or 0, series.files[0].name


def _read(file: SourceFile) -> tuple[Any, tuple[str, ...]] | None:
    """Return a file's dataset without its voxels, and its faults; None where it is no DICOM image."""
    with file.path.open("rb") as stream:
        start = stream.read(_PREAMBLE)
        bare = start[:2] in (b"\x08\x00", b"\x02\x00") and start[128:] != b"DICM"
        if start[128:] != b"DICM" and not bare:
            if Path(file.name).suffix.lower() in (".dcm", ".ima"):
                raise InvalidDicomError
            return None
        stream.seek(0)
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=bare)
        size = file.path.stat().st_size
        missing = _missing_bytes(dataset, size - stream.tell())
    syntax = getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID")
    if syntax == _DICOMDIR:
        return None
    if "SOPInstanceUID" not in dataset or "SeriesInstanceUID" not in dataset:
        raise InvalidDicomError
    return dataset, (("a file is truncated",) if missing else ())


def _missing_bytes(dataset: Any, left: int) -> bool:
    """Say whether fewer bytes are left in a file than its voxels take."""
    syntax = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", "1.2.840.10008.1.2"))
    sizes = [dataset.get(key) for key in ("Rows", "Columns", "BitsAllocated")]
    if None in sizes:
        return False
    if syntax not in _UNCOMPRESSED:
        return left <= 0
    frames = int(dataset.get("NumberOfFrames") or 1) * int(dataset.get("SamplesPerPixel") or 1)
    return left < int(np.prod([int(size) for size in sizes])) // 8 * frames


def _add(
    groups: dict[tuple[str, str, str], _Group], file: SourceFile, dataset: Any, faults: tuple[str, ...]
) -> None:
    """Sort one file into its series."""
    key = tuple(str(dataset.get(k, "")) for k in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
    instance = _instance(file, dataset, faults)
    echoes = {float(v) for v in _values(dataset, "EchoTime", "EffectiveEchoTime") if v not in (None, "")}
    values = set(_secrets(dataset))
    group = groups.setdefault(key, _Group(dataset, [], set(), set()))  # type: ignore[arg-type]
    group.instances.append(instance)
    group.echo_times |= {echo for echo in echoes if echo > 0}
    group.secrets |= values


def _instance(file: SourceFile, dataset: Any, faults: tuple[str, ...]) -> _Instance:
    """Take from a dataset what tells whether its series is whole."""
    orientations = list(_values(dataset, "ImageOrientationPatient"))
    places = list(_values(dataset, "ImagePositionPatient"))
    frames = int(dataset.get("NumberOfFrames") or 1)
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame is not None and len(per_frame) != frames:
        faults = (*faults, f"{len(per_frame)} of {frames} frames are described")
    if len(orientations) == 1:
        orientations *= len(places)
    # A mosaic is one volume an image, its corner no slice's.
    tiled = {"MOSAIC", "VFRAME"} & {str(word).upper() for word in dataset.get("ImageType") or ()}
    if tiled or len(orientations) != len(places):
        orientations, places = [], []
    normals = tuple(tuple(np.cross(np.float64(o[:3]), np.float64(o[3:]))) for o in orientations)
    number = dataset.get("InstanceNumber")
    return _Instance(
        file,
        str(dataset.SOPInstanceUID),
        int(number) if number not in (None, "") else None,
        normals,
        tuple(tuple(float(x) for x in place) for place in places),
        faults,
    )


def _values(dataset: Any, *keywords: str) -> Iterator[Any]:
    """Yield an element's value, or of an enhanced image its value in the shared or each frame's groups."""
    for keyword in keywords:
        if dataset.get(keyword) not in (None, ""):
            yield dataset.get(keyword)
            return
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        found = False
        for groups in dataset.get(sequence) or ():
            for group in groups:
                for item in group.value if group.VR == "SQ" else ():
                    for keyword in keywords:
                        if item.get(keyword) not in (None, ""):
                            found = True
                            yield item.get(keyword)
        if found:
            return


def _number(dataset: Any, *keywords: str) -> float | None:
    value = next(_values(dataset, *keywords), None)
    try:
        return None if value is None else float(np.ravel(value)[0])
    except (TypeError, ValueError, IndexError):
        return None


def _series(group: _Group, findings: list[Finding]) -> Series:
    """Make a series of its files, duplicates left out."""
    dataset = group.first
    instances, faults, n_twice = _without_duplicates(group.instances)
    number = dataset.get("SeriesNumber")
    series = Series(
        files=tuple(i.file for i in sorted(instances, key=lambda i: (i.number or 0, i.file.name))),
        patient_id=str(dataset.get("PatientID", "")).strip(),
        study_date=_day(dataset),
        number=int(number) if number not in (None, "") else None,
        description=str(dataset.get("SeriesDescription") or dataset.get("ProtocolName") or ""),
        image_type=tuple(str(word) for word in _list(next(_values(dataset, "ImageType", "FrameType"), ()))),
        scanner=_scanner(dataset),
        is_mr=str(dataset.get("Modality", "")) == "MR" and dataset.get("Rows") is not None,
        acquisition=str(dataset.get("MRAcquisitionType") or ""),
        echo_times_ms=tuple(sorted(group.echo_times)),
        repetition_time_ms=_number(dataset, "RepetitionTime"),
        inversion_time_ms=_inversion(dataset),
        flip_angle_deg=_number(dataset, "FlipAngle"),
        has_contrast_agent=_has_agent(dataset),
        coil=str(next(_values(dataset, "ReceiveCoilName"), "")),
        faults=(*faults, *_faults(dataset, instances)),
        sex=str(dataset.get("PatientSex") or ""),
        age=str(dataset.get("PatientAge") or ""),
        birth_date=str(dataset.get("PatientBirthDate") or ""),
    )
    if n_twice:
        text = f"{series.label}: {n_twice} files are there twice (same SOPInstanceUID); one of each is used"
        findings.append(Finding("warning", "duplicate", text, where=group.instances[0].file.name))
    return series


def _day(dataset: Any) -> Any:
    """Return the day of the scan, or None where it was taken out."""
    found = (parse_day(str(dataset.get(key) or "")[:8]) for key in _DATES)
    return next((day for day in found if day is not None), None)


def _scanner(dataset: Any) -> Scanner:
    software = dataset.get("SoftwareVersions") or ""
    return Scanner(
        manufacturer=maker(str(dataset.get("Manufacturer") or "")),
        model=str(dataset.get("ManufacturerModelName") or "").strip(),
        software=" ".join(str(part) for part in _list(software)),
        field_strength_t=_number(dataset, "MagneticFieldStrength"),
        serial=str(dataset.get("DeviceSerialNumber") or "").strip(),
        station=str(dataset.get("StationName") or "").strip(),
    )


def _inversion(dataset: Any) -> float | None:
    """Return the inversion time; 0 stands for none."""
    value = _number(dataset, "InversionTime", "InversionTimes")
    return value or None


def _has_agent(dataset: Any) -> bool:
    agent = str(dataset.get("ContrastBolusAgent") or "").strip().casefold()
    return agent not in ("", "none", "no", "n", "n/a", "without")


def _list(value: Any) -> list[Any]:
    """Return a value of multiplicity one or more as a list."""
    return [value] if isinstance(value, str) else list(value or ())


def _without_duplicates(instances: list[_Instance]) -> tuple[list[_Instance], tuple[str, ...], int]:
    """Keep one file of each UID; a fault where files of one UID hold different images."""
    by_uid: dict[str, list[_Instance]] = defaultdict(list)
    for instance in instances:
        by_uid[instance.uid].append(instance)
    kept = [same[0] for same in by_uid.values()]
    twice = [same for same in by_uid.values() if len(same) > 1]
    differing = sum(1 for same in twice if len({_voxels(i.file) for i in same}) > 1)
    faults = (f"{differing} images share a SOPInstanceUID with a different one",) if differing else ()
    return kept, faults, len(instances) - len(kept)


def _voxels(file: SourceFile) -> str:
    """Return a digest of a file's voxels; of a file without any, of the whole file."""
    dataset = pydicom.dcmread(file.path, force=True)
    raw = dataset.get("PixelData") or file.path.read_bytes()
    return hashlib.sha256(raw).hexdigest()


def _faults(dataset: Any, instances: list[_Instance]) -> tuple[str, ...]:
    """Say why a series is not whole."""
    faults = [fault for instance in instances for fault in instance.faults]
    found = sorted(set(faults))
    normals = [normal for instance in instances for normal in instance.normals]
    places = [place for instance in instances for place in instance.places]
    volumes = None
    if normals:
        check = check_slices(normals, places)
        volumes = check.n_volumes
        if check.n_gaps:
            found.append(f"{check.n_gaps} slices are missing between the first and the last")
        if check.n_absent:
            found.append(f"{check.n_absent} images are missing for {volumes} whole volumes")
    numbers = {instance.number for instance in instances if instance.number is not None}
    holes = max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0
    # In a single volume the places tell; some scanners number its slices with gaps.
    if holes and len(numbers) == len(instances) and volumes != 1 and not found:
        found.append(f"{holes} image numbers are missing between {min(numbers)} and {max(numbers)}")
    announced = int(dataset.get("ImagesInAcquisition") or 0)
    if len(instances) < announced:
        found.append(f"{len(instances)} of {announced} images are there")
    return tuple(found)


def _secrets(dataset: Any) -> Iterator[tuple[Kind, str]]:
    """Yield every value of a dataset that tells who, where or when."""
    meta = getattr(dataset, "file_meta", None)
    for source in (dataset, meta):
        for element in source.iterall() if source is not None else ():
            kind = _kind(element)
            if kind is not None:
                for value in _list(element.value) if element.VM > 1 else [element.value]:
                    text = _text(value)
                    if text:
                        yield kind, text


def _kind(element: Any) -> Kind | None:
    """Say what a value tells; None where it tells nothing about who, where or when."""
    by_vr: dict[str, Kind] = {"PN": "name", "UI": "uid", "DA": "date", "DT": "date", "TM": "time"}
    if element.VR in by_vr:
        return by_vr[element.VR]
    if element.tag.is_private:
        return "private" if element.VR in _TEXT_VRS and not element.tag.is_private_creator else None
    patterns: tuple[tuple[re.Pattern[str], Kind], ...] = (
        (_ID, "id"), (_SERIAL, "serial"), (_SITE, "site"), (_FREE, "free text"),
    )  # fmt: skip
    for pattern, kind in patterns:
        if pattern.search(element.keyword):
            return kind if element.VR != "SQ" else None
    return "site" if element.VR == "AE" else None


def _text(value: Any) -> str:
    """Return a value as text, or nothing where it is none."""
    if isinstance(value, bytes):
        value = value.rstrip(b"\0 ").decode("ascii", errors="replace")
        if not value.isprintable():
            return ""
    return str(value).strip()


def is_searched(kind: Kind, text: str) -> bool:
    """Say whether a value is one to search for: of private texts those of a middling length with a letter."""
    if kind != "private":
        return True
    return _PRIVATE_SHORTEST <= len(text) <= _PRIVATE_LONGEST and any(c.isalpha() for c in text)
