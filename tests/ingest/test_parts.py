"""The parts of taking DICOM in, each alone."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest

from mripipe.bids.ingested import grown_table
from mripipe.bids.scanner_key import ScannerKey
from mripipe.bids.visit_key import read_visit_key
from mripipe.core.identity import find_in_bytes, find_in_texts, hide, make_secrets, texts_in_json
from mripipe.core.slices import check_slices
from mripipe.errors import InputError, ProcessingError, RequestError
from mripipe.model.compliance import Measured, agrees, compare
from mripipe.model.dicom import Scanner, Series, SourceFile
from mripipe.model.protocol import (
    default_protocol,
    is_derived,
    plain_name,
    protocol_from_tables,
    read_protocol,
    reason_left_out,
    why_not,
)
from mripipe.steps import ingest_convert


def a_series(name="t1_mprage", **values):
    values = {"image_type": ("ORIGINAL", "PRIMARY", "M"), **values}
    return Series((), "p", None, 1, name, **values)


def kinds_of(name, **values):
    series, protocol = a_series(name, **values), default_protocol()
    if reason_left_out(series, protocol) is not None:
        return None
    return [rule.suffix for rule in protocol.rules if why_not(rule, series) is None]


@pytest.mark.parametrize(
    ("name", "te", "ti", "expected"),
    [
        # Siemens
        ("t1_mprage_sag_p2_iso", 2.9, 900, "T1w"),
        ("t1_mpr_ns_sag_p2_iso", 3, 1100, "T1w"),
        ("t1_fl2d_sag", 2.46, None, "T1w"),
        ("t2_tse_tra_448", 96, None, "T2w"),
        ("t2_spc_sag_p2_iso", 408, None, "T2w"),
        ("t2_tirm_tra_dark-fluid", 88, 2500, "FLAIR"),
        ("t2_space_dark-fluid_sag_p2", 388, 1800, "FLAIR"),
        ("ep2d_diff_mddw_20_p2", 69, None, "dwi"),
        ("resolve_4scan_trace_tra", 60, None, ""),
        # GE
        ("Sag 3D T1 BRAVO", 3, 450, "T1w"),
        ("Ax FSPGR 3D", 3, 400, "T1w"),
        ("Ax T1 FLAIR", 24, 860, "T1w"),
        ("Ax T2 FLAIR", 120, 2250, "FLAIR"),
        ("Sag CUBE T2 FLAIR", 115, 1700, "FLAIR"),
        ("Ax T2 PROPELLER", 100, None, "T2w"),
        ("Ax DTI 30 dir", 85, None, "dwi"),
        # Philips
        ("sT1W_3D_TFE", 3.8, None, "T1w"),
        ("T2W_TSE", 80, None, "T2w"),
        ("3D_Brain_VIEW_FLAIR", 300, 1650, "FLAIR"),
        ("FLAIR_longTR", 125, 2800, "FLAIR"),
        ("DTI_high_iso", 70, None, "dwi"),
        ("DwiSE", 60, None, "dwi"),
        ("dDTI_high_iso_ADC", 70, None, ""),
        # Canon
        ("FSE T2W AX", 105, None, "T2w"),
        ("T1W FFE3D", 4, None, "T1w"),
        ("DTI_PA-ortho", 79, None, "dwi"),
        # UIH
        ("t1_gre_fsp_3d_sag", 3.2, 1000, "T1w"),
        ("t2_fse_tra_flair", 110, 2400, "FLAIR"),
        ("dti_tra_dir16_PA_SaveBySlc", 70, None, "dwi"),
        # a TIRM with a short inversion time suppresses fat
        ("t2_tirm_cor", 60, 220, ""),
        ("t1_mprage_sag_post_Gd", 2.9, 900, ""),
        ("T1 3D +C", 2.9, 900, ""),
        ("Ax brain", 90, None, ""),
    ],
)
def test_usual_names_of_five_makers(name, te, ti, expected):
    found = kinds_of(name, echo_times_ms=(float(te),), inversion_time_ms=ti)
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize(
    "name",
    [
        "localizer",
        "AAHead_Scout",
        "3-Pl Loc",
        "t2_fl2d_tra_hemo",
        "Ax T2* GRE",
        "SWAN",
        "tof_fl3d_tra",
        "gre_field_mapping",
        "Survey_SHC",
        "ep2d_bold_rest",
        "pcasl_3d",
        "DTI_SBRef",
        "t1_mp2rage_sag",
        "T1 map MOLLI",
        "Calibration Scan",
    ],
)
def test_other_series_are_left_out(name):
    assert kinds_of(name, echo_times_ms=(20.0,)) is None


def test_phase_images_derived_images_and_contrast():
    assert kinds_of("t1_mprage", image_type=("ORIGINAL", "PRIMARY", "P")) is None
    assert kinds_of("t1_mprage", is_mr=False) is None
    assert kinds_of("t1_mprage", has_contrast_agent=True) == []
    assert kinds_of("t1_mprage", image_type=("DERIVED", "SECONDARY", "MPR")) == []
    assert is_derived(a_series(image_type=("ORIGINAL", "PRIMARY", "DIFFUSION", "TRACEW")))
    assert plain_name("T2-TIRM_tra.dark--fluid") == "t2 tirm tra dark fluid"


def test_a_protocol_says_only_what_differs(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(
        'base = "default"\n[[rule]]\nsuffix = "T1w"\nrequired = true\nmatch = ["brain volume"]\n'
        "[rule.expect]\necho_time_ms = 3\n"
    )
    rules = {rule.suffix: rule for rule in read_protocol(path).rules}
    built_in = {rule.suffix: rule for rule in default_protocol().rules}
    assert rules["T1w"].match == ("brain volume",)
    assert rules["T1w"].required
    assert rules["T1w"].limits == built_in["T1w"].limits
    assert rules["dwi"] == built_in["dwi"]


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        ({}, "no \\[\\[rule\\]\\]"),
        ({"base": "mine"}, "base must be"),
        ({"rules": []}, "unknown key"),
        ({"rule": {"suffix": "T1w"}}, "must be written"),
        ({"rule": [{"suffix": "PET"}]}, "suffix must be one of"),
        ({"rule": [{"suffix": "T1w"}]}, "has no match"),
        ({"rule": [{"suffix": "T1w", "match": ["("]}]}, "no regular expression"),
        ({"rule": [{"suffix": "T1w", "match": "t1"}]}, "must be of type list"),
        ({"rule": [{"suffix": "T1w", "match": ["a"]}] * 2}, "two \\[\\[rule\\]\\]"),
        ({"rule": [{"suffix": "T1w", "match": ["a"], "colour": 1}]}, "unknown key in the rule"),
        ({"rule": [{"suffix": "T1w", "match": ["a"], "limits": {"echo_time_ms": 3}}]}, "two numbers"),
        ({"rule": [{"suffix": "T1w", "match": ["a"], "limits": {"echo_time_ms": [9, 3]}}]}, "is more than"),
        ({"rule": [{"suffix": "T1w", "match": ["a"], "expect": {"tr": 3}}]}, "unknown key in expect"),
        ({"rule": [{"suffix": "T1w", "match": ["a"], "expect": {"coil": 3}}]}, "must be text"),
        ({"rule": [{"suffix": "T1w", "match": ["a"], "expect": {"voxel_mm": 1}}]}, "a list of numbers"),
        ({"rule": [{"suffix": "T1w", "match": ["a"], "expect": {"slices": "x"}}]}, "must be a number"),
        ({"rule": [{"suffix": "T1w", "match": ["a"], "tolerance": {"slices": -1}}]}, "at least 0"),
        ({"rule": [{"suffix": "T1w", "match": ["a"], "directions_min": True}]}, "must be of type int"),
        ({"base": "default", "mapping": 3}, "mapping must be"),
        ({"base": "default", "choice": [{"suffix": "T1w"}]}, "has no participant_id"),
    ],
)
def test_an_unfit_protocol_is_refused_by_name(tables, text):
    with pytest.raises(RequestError, match=text):
        protocol_from_tables(tables)


def test_a_protocol_file_that_cannot_be_read(tmp_path):
    (tmp_path / "p.toml").write_text("rule = [")
    for path in (tmp_path / "p.toml", tmp_path / "none.toml"):
        with pytest.raises(RequestError, match="not a readable TOML file"):
            read_protocol(path)


def test_dates_are_found_however_they_are_written():
    secrets = make_secrets([("date", "19520317")])
    for text in ("born 1952-03-17", "17.03.1952", "03/17/1952", "x19520317y", "MR19520317101010"):
        assert find_in_texts([text], secrets) == {"date": 1}, text
    assert find_in_texts(["19520318", "0.19520317", "119520317"], secrets) == {}
    assert find_in_texts(["19520317"], secrets) == {"date": 1}


def test_short_values_must_stand_alone():
    secrets = make_secrets([("id", "123"), ("name", "Li^Ana"), ("serial", "67060")])
    assert find_in_texts(["0.123", "1234", "x123", "analysis", "67060.5"], secrets) == {}
    assert find_in_texts(["sub-123_T1w"], secrets) == {"id": 1}
    assert find_in_texts(["ANA"], secrets) == {"name": 1}
    assert find_in_texts(["serial 67060"], secrets) == {"serial": 1}


def test_values_that_tell_nobody_are_not_searched():
    blank = [
        ("name", "Anonymous"),
        ("id", "***"),
        ("id", "000000"),
        ("site", "-----"),
        ("uid", "1.2.840.10008.1.2"),
    ]
    assert make_secrets(blank).n_values == 0
    public = make_secrets(
        [("site", "UIH"), ("private", "Head_32"), ("name", "UIH")], public=["UIH", "Head_32 coil"]
    )
    assert dict(public.forms) == {"uih": "name"}


def test_binary_data_is_searched_in_any_encoding_and_case():
    secrets = make_secrets([("name", "Müller^Jörg"), ("uid", "1.3.12.2.1107.5.2.43"), ("id", "AB12")])
    noise = np.random.default_rng(0).integers(0, 256, 20_000, np.uint8).tobytes()
    assert find_in_bytes(noise + b"AB12" + noise, secrets) == {}
    for raw in ("MÜLLER".encode("latin-1").lower(), "müller".encode(), b"M\xc3\xbcller"):
        assert find_in_bytes(noise + raw + noise, secrets) == {"name": 1}
    assert find_in_bytes(noise + b"\x001.3.12.2.1107.5.2.43\x00" + noise, secrets) == {"uid": 1}
    assert find_in_bytes(b"x1.3.12.2.1107.5.2.4x", secrets) == {}


def test_numbers_of_a_sidecar_are_no_hits_but_strings_are():
    secrets = make_secrets([("id", "3000"), ("id", "20240215"), ("name", "Philips^Ann")])
    clean = json.dumps({"EchoTime": 3000, "Manufacturer": "Philips", "x": [0.20240215]}).encode()
    assert find_in_texts(texts_in_json(clean, fixed=frozenset({"Philips"})), secrets) == {}
    leaky = json.dumps({"a": "3000", "b": {"c": ["by Philips"]}, "d": 20240215}).encode()
    assert find_in_texts(texts_in_json(leaky, fixed=frozenset({"Philips"})), secrets) == {"name": 1, "id": 1}


def test_messages_are_cleaned():
    secrets = make_secrets([("name", "Doe^Jane"), ("uid", "1.3.12.2.1107.5.2.43")])
    assert hide("Jane_T1 of janet, 1.3.12.2.1107.5.2.43", secrets) == "[hidden]_T1 of janet, [hidden]"


@pytest.mark.parametrize("normal", [(0, 0, 1), (1, 0, 0), (0, 0.6, 0.8)])
def test_missing_slices_in_any_orientation_and_order(normal):
    order = np.random.default_rng(0).permutation(20)
    places = np.array([5.0, -3, 2]) + np.outer(order * 4.8, normal)
    assert check_slices([normal] * 20, places).n_gaps == 0
    short = check_slices([normal] * 17, places[~np.isin(order, (4, 9, 10))])
    assert (short.n_gaps, short.n_absent) == (3, 0)
    twice = check_slices([normal] * 39, np.concatenate((places, places[:-1])))
    assert (twice.n_places, twice.n_volumes, twice.n_gaps, twice.n_absent) == (20, 2, 0, 1)
    with pytest.raises(ValueError, match="no image"):
        check_slices([], [])


def test_the_mapping_table(key):
    columns = "patient_id study_date folder participant_id session_id onset_date days_from_infusion"
    table = key(
        ("P1", "20240215", "n/a", "007", "1", "2024-01-10", "-5"),
        ("", "2024-08-10", "./Disk 2/", "sub-008", "ses-2", "", ""),
        columns=columns,
    )
    first, second = read_visit_key(table)
    assert (first.participant_id, first.session_id) == ("sub-007", "ses-1")
    assert first.days_at(date(2024, 2, 15)) == {"days_from_onset": 36.0, "days_from_infusion": -5.0}
    scan = a_series()
    inside = Series((SourceFile(table, "Disk 2/a.dcm"),), "x", None, 1, "t1")
    beside = Series((SourceFile(table, "Disk 22/a.dcm"),), "x", None, 1, "t1")
    assert not first.fits(scan)
    assert second.fits(inside)
    assert not second.fits(beside)


@pytest.mark.parametrize(
    ("columns", "row", "text"),
    [
        ("patient_id session_id", ("a", "1"), "no column participant_id"),
        ("participant_id session_id", ("a", "1"), "at least one of the columns"),
        ("patient_id participant_id session_id", ("a", "", "1"), "not a BIDS label"),
        ("patient_id participant_id session_id", ("", "1", "1"), "none of patient_id"),
        (
            "patient_id participant_id session_id onset_date",
            ("a", "1", "1", "May"),
            "onset_date is not a date",
        ),
        ("patient_id participant_id session_id days_from_onset", ("a", "1", "1", "x"), "is not a number"),
    ],
)
def test_an_unfit_mapping_table_is_refused(key, columns, row, text):
    with pytest.raises(RequestError, match=text):
        read_visit_key(key(row, columns=columns))


def test_one_patient_cannot_be_two_participants(key, tmp_path):
    columns = "patient_id participant_id session_id"
    with pytest.raises(RequestError, match="this patient is sub-1 above"):
        read_visit_key(key(("Smith", "1", "a"), ("Smith", "2", "b"), columns=columns))
    with pytest.raises(RequestError, match="mapping table"):
        read_visit_key(tmp_path / "none.tsv")


def test_tables_grow_and_keep_what_they_hold(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_bytes(b"participant_id\thand\tage\r\nsub-1\tleft\t50\r\n")
    grown = grown_table(path, "participant_id", ("participant_id",), {"participant_id": "sub-2", "age": 61.0})
    assert grown == b"participant_id\thand\tage\r\nsub-1\tleft\t50\r\nsub-2\tn/a\t61\r\n"
    assert grown_table(path, "participant_id", ("participant_id",), {"participant_id": "sub-1"}) is None
    with pytest.raises(InputError, match="no column session_id"):
        grown_table(path, "session_id", ("session_id",), {"session_id": "ses-1"})
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        grown_table(path, "participant_id", (), {"participant_id": "sub-1"})


def test_scanners_are_known_by_their_serial_number(tmp_path):
    path = tmp_path / "key.tsv"
    scanners = ScannerKey(path)
    first = Scanner("Siemens", "Trio", serial="111", station="A")
    assert scanners.code(first) == "scanner1"
    assert scanners.code(Scanner("Siemens", "Trio", serial="222", station="A")) == "scanner2"
    assert scanners.code(Scanner("Siemens", "Prisma_fit", serial="111", station="B")) == "scanner1"
    assert scanners.code(Scanner("Siemens", "Trio")) is None
    scanners.save()
    assert ScannerKey(path).code(first) == "scanner1"
    path.write_text("scanner\tserial\nscanner1\t111\n")
    with pytest.raises(RequestError, match="expected the columns"):
        ScannerKey(path)


def test_what_is_not_recorded_is_no_deviation():
    scans = [
        Measured("sub-1", "ses-1", "T1w", None, {"coil": None, "echo_time_ms": 3.0}),
        Measured("sub-1", "ses-2", "T1w", "scanner1", {"coil": "Head", "echo_time_ms": 3.2}),
    ]
    rows = compare(scans, {"T1w": {"coil": "Head", "echo_time_ms": 3.0}}, {"T1w": {"echo_time_ms": 0.3}})
    found = {(row.session_id, row.parameter): (row.protocol, row.within_patient) for row in rows}
    assert found["ses-1", "coil"] == ("not_recorded", "not_recorded")
    assert found["ses-2", "coil"] == ("ok", "not_recorded")
    assert found["ses-2", "echo_time_ms"] == ("ok", "changed")
    assert not agrees("b_values", (0.0, 1000.0), (0.0, 1000.0, 2000.0))
    assert agrees("b_values", (0.0, 980.0), (0.0, 1000.0))


def test_dcm2niix_that_is_missing_fails_or_hangs_is_named(tmp_path, monkeypatch):
    rule = default_protocol().rules[0]
    monkeypatch.setattr(ingest_convert, "find_dcm2niix", lambda: "false")
    with pytest.raises(ProcessingError, match="failed with status 1"):
        ingest_convert.convert_series(a_series(), rule, tmp_path / "a", scanner=None)
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nsleep 5\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(ingest_convert, "find_dcm2niix", lambda: str(sleeper))
    monkeypatch.setattr(ingest_convert, "TIMEOUT_S", 0.2)
    with pytest.raises(ProcessingError, match="did not end"):
        ingest_convert.convert_series(a_series(), rule, tmp_path / "b", scanner=None)
    monkeypatch.setattr(ingest_convert, "find_dcm2niix", lambda: "true")
    with pytest.raises(InputError, match="0 images came of it"):
        ingest_convert.convert_series(a_series(), rule, tmp_path / "c", scanner=None)
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "dcm2niix", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RequestError, match="dcm2niix is not installed"):
        ingest_convert.find_dcm2niix()
