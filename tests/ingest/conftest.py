"""DICOM series made on the spot: small, with the tags that scanners of different makers write."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

ROOT_UID = "1.3.99999.7.4242"
MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
KINDS = {
    "T1w": {
        "SeriesDescription": "t1_mprage_sag",
        "EchoTime": 2.9,
        "RepetitionTime": 2300,
        "InversionTime": 900,
    },
    "T2w": {"SeriesDescription": "t2_tse_tra", "EchoTime": 95, "RepetitionTime": 5000},
    "FLAIR": {
        "SeriesDescription": "t2_tirm_tra_dark-fluid",
        "EchoTime": 88,
        "RepetitionTime": 9000,
        "InversionTime": 2500,
    },
    "dwi": {"SeriesDescription": "DTI_32_high_iso", "EchoTime": 80, "RepetitionTime": 7000},
}
"""Tags that tell the kinds of series apart."""
COLUMNS = "patient_id study_date participant_id session_id onset_date first_infusion_date"


class Hospital:
    """Writes the studies of patients into a folder."""

    patient: ClassVar = {
        "PatientName": "Quillfeather^Ondine",
        "PatientID": "HOSP-778812",
        "PatientBirthDate": "19520317",
        "PatientSex": "F",
        "PatientAge": "071Y",
        "StudyDate": "20240215",
        "StudyTime": "101533.120000",
        "AccessionNumber": "ACC5512093",
        "ReferringPhysicianName": "Wolkenstein^Ada",
        "InstitutionName": "Saint Pancratius Clinic",
        "InstitutionAddress": "Harbour Lane 17, Oldport",
        "StationName": "AWP4711X",
        "DeviceSerialNumber": "166042",
        "StudyDescription": "Quillfeather follow up",
    }
    machine: ClassVar = {
        "Manufacturer": "SIEMENS",
        "ManufacturerModelName": "Skyra",
        "SoftwareVersions": "syngo MR E11",
        "MagneticFieldStrength": 3,
        "ReceiveCoilName": "Head_32",
        "MRAcquisitionType": "2D",
        "FlipAngle": 90,
    }

    def __init__(self, root: Path):
        self.root = root
        self.n_series = 0

    def series(self, kind, folder="scans", *, n=8, spacing=3.0, skip=(), volumes=None, **tags):
        """Write a series of `n` slices, axial, 2 x 2.5 mm; return its files.

        `skip` leaves out slices; `volumes` are b-values and directions of a diffusion series.
        """
        self.n_series += 1
        out = self.root / folder / f"series{self.n_series}"
        out.mkdir(parents=True)
        files = []
        for v, weighting in enumerate(volumes or [None]):
            for k in (k for k in range(n) if k not in skip):
                dataset = self.dataset(kind, v * n + k + 1, **tags)
                dataset.ImagePositionPatient = [-20.0, -30.0, k * spacing]
                dataset.SliceLocation = k * spacing
                _weigh(dataset, weighting)
                dataset.PixelData = _voxels(1 + v, k).tobytes()
                path = out / f"{v * n + k + 1:04d}.dcm"
                dataset.save_as(path, enforce_file_format=True)
                files.append(path)
        return files

    def dataset(self, kind, number, **tags):
        """Return the header of one slice."""
        dataset = Dataset()
        for name, value in {**self.patient, **self.machine, **KINDS[kind], **tags}.items():
            if value is not None:
                setattr(dataset, name, value)
        series_uid = f"{ROOT_UID}.{dataset.get('StudyDate', '1')}.{self.n_series}"
        dataset.SOPClassUID, dataset.SOPInstanceUID = MR, f"{series_uid}.{number}"
        dataset.SeriesInstanceUID = series_uid
        dataset.StudyInstanceUID = f"{ROOT_UID}.{dataset.get('StudyDate', '1')}"
        dataset.FrameOfReferenceUID = f"{ROOT_UID}.1"
        dataset.SeriesNumber, dataset.InstanceNumber = self.n_series, number
        dataset.AcquisitionNumber = 1
        dataset.ProtocolName = dataset.SeriesDescription
        dataset.Modality = "MR"
        if "ImageType" not in dataset:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.AcquisitionDate = dataset.SeriesDate = dataset.get("StudyDate", "")
        dataset.AcquisitionTime = f"1016{number % 60:02d}.250000"
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness, dataset.SpacingBetweenSlices = [2.5, 2.0], 3, 3
        dataset.ScanningSequence, dataset.SequenceVariant = "SE", "SK"
        dataset.InPlanePhaseEncodingDirection = "COL"
        dataset.PatientPosition = "HFS"
        block = dataset.private_block(0x0029, "SITE PRIVATE", create=True)
        block.add_new(0x01, "LO", "Quillfeather ward-nine")
        block.add_new(0x02, "LO", "secret remark 4711")
        _pixel_format(dataset)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        return dataset

    def enhanced(self, kind, folder="scans", *, n=8, frames_described=None, **tags):
        """Write one enhanced multi-frame file."""
        self.n_series += 1
        out = self.root / folder
        out.mkdir(parents=True, exist_ok=True)
        dataset = self.dataset(kind, 1, **tags)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ENHANCED_MR
        dataset.NumberOfFrames = n
        echo, timing = Dataset(), Dataset()
        echo.EffectiveEchoTime = float(dataset.EchoTime)
        timing.RepetitionTime = float(dataset.RepetitionTime)
        timing.FlipAngle = 90.0
        measures, orientation = Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = dataset.PixelSpacing, dataset.SliceThickness
        measures.SpacingBetweenSlices = dataset.SpacingBetweenSlices
        orientation.ImageOrientationPatient = dataset.ImageOrientationPatient
        for name in (
            "EchoTime",
            "RepetitionTime",
            "FlipAngle",
            "PixelSpacing",
            "SliceThickness",
            "SpacingBetweenSlices",
            "ImageOrientationPatient",
        ):
            delattr(dataset, name)
        shared = Dataset()
        shared.MREchoSequence, shared.MRTimingAndRelatedParametersSequence = (
            Sequence([echo]),
            Sequence([timing]),
        )
        shared.PixelMeasuresSequence = Sequence([measures])
        shared.PlaneOrientationSequence = Sequence([orientation])
        dataset.SharedFunctionalGroupsSequence = Sequence([shared])
        frames = []
        for k in range(frames_described or n):
            place, content, frame = Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient = [-20.0, -30.0, k * 3.0]
            content.InStackPositionNumber, content.StackID = k + 1, "1"
            content.DimensionIndexValues = [1, k + 1]
            frame.PlanePositionSequence, frame.FrameContentSequence = Sequence([place]), Sequence([content])
            frames.append(frame)
        dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
        dataset.PixelData = b"".join(_voxels(1, k).tobytes() for k in range(n))
        path = out / f"enhanced{self.n_series}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path


def _pixel_format(dataset):
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 24, 20, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0


def _voxels(volume, k):
    """Return a slice with a mark that no reflection keeps."""
    plane = np.full((24, 20), 100 * volume, np.uint16)
    plane[3:6, 2:9] += np.uint16(50 + k)
    return plane


def _weigh(dataset, weighting):
    """Write b-value and direction the way Philips does."""
    if weighting is None:
        return
    b_value, direction = weighting
    dataset.DiffusionBValue = float(b_value)
    if b_value and direction is not None:
        dataset.DiffusionGradientOrientation = [float(x) for x in direction]


@pytest.fixture
def hospital(tmp_path):
    """Give a place to write DICOM to."""
    return Hospital(tmp_path / "dicom")


@pytest.fixture
def key(tmp_path):
    """Write a mapping table: rows of cells in the order of the columns; return its path."""

    def write(
        *rows, columns="patient_id study_date participant_id session_id onset_date first_infusion_date"
    ):
        path = tmp_path / "private" / "visits.tsv"
        path.parent.mkdir(exist_ok=True)
        lines = [columns.split(), *rows]
        path.write_text("".join("\t".join(line) + "\n" for line in lines))
        return path

    return write
