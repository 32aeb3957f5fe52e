"""DICOM in, a de-identified BIDS dataset out."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mripipe.bids.reader import read_study
from mripipe.cli import main
from mripipe.errors import InputError, RequestError
from mripipe.model.protocol import default_protocol, protocol_from_tables
from mripipe.steps import ingest as ingest_step
from mripipe.steps import ingest_convert
from mripipe.steps.ingest import ingest

LIMIT = 1 << 30
VISIT = ("HOSP-778812", "2024-02-15", "sub-007", "ses-month1", "2024-01-10", "2024-02-20")
LATER = ("HOSP-778812", "20240810", "sub-007", "ses-month7", "2024-01-10", "2024-02-20")
AXES = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.8, 0), (0.6, 0, 0.8), (0, 0.6, 0.8), (-0.6, 0.8, 0)]
WEIGHTED = [(0, None), *((1000, axis) for axis in AXES)]
SECRETS = (
    "quillfeather", "ondine", "hosp-778812", "778812", "19520317", "1952-03-17", "20240215", "2024-02-15",
    "101533", "acc5512093", "wolkenstein", "pancratius", "harbour lane", "awp4711x", "166042", "99999.7",
    "ward-nine", "secret remark", "2024-01-10", "2024-02-20", "20240810",
)  # fmt: skip
"""What the hospital's headers and the mapping table tell, in lower case."""


def run(hospital, key, tmp_path, *rows, protocol=None, source=None, **options):
    """Take the hospital's files in; return the result and the dataset's folder."""
    mapping = key(*(rows or (VISIT,)))
    rules = protocol_from_tables({"base": "default", **(protocol or {})})
    bids = tmp_path / "bids"
    options = {"limit_bytes": LIMIT, **options}
    return ingest(source or hospital.root, bids, protocol=rules, mapping=mapping, **options), bids


def codes(result, level=None):
    return {finding.code for finding in result.findings if level in (None, finding.level)}


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def whole_visit(hospital, **tags):
    hospital.series("T1w", **tags)
    hospital.series("FLAIR", **tags)
    hospital.series("dwi", volumes=WEIGHTED, **tags)


def test_a_visit_is_taken_in(hospital, key, tmp_path):
    whole_visit(hospital)
    result, bids = run(hospital, key, tmp_path)
    assert result.is_done
    assert result.visits == {("sub-007", "ses-month1"): "added"}
    visit = read_study(bids).subject("007").sessions[0]
    assert {scan.suffix for scan in visit.scans} == {"T1w", "FLAIR", "dwi"}
    assert (visit.days_from_onset, visit.days_from_infusion) == (36.0, -5.0)
    assert visit.can_run
    assert (bids / "participants.tsv").read_text().splitlines()[1] == "sub-007\t71\tF"
    assert main(["check", str(bids)]) == 0


def test_left_and_right_are_where_the_scanner_says(hospital, key, tmp_path):
    # Rows run to the left (DICOM +x), columns to the back: a mark at a small column and row is right, front.
    hospital.series("T1w")
    _, bids = run(hospital, key, tmp_path)
    image = nib.load(bids / "sub-007/ses-month1/anat/sub-007_ses-month1_T1w.nii.gz")
    data = np.asarray(image.dataobj)
    assert np.allclose(np.linalg.norm(image.affine[:3, :3], axis=0), [2.0, 2.5, 3.0])
    mark = np.array([np.argwhere(data == 150 + k).mean(axis=0) for k in (0, 7)])
    # Columns 2 to 8 and rows 3 to 5 of 2 and 2.5 mm from (-20, -30) in DICOM's LPS.
    expected = [[20 - 2.0 * 5, 30 - 2.5 * 4, z] for z in (0, 21)]
    assert np.allclose(nib.affines.apply_affine(image.affine, mark), expected)


def test_nothing_of_the_patient_is_in_any_output_file(hospital, key, tmp_path):
    whole_visit(hospital)
    whole_visit(hospital, StudyDate="20240810")
    result, bids = run(hospital, key, tmp_path, VISIT, LATER)
    assert result.search.n_values > 40
    assert not result.search.hits
    files = content(bids)
    assert len(files) > 20
    for name, raw in files.items():
        plain = gzip.decompress(raw) if name.endswith(".gz") else raw
        for text in SECRETS:
            assert text not in name.lower(), name
            assert text.encode() not in plain.lower() + raw.lower(), (name, text)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("ManufacturerModelName", "Skyra Pancratius Saint Pancratius Clinic"),
        ("SoftwareVersions", "E11 166042"),
        ("ReceiveCoilName", "of Quillfeather"),
        ("SoftwareVersions", "built 2024-02-15"),
        ("ManufacturerModelName", "1.3.99999.7.4242.20240215"),
    ],
)
def test_a_visit_that_would_tell_an_identity_is_not_published(hospital, key, tmp_path, tag, value):
    hospital.series("T1w", **{tag: value})
    result, bids = run(hospital, key, tmp_path)
    assert result.visits == {("sub-007", "ses-month1"): "refused"}
    assert "identity" in codes(result, "error")
    assert not bids.exists()
    assert not any(value in finding.message for finding in result.findings)


def test_an_identity_in_voxels_or_header_is_seen(hospital, key, tmp_path, monkeypatch):
    # As if the conversion had left the patient's ID in the file's description, or painted it into the image.
    hospital.series("T1w")
    whole = ingest_convert._clean
    for at in (148, 352 + 777):

        def leaky(raw, series, at=at):
            clean = bytearray(whole(raw, series))
            clean[at : at + 11] = b"HOSP-778812"
            return bytes(clean)

        monkeypatch.setattr(ingest_convert, "_clean", leaky)
        result, bids = run(hospital, key, tmp_path)
        assert "identity" in codes(result, "error")
        assert not bids.exists()


def test_a_patient_id_as_participant_label_is_refused_unless_it_is_a_code(hospital, key, tmp_path):
    hospital.series("T1w", PatientID="STR0042", PatientName="STR0042")
    row = ("STR0042", "2024-02-15", "sub-STR0042", "ses-1", "2024-01-10", "")
    result, bids = run(hospital, key, tmp_path, row)
    assert "identity" in codes(result, "error")
    assert not bids.exists()
    result, bids = run(hospital, key, tmp_path, row, protocol={"coded_ids": True})
    assert result.is_done
    assert (bids / "sub-STR0042").is_dir()


def test_words_that_happen_to_be_names(hospital, key, tmp_path):
    # The visit's label is also the study's description, dcm2niix was made on the day of the scan, and the
    # patient is called like the coil: only the last may be told by the user's leave alone.
    day = ingest_convert.converter_version()[-8:]
    hospital.series(
        "T1w", StudyDescription="Month1", PatientName="Head^Ann", StudyDate=day, StationName="SKYRA"
    )
    row = ("HOSP-778812", day, "sub-007", "ses-month1", "2020-01-10", "")
    result, bids = run(hospital, key, tmp_path, row)
    assert [f.message for f in result.findings if f.code == "identity"] != []
    result, bids = run(hospital, key, tmp_path, row, protocol={"public": ["Head"]})
    assert result.is_done
    assert "dcm2niix" in (bids / "code/ingest/ingest.jsonl").read_text().splitlines()[0]


def test_age_without_an_age(hospital, key, tmp_path):
    hospital.series("T1w", PatientAge=None)
    _, bids = run(hospital, key, tmp_path)
    assert (bids / "participants.tsv").read_text().splitlines()[1] == "sub-007\t71\tF"


def test_series_that_may_each_be_it_are_listed_and_chosen_by_the_user(hospital, key, tmp_path):
    hospital.series("T1w")
    hospital.series("T1w")
    hospital.series("FLAIR")
    result, bids = run(hospital, key, tmp_path)
    assert "ambiguous" in codes(result, "error")
    scans = read_study(bids).subject("007").sessions[0].scans
    assert [scan.suffix for scan in scans] == ["FLAIR"]
    choice = {"participant_id": "sub-007", "session_id": "ses-month1", "suffix": "T1w", "series_number": 2}
    result, bids = run(hospital, key, tmp_path, protocol={"choice": [choice]})
    assert result.is_done
    assert result.visits == {("sub-007", "ses-month1"): "completed"}
    table = (bids / "code/ingest/series.tsv").read_text().splitlines()
    assert table[1:3] == [
        "sub-007\tses-month1\t1\tT1w\tleft_out\tnot_chosen",
        "sub-007\tses-month1\t2\tT1w\tused\tn/a",
    ]


def test_of_a_2d_and_a_3d_series_the_3d_one_is_taken(hospital, key, tmp_path):
    hospital.series("T1w", SeriesDescription="t1_se_tra", EchoTime=10, RepetitionTime=500, InversionTime=None)
    hospital.series("T1w", MRAcquisitionType="3D")
    result, bids = run(hospital, key, tmp_path)
    assert result.is_done
    sidecar = json.loads((bids / "sub-007/ses-month1/anat/sub-007_ses-month1_T1w.json").read_text())
    assert sidecar["EchoTime"] == 0.0029


@pytest.mark.parametrize(
    "tags",
    [
        {"SeriesDescription": "ep2d_diff_ADC", "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]},
        {"SeriesDescription": "dwi_iso", "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "TRACEW"]},
        {"SeriesDescription": "DWI TRACE"},
    ],
)
def test_a_trace_or_adc_map_is_no_diffusion_series(hospital, key, tmp_path, tags):
    hospital.series("T1w")
    hospital.series("dwi", **tags)
    result, bids = run(hospital, key, tmp_path)
    assert result.is_done
    assert not (bids / "sub-007/ses-month1/dwi").exists()


def test_a_diffusion_series_without_directions_is_told_by_its_content(hospital, key, tmp_path):
    # Nothing in the headers says so: GE and Philips send the trace-weighted image as an original.
    hospital.series("T1w")
    hospital.series("dwi", volumes=WEIGHTED[:3])
    result, bids = run(hospital, key, tmp_path)
    assert result.is_done
    assert "unfit" in codes(result, "warning")
    assert not (bids / "sub-007/ses-month1/dwi").exists()
    hospital.series("dwi", volumes=WEIGHTED)
    result, bids = run(hospital, key, tmp_path)
    assert result.is_done
    assert (bids / "sub-007/ses-month1/dwi").is_dir()


def test_interrupted_series_are_named_and_not_used(hospital, key, tmp_path):
    hospital.series("T1w")
    hospital.series("FLAIR", n=8, skip=(3, 4))
    dropped = hospital.series("dwi", volumes=WEIGHTED)
    dropped[-1].unlink()
    result, bids = run(hospital, key, tmp_path)
    messages = [f.message for f in result.findings if f.code == "interrupted"]
    assert any("2 slices are missing" in text for text in messages)
    assert any("1 images are missing for 8 whole volumes" in text for text in messages)
    assert [p.name for p in (bids / "sub-007/ses-month1").iterdir()] == ["anat"]


def test_an_interrupted_series_gives_way_to_its_repetition(hospital, key, tmp_path):
    hospital.series("T1w", n=8, skip=(2,))
    hospital.series("T1w", n=8)
    result, bids = run(hospital, key, tmp_path)
    assert result.is_done
    assert "interrupted" in codes(result, "warning")
    assert (bids / "sub-007/ses-month1/anat/sub-007_ses-month1_T1w.nii.gz").is_file()


def test_duplicates_are_reported_and_used_once(hospital, key, tmp_path):
    files = hospital.series("T1w")
    for number, path in enumerate(files):
        shutil.copy(path, path.with_name(f"copy{number}.dcm"))
    result, bids = run(hospital, key, tmp_path)
    assert result.is_done
    assert "duplicate" in codes(result, "warning")
    image = nib.load(bids / "sub-007/ses-month1/anat/sub-007_ses-month1_T1w.nii.gz")
    assert image.shape == (20, 24, 8)


def test_two_images_under_one_uid_are_no_duplicates(hospital, key, tmp_path):
    files = hospital.series("T1w")
    raw = bytearray(files[2].read_bytes())
    raw[-500:] = bytes(500)
    files[2].with_name("other.dcm").write_bytes(raw)
    result, _ = run(hospital, key, tmp_path)
    assert any("share a SOPInstanceUID" in finding.message for finding in result.findings)


def test_bad_files_get_a_line_and_the_others_finish(hospital, key, tmp_path):
    hospital.series("FLAIR")
    cut = hospital.series("T1w")
    cut[0].write_bytes(cut[0].read_bytes()[:-300])
    (hospital.root / "empty.dcm").write_bytes(b"")
    (hospital.root / "noise.dcm").write_bytes(bytes(range(256)) * 4)
    (hospital.root / "notes.txt").write_text("scanned on Monday")
    (hospital.root / "damaged.dcm.gz").write_bytes(gzip.compress(b"x" * 5000)[:-20])
    result, bids = run(hospital, key, tmp_path)
    bad = {finding.where for finding in result.findings if finding.code == "bad_file"}
    assert bad == {"empty.dcm", "noise.dcm", "damaged.dcm.gz"}
    assert any("a file is truncated" in finding.message for finding in result.findings)
    assert "not_dicom" in codes(result, "note")
    assert (bids / "sub-007/ses-month1/anat/sub-007_ses-month1_FLAIR.nii.gz").is_file()
    log = (bids / "code/ingest/ingest.jsonl").read_text()
    assert "noise.dcm" not in log
    assert "bad_file" in log


@pytest.mark.parametrize(
    ("maker", "name"), [("GE MEDICAL SYSTEMS", "GE"), ("Philips Medical Systems", "Philips")]
)
def test_enhanced_multi_frame_and_gzip(hospital, key, tmp_path, maker, name):
    path = hospital.enhanced("T2w", Manufacturer=maker, ManufacturerModelName="Model 1")
    path.with_suffix(".dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    result, bids = run(hospital, key, tmp_path)
    assert result.is_done
    stem = bids / "sub-007/ses-month1/anat/sub-007_ses-month1_T2w"
    sidecar = json.loads(stem.with_suffix(".json").read_text())
    assert (sidecar["EchoTime"], sidecar["RepetitionTime"], sidecar["Manufacturer"]) == (0.095, 5, name)
    assert nib.load(stem.with_suffix(".nii.gz")).shape == (20, 24, 8)


def test_an_enhanced_file_with_frames_missing_is_refused(hospital, key, tmp_path):
    hospital.enhanced("T2w", frames_described=4)
    result, _ = run(hospital, key, tmp_path)
    assert any("4 of 8 frames" in finding.message for finding in result.findings)


def test_a_patient_that_the_mapping_table_does_not_name_is_left_out(hospital, key, tmp_path):
    hospital.series("T1w")
    hospital.series("T1w", PatientID="OTHER-1", StudyDate="20240301")
    result, bids = run(hospital, key, tmp_path)
    assert "unmapped" in codes(result, "error")
    assert len(list(bids.glob("sub-*"))) == 1


def test_a_row_that_fits_two_days_is_refused(hospital, key, tmp_path):
    hospital.series("T1w")
    hospital.series("FLAIR", StudyDate="20240810")
    row = ("HOSP-778812", "", "sub-007", "ses-month1", "2024-01-10", "")
    result, bids = run(hospital, key, tmp_path, row)
    assert "two_days" in codes(result, "error")
    assert not bids.exists()


def test_folders_can_stand_for_headers_that_were_emptied(hospital, key, tmp_path):
    hospital.series("T1w", folder="Visit A", PatientID="***", StudyDate=None)
    columns = "folder study_date participant_id session_id onset_date"
    mapping = key(("Visit A", "2024-02-15", "sub-1", "ses-1", "2024-01-10"), columns=columns)
    bids = tmp_path / "bids"
    result = ingest(hospital.root, bids, protocol=default_protocol(), mapping=mapping, limit_bytes=LIMIT)
    assert result.is_done
    assert read_study(bids).subject("1").sessions[0].days_from_onset == 36.0


def test_visits_that_differ_in_birth_date_are_named(hospital, key, tmp_path):
    hospital.series("T1w")
    hospital.series("T1w", StudyDate="20240810", PatientBirthDate="19801231")
    result, _ = run(hospital, key, tmp_path, VISIT, LATER)
    assert "mixed_up" in codes(result, "warning")


def test_a_second_run_adds_the_new_visit_and_leaves_the_rest(hospital, key, tmp_path):
    whole_visit(hospital)
    _, bids = run(hospital, key, tmp_path, VISIT, LATER)
    with (bids / "participants.tsv").open("a") as stream:
        stream.write("sub-900\t50\tM\n")
    before = content(bids)
    whole_visit(hospital, StudyDate="20240810")
    result, bids = run(hospital, key, tmp_path, VISIT, LATER)
    assert result.visits == {("sub-007", "ses-month1"): "unchanged", ("sub-007", "ses-month7"): "added"}
    after = content(bids)
    tables = {"sub-007/sub-007_sessions.tsv"} | {name for name in before if name.startswith("code/")}
    assert all(after[name] == raw for name, raw in before.items() if name not in tables)
    rows = after["sub-007/sub-007_sessions.tsv"].decode().splitlines()
    assert rows[1:] == ["ses-month1\t36\t-5", "ses-month7\t213\t172"]


def test_a_visit_that_is_there_with_other_bytes_is_refused_by_name(hospital, key, tmp_path):
    whole_visit(hospital)
    _, bids = run(hospital, key, tmp_path)
    before = content(bids / "sub-007")
    shutil.rmtree(hospital.root)
    hospital.n_series = 0
    whole_visit(hospital, FlipAngle=70)
    result, bids = run(hospital, key, tmp_path)
    assert result.visits == {("sub-007", "ses-month1"): "refused"}
    assert any("sub-007 ses-month1 is there already" in finding.message for finding in result.findings)
    assert content(bids / "sub-007") == before


def test_the_same_input_gives_the_same_bytes_from_folder_zip_and_tar(hospital, key, tmp_path):
    whole_visit(hospital)
    _, bids = run(hospital, key, tmp_path)
    reference = content(bids)
    for name in ("all.zip", "all.tar.gz"):
        archive = tmp_path / name
        base = str(archive).removesuffix(".zip").removesuffix(".tar.gz")
        shutil.make_archive(base, "zip" if name.endswith("zip") else "gztar", hospital.root)
        shutil.rmtree(bids)
        result, bids = run(hospital, key, tmp_path, source=archive)
        assert result.is_done
        assert content(bids) == reference


def test_archives_cannot_write_outside_or_without_end(hospital, key, tmp_path):
    files = hospital.series("T1w")
    shutil.rmtree(hospital.root / "elsewhere", ignore_errors=True)
    with zipfile.ZipFile(hospital.root / "evil.zip", "w") as archive:
        archive.writestr("../../escaped.dcm", files[0].read_bytes())
        archive.writestr("/absolute.dcm", files[0].read_bytes())
        archive.writestr("inner.zip", b"PK")
    with tarfile.open(hospital.root / "evil.tar", "w") as archive:
        link = tarfile.TarInfo("link.dcm")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.add(files[0], arcname="../escaped2.dcm")
    with zipfile.ZipFile(hospital.root / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.dcm", bytes(50_000_000))
    before = set(tmp_path.parent.rglob("*escaped*"))
    result, bids = run(hospital, key, tmp_path, limit_bytes=10_000_000)
    assert set(tmp_path.parent.rglob("*escaped*")) == before
    assert not Path("/absolute.dcm").exists()
    unsafe = {f.where for f in result.findings if f.code == "unsafe_member"}
    assert unsafe == {
        "evil.zip/../../escaped.dcm",
        "evil.zip//absolute.dcm",
        "evil.tar/link.dcm",
        "evil.tar/../escaped2.dcm",
    }
    assert {"nested_archive", "too_large"} <= codes(result, "error")
    assert (bids / "sub-007/ses-month1/anat").is_dir()


def test_deviations_and_a_change_of_scanner_are_flagged(hospital, key, tmp_path):
    hospital.series("T1w")
    hospital.series(
        "T1w", StudyDate="20240810", EchoTime=3.9, DeviceSerialNumber="900017", SoftwareVersions="XA30"
    )
    rule = {"suffix": "T1w", "expect": {"echo_time_ms": 2.9, "coil": "Head_32", "voxel_mm": [2, 2.5, 3]}}
    result, bids = run(hospital, key, tmp_path, VISIT, LATER, protocol={"rule": [rule]})
    assert result.is_done
    found = {(r.session_id, r.parameter): (r.protocol, r.within_patient) for r in result.comparisons}
    assert found["ses-month1", "echo_time_ms"] == ("ok", "first")
    assert found["ses-month1", "voxel_mm"] == ("ok", "first")
    assert found["ses-month7", "echo_time_ms"] == ("deviates", "changed")
    assert found["ses-month7", "coil"] == ("ok", "same")
    assert found["ses-month7", "scanner"] == ("not_laid_down", "changed")
    assert found["ses-month7", "inversion_time_ms"] == ("not_laid_down", "same")
    assert {"deviates", "scanner_change"} <= codes(result, "warning")
    table = (bids / "code/ingest/compliance.tsv").read_text()
    assert "\tscanner2\t" in table
    assert "900017" not in table
    keyed = (tmp_path / "private" / "visits_scanners.tsv").read_text()
    assert "166042" in keyed
    assert "900017" in keyed


def test_scanner_codes_stay_the_same_over_runs(hospital, key, tmp_path):
    hospital.series("T1w", StudyDate="20240810", DeviceSerialNumber="900017")
    run(hospital, key, tmp_path, LATER)
    hospital.series("T1w")
    result, _ = run(hospital, key, tmp_path, VISIT, LATER)
    scanners = {row.session_id: row.scanner for row in result.comparisons}
    assert scanners == {"ses-month7": "scanner1", "ses-month1": "scanner2"}


def test_a_dataset_on_another_file_system(hospital, key, tmp_path, monkeypatch):
    # A container's mount: renaming out of the folder beside it fails, renaming inside it does not.
    real = os.rename

    def rename(source, target):
        if ".bids.ingest" in str(source):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    hospital.series("T1w")
    result, bids = run(hospital, key, tmp_path)
    hospital.series("FLAIR")
    result, bids = run(hospital, key, tmp_path)
    assert result.visits == {("sub-007", "ses-month1"): "completed"}
    assert len(list(bids.glob("sub-007/ses-month1/anat/*"))) == 4
    assert not list(bids.rglob("*.part"))


def test_days_of_a_visit_that_is_there_stay(hospital, key, tmp_path):
    hospital.series("T1w")
    run(hospital, key, tmp_path, ("HOSP-778812", "2024-02-15", "sub-007", "ses-month1", "", ""))
    result, bids = run(hospital, key, tmp_path)
    assert "days_differ" in codes(result, "warning")
    assert read_study(bids).subject("007").sessions[0].days_from_onset is None


def test_a_dry_run_writes_nothing(hospital, key, tmp_path):
    whole_visit(hospital)
    result, bids = run(hospital, key, tmp_path, dry_run=True)
    assert result.visits == {("sub-007", "ses-month1"): "planned"}
    assert not bids.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dicom", "private"]


def test_requests_that_cannot_be_done(hospital, key, tmp_path):
    hospital.series("T1w")
    mapping = key(VISIT)
    options = {"protocol": default_protocol(), "limit_bytes": LIMIT}
    for source, bids, table in (
        (tmp_path / "nowhere", tmp_path / "bids", mapping),
        (hospital.root, tmp_path / "bids", tmp_path / "none.tsv"),
        (hospital.root, hospital.root / "bids", mapping),
        (hospital.root, mapping.parent, mapping),
        (hospital.root, hospital.root.parent / "private", hospital.root),
    ):
        with pytest.raises(RequestError):
            ingest(source, bids, mapping=table, **options)
    other = tmp_path / "work"
    other.mkdir()
    (other / "thesis.txt").write_text("keep")
    with pytest.raises(RequestError, match="neither empty nor a BIDS dataset"):
        ingest(hospital.root, other, mapping=mapping, **options)


def test_two_runs_at_once_do_not_meet(hospital, key, tmp_path):
    hospital.series("T1w")
    with (
        ingest_step._staging(tmp_path / "bids"),
        pytest.raises(RequestError, match="another ingest is at work"),
    ):
        run(hospital, key, tmp_path)
    result, _ = run(hospital, key, tmp_path)
    assert result.is_done


def test_what_a_killed_run_leaves_is_removed_by_the_next(hospital, key, tmp_path):
    hospital.series("T1w")
    left = tmp_path / ".bids.ingest" / "unpacked" / "0000001"
    left.parent.mkdir(parents=True)
    left.write_text("Quillfeather")
    result, _ = run(hospital, key, tmp_path)
    assert result.is_done
    assert not (tmp_path / ".bids.ingest").exists()


def test_the_command_line(hospital, key, tmp_path, capsys):
    hospital.series("T1w", folder="Quillfeather Ondine")
    table = tmp_path / "private" / "new.tsv"
    assert main(["ingest", str(hospital.root), str(tmp_path / "bids"), "--write-mapping", str(table)]) == 0
    assert table.read_text().splitlines()[1] == "HOSP-778812\t2024-02-15" + "\t" * 5
    protocol = tmp_path / "protocol.toml"
    protocol.write_text('base = "default"\nmapping = "private/visits.tsv"\n')
    key(VISIT)
    arguments = ["ingest", str(hospital.root), str(tmp_path / "bids"), "--protocol", str(protocol)]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "sub-007 ses-month1: added" in out
    assert "0 found" in err
    assert "HOSP-778812" not in out + err
    assert main([*arguments[:3]]) == 2
    assert main([*arguments[:3], "--mapping", str(table)]) == 2
    assert main(["ingest", str(tmp_path / "none"), str(tmp_path / "b"), "--write-mapping", str(table)]) == 2
    inside = tmp_path / "bids" / "visits.tsv"
    assert main([*arguments[:3], "--write-mapping", str(inside)]) == 2
    assert main([*arguments[:3], "--write-mapping", str(table)]) == 2


@pytest.mark.skipif(
    shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) is None,
    reason="bids-validator-deno is not installed",
)
def test_the_dataset_passes_the_bids_validator(hospital, key, tmp_path):
    whole_visit(hospital, PatientAge="093Y")
    whole_visit(hospital, StudyDate="20240810")
    _, bids = run(hospital, key, tmp_path, VISIT, LATER)
    assert "sub-007\t89+\tF" in (bids / "participants.tsv").read_text()
    program = Path(sys.executable).parent / "bids-validator-deno"
    done = subprocess.run([program, "--format", "json", bids], capture_output=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert done.returncode == 0


def test_real_series_of_three_makers(shared_data, key, tmp_path):
    columns = "patient_id folder participant_id session_id"
    mapping = key(
        ("crlab", "", "sub-1", "ses-1"), ("", "uih", "sub-2", "ses-1"), ("", "canon", "sub-3", "ses-1"),
        columns=columns,
    )  # fmt: skip
    bids = tmp_path / "bids"
    chosen = {"participant_id": "sub-3", "session_id": "ses-1", "suffix": "dwi", "series_number": 6000}
    protocol = protocol_from_tables({"base": "default", "choice": [chosen]})
    result = ingest(shared_data / "dicom", bids, protocol=protocol, mapping=mapping, limit_bytes=LIMIT)
    assert result.is_done
    assert not result.search.hits
    assert result.search.n_values > 500
    volumes = {r.participant_id: r.value for r in result.comparisons if r.parameter == "volumes"}
    assert volumes == {"sub-1": "13", "sub-2": "17", "sub-3": "13"}
    assert (bids / "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz").is_file()


def test_what_cannot_be_defaced_is_not_published(hospital, key, tmp_path, monkeypatch):
    def refuse(one, folder):
        if one.suffix == "T1w":
            raise InputError("no brain found, so it cannot be defaced")
        return one

    monkeypatch.setattr(ingest_step, "blank_face", refuse)
    hospital.series("T1w")
    hospital.series("dwi", volumes=WEIGHTED)
    result, bids = run(hospital, key, tmp_path, deface=True)
    assert any("cannot be defaced" in f.message for f in result.findings if f.level == "error")
    assert [path.name for path in (bids / "sub-007/ses-month1").iterdir()] == ["dwi"]
