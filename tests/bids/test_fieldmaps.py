"""Field maps and preprocessed series of a visit: found, told, and which image they belong to."""

import json
import os
from pathlib import Path

import pytest

from mripipe.bids.fieldmaps import belongs_to, phase_encoding, read_sidecar, readout_s
from mripipe.bids.reader import read_study
from mripipe.bids.scans import find_preprocessed
from mripipe.model.study import Scan
from mripipe.steps.check import check_study, format_study

VISIT = "sub-001/ses-a"


def visit(study):
    return next(v for v in study.subject("001").sessions if v.session_id == "ses-a")


def test_field_maps_are_found_with_their_sidecars_and_shown(trial):
    for name, shape in (
        ("dir-PA_epi", (10, 11, 12, 2)),
        ("fieldmap", (10, 11, 12)),
        ("magnitude", (9, 9, 9)),
    ):
        trial.image(f"{VISIT}/fmap/sub-001_ses-a_{name}.nii.gz", shape=shape)
    # Without IntendedFor, and inherited from above.
    trial.text("dir-PA_epi.json", '{"PhaseEncodingDirection": "j"}')
    study = check_study(read_study(trial.root))
    found = visit(study)
    assert found.can_run
    assert [s.suffix for s in found.scans] == ["FLAIR", "T1w", "dwi", "epi", "fieldmap"]
    assert found.scan("epi").sidecar.name == "dir-PA_epi.json"
    assert [p.message for p in found.problems] == ["sub-001_ses-a_fieldmap.nii.gz: no JSON sidecar"]
    rows = [line.split() for line in format_study(study).splitlines()]
    shown = {row[1]: row[rows[0].index("fmap")] for row in rows[1:3]}
    assert shown == {"ses-a": "yes", "ses-b": "-"}


def test_a_broken_field_map_stops_nothing(trial):
    trial.text(f"{VISIT}/fmap/sub-001_ses-a_dir-PA_epi.nii.gz", "no image")
    found = visit(check_study(read_study(trial.root)))
    assert found.can_run
    assert any(p.level == "warning" and "dir-PA_epi" in p.message for p in found.problems)


def test_a_volume_at_b_0_needs_no_fourth_axis(trial):
    stem = f"{VISIT}/dwi/sub-001_ses-a_dir-PA_dwi"
    trial.image(f"{stem}.nii.gz")
    for end, text in (("json", "{}"), ("bval", "0"), ("bvec", "0\n0\n0")):
        trial.text(f"{stem}.{end}", text)
    told = [p.message for p in visit(read_study(trial.root)).problems]
    assert told == ["sub-001 ses-a: 2 dwi images; those on one grid are joined"]
    trial.text(f"{stem}.bval", "0 x")
    told = [p.message for p in visit(read_study(trial.root)).problems]
    assert any("4D" in text for text in told)


def preprocessed(folder, trial):
    stem = folder / VISIT / "dwi/sub-001_ses-a_space-ACPC_desc-preproc_dwi"
    raw = trial.root / VISIT / "dwi/sub-001_ses-a_dwi"
    stem.parent.mkdir(parents=True)
    for end in ("nii.gz", "bval", "bvec"):
        os.link(f"{raw}.{end}", f"{stem}.{end}")
    return Path(f"{stem}.nii.gz")


def test_a_preprocessed_series_takes_the_place_of_the_raw_one(trial, tmp_path):
    folder = tmp_path / "qsiprep"
    path = preprocessed(folder, trial)
    # The raw one may be broken, or lack what the other has.
    (trial.root / VISIT / "dwi/sub-001_ses-a_dwi.bval").unlink()
    found = visit(read_study(trial.root, derivatives=[folder]))
    scan = found.scan("dwi")
    assert (scan.path, scan.preprocessed, scan.bval.name) == (
        path,
        True,
        path.name.replace(".nii.gz", ".bval"),
    )
    assert [s.suffix for s in found.scans].count("dwi") == 1
    told = [p.message for p in found.problems if p.level == "note" and "already preprocessed" in p.message]
    used = f"{path.name} of qsiprep is used as it is, already preprocessed"
    assert told == [f"sub-001 ses-a: {used}; raw series are left out"]
    assert read_study(trial.root, derivatives=[folder]).problems == ()
    assert not any("bval" in p.message for p in found.problems)
    other = next(
        v
        for v in read_study(trial.root, derivatives=[folder]).subject("001").sessions
        if v.session_id == "ses-b"
    )
    assert not other.scan("dwi").preprocessed


def test_a_visit_without_a_raw_series_can_have_a_preprocessed_one(trial, tmp_path):
    folder = tmp_path / "qsiprep"
    preprocessed(folder, trial)
    for file in (trial.root / VISIT / "dwi").iterdir():
        file.unlink()
    found = visit(read_study(trial.root, derivatives=[folder]))
    assert found.scan("dwi").preprocessed
    assert not any("no dwi image" in p.message for p in found.problems)
    (folder / VISIT / "dwi/sub-001_ses-a_space-ACPC_desc-preproc_dwi.bvec").unlink()
    _, problems = find_preprocessed(folder, "sub-001", "ses-a")
    assert any("no bvec file" in p.message for p in problems)


def scan(folder, name, suffix="epi", **sidecar):
    path = folder / f"{name}.json"
    path.write_text(json.dumps(sidecar))
    return Scan(folder / f"{name}.nii.gz", suffix, path)


@pytest.mark.parametrize(
    ("sidecar", "source", "belongs"),
    [
        ({}, {}, None),
        ({"IntendedFor": "ses-a/dwi/a_dwi.nii.gz"}, {}, True),
        (
            {"IntendedFor": ["bids::sub-1/ses-a/func/x_bold.nii.gz", "bids::sub-1/ses-a/dwi/a_dwi.nii.gz"]},
            {},
            True,
        ),
        ({"IntendedFor": ["ses-a/func/x_bold.nii.gz"]}, {}, False),
        ({"IntendedFor": []}, {}, None),
        ({"B0FieldIdentifier": "one"}, {"B0FieldSource": ["two", "one"]}, True),
        ({"B0FieldIdentifier": ["three"]}, {"B0FieldSource": "one"}, None),
    ],
)
def test_which_image_a_field_map_belongs_to(tmp_path, sidecar, source, belongs):
    series = scan(tmp_path, "a_dwi", "dwi", **source)
    assert belongs_to(scan(tmp_path, "f_epi", **sidecar), [series]) is belongs


def test_what_sidecars_tell(tmp_path):
    assert phase_encoding({"PhaseEncodingDirection": "i-", "PhaseEncodingAxis": "j"}) == ("i-", True)
    assert phase_encoding({"PhaseEncodingDirection": "up"}) == (None, False)
    assert readout_s({"TotalReadoutTime": 0.04, "EstimatedTotalReadoutTime": 0.05}) == 0.04
    assert readout_s({"EstimatedTotalReadoutTime": 0.05}) == 0.05
    assert readout_s({"TotalReadoutTime": "long"}) is None
    assert readout_s({"TotalReadoutTime": True}) is None
    assert readout_s({"TotalReadoutTime": float("inf")}) is None
    assert readout_s({"EffectiveEchoSpacing": 0.0004, "ReconMatrixPE": 126}) == pytest.approx(0.05)
    broken = tmp_path / "b.json"
    for text in ("{", "[1]"):
        broken.write_text(text)
        assert read_sidecar(broken) == {}
    assert read_sidecar(tmp_path / "none.json") == {}
