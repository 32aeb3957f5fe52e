"""Stored results come back exactly, and tables are the same bytes whatever was run when."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mripipe import __version__
from mripipe.errors import InputError, ProcessingError, RequestError
from mripipe.model.results import (
    LesionVolumes,
    NormalisationQuality,
    RegionLoad,
    SubjectResult,
    TerritoryLoad,
    VisitResult,
)
from mripipe.steps.tables import read_results, write_lesion_volumes, write_subject_results, write_tables

# From the public names that other programs read.
VOLUME_COLUMNS = [
    "participant_id",
    "session_id",
    "days_from_onset",
    "days_from_infusion",
    "source",
    "side",
    "lesion_ml",
    "lesion_ml_lower",
    "lesion_ml_upper",
    "lesion_mni_ml",
    "mca_ml",
    "mca_fraction",
    "mca_territory_percent",
    "n_components",
    "brain_ml",
    "ventricle_ipsi_ml",
    "ventricle_contra_ml",
    "status",
    "cavity_ml",
    "gliosis_ml",
    "auto_ml",
    "auto_dice",
    "sequences",
    "surface_cm2",
    "change_ml",
    "change_mdc_ml",
    "change",
    "contralateral_ml",
    "repeat_sd_ml",
]
LONG_COLUMNS = [
    "participant_id",
    "session_id",
    "days_from_onset",
    "days_from_infusion",
    "measure",
    "region",
    "side",
    "value",
    "unit",
    "status",
    "qc",
    "software",
]

FULL = LesionVolumes(
    participant_id="sub-001",
    session_id="ses-1",
    status="ok",
    days_from_onset=45.0,
    days_from_infusion=-2.5,
    source="auto",
    side="right",
    lesion_ml=82.12345,
    lesion_ml_lower=1 / 3,
    lesion_ml_upper=90.0,
    lesion_mni_ml=88.5,
    mca_ml=80.0,
    mca_fraction=0.97413,
    mca_territory_percent=31.256,
    n_components=2,
    brain_ml=1250.25,
    ventricle_ipsi_ml=21.5,
    ventricle_contra_ml=14.25,
    cavity_ml=32.0,
    gliosis_ml=50.125,
    auto_ml=80.5,
    auto_dice=0.91239,
    sequences="T1w+FLAIR",
    surface_cm2=98.765,
    change_ml=-0.0001,
    change_mdc_ml=3.0,
    change="not_detected",
    contralateral_ml=4.5,
    repeat_sd_ml=0.9877,
)


def subject(out, label="001", *, volumes=FULL, **changes):
    who = f"sub-{label}"
    anat = out / who / "ses-1" / "anat"
    visit = VisitResult(
        who,
        "ses-1",
        replace(volumes, participant_id=who),
        reference_suffix="T1w",
        preproc=anat / f"{who}_ses-1_desc-preproc_T1w.nii.gz",
        quality=NormalisationQuality(0.9, 0.1, 1 / 7, 0.95, 0.87654, 0.0),
        territories=(TerritoryLoad("MCAs", "right", 60.1, 40.25), TerritoryLoad("ACA", "left", 0.0, 0.0)),
        regions=(RegionLoad("lobes:Frontal", "right", 12.5, 6.25), RegionLoad("lobes:Middle", "bilateral")),
        warnings=("a <b>\t“quoted”", "second"),
    )
    failed = VisitResult(who, "ses-2", LesionVolumes(who, "ses-2", "failed"), error="x.nii.gz: truncated")
    return SubjectResult(who, (replace(visit, **changes), failed), report=out / f"{who}.html")


def table(path):
    header, *rows = (line.split("\t") for line in path.read_text().splitlines())
    return header, [dict(zip(header, row, strict=True)) for row in rows]


def test_results_come_back_exactly(tmp_path):
    second, first = subject(tmp_path, "002"), subject(tmp_path)
    for result in (second, first):
        write_subject_results(tmp_path, result)
    assert read_results(tmp_path) == (first, second)


def test_stored_paths_are_relative_so_the_folder_can_move(tmp_path):
    path = write_subject_results(tmp_path / "old", subject(tmp_path / "old"))
    assert path == tmp_path / "old/sub-001/sub-001_results.json"
    assert str(tmp_path) not in path.read_text()
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_results(tmp_path / "new") == (subject(tmp_path / "new"),)


def test_numpy_numbers_are_stored_as_numbers(tmp_path):
    volumes = replace(FULL, lesion_ml=np.float32(1.5), n_components=np.int64(3))
    write_subject_results(tmp_path, subject(tmp_path, volumes=volumes))
    found = read_results(tmp_path)[0].visits[0].volumes
    assert (found.lesion_ml, found.n_components) == (1.5, 3)


def test_a_number_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(ProcessingError, match="sub-001: a result is not a finite number"):
        write_subject_results(tmp_path, subject(tmp_path, volumes=replace(FULL, lesion_ml=float("nan"))))
    assert read_results(tmp_path) == ()


def test_a_path_outside_the_folder_is_refused(tmp_path):
    with pytest.raises(RequestError, match="outside the output folder"):
        write_subject_results(tmp_path / "out", subject(tmp_path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"status": "ok"', '"status": "splendid"'),
        ('"lesion_ml": 82.12345', '"lesion_ml": "82"'),
        ('"lesion_ml"', '"lesion_litres"'),
        ('"session_id": "ses-1"', '"session_id": null'),
        ("{", "["),
    ],
)
def test_stored_results_that_do_not_fit_are_refused_by_name(tmp_path, old, new):
    path = write_subject_results(tmp_path, subject(tmp_path))
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=r"^sub-001_results\.json: stored results cannot be read .*run this"):
        read_results(tmp_path)


def test_lesion_volumes_has_the_public_columns_and_fixed_decimals(tmp_path):
    header, (row,) = table(write_lesion_volumes(tmp_path, [FULL]))
    assert header == VOLUME_COLUMNS
    assert list(row.values()) == [
        "sub-001",
        "ses-1",
        "45",
        "-2.5",
        "auto",
        "right",
        "82.123",
        "0.333",
        "90.000",
        "88.500",
        "80.000",
        "0.9741",
        "31.26",
        "2",
        "1250.250",
        "21.500",
        "14.250",
        "ok",
        "32.000",
        "50.125",
        "80.500",
        "0.9124",
        "T1w+FLAIR",
        "98.77",
        "0.000",
        "3.000",
        "not_detected",
        "4.500",
        "0.988",
    ]


def test_missing_values_are_written_as_such_never_as_zero(tmp_path):
    _, (row,) = table(write_lesion_volumes(tmp_path, [LesionVolumes("sub-1", "ses-1", "no_lesion_found")]))
    missing = {name for name, cell in row.items() if cell == "n/a"}
    assert missing == set(VOLUME_COLUMNS) - {"participant_id", "session_id", "status"}


def test_a_true_zero_stays_a_zero(tmp_path):
    row = replace(FULL, lesion_ml=0, days_from_onset=0.0, days_from_infusion=-0.01)
    _, (cells,) = table(write_lesion_volumes(tmp_path, [row]))
    assert (cells["lesion_ml"], cells["days_from_onset"], cells["days_from_infusion"]) == ("0.000", "0", "0")


def test_every_column_and_level_is_in_the_data_dictionary(tmp_path):
    write_subject_results(tmp_path, subject(tmp_path))
    for path in write_tables(tmp_path):
        dictionary = json.loads(path.with_suffix(".json").read_text())
        header, rows = table(path)
        assert list(dictionary) == header
        assert all(entry["Description"] for entry in dictionary.values())
        for name, entry in dictionary.items():
            if "Levels" in entry:
                assert {row[name] for row in rows} <= {*entry["Levels"], "n/a"}


def test_the_long_table_holds_the_same_numbers(tmp_path):
    write_subject_results(tmp_path, subject(tmp_path))
    header, rows = table(write_tables(tmp_path)[1])
    assert header == LONG_COLUMNS
    values = {
        (r["measure"], r["region"], r["side"]): (r["value"], r["unit"])
        for r in rows
        if r["session_id"] == "ses-1" and r["value"] != "n/a"
    }
    assert values == {
        ("territory_lesion_volume", "mca_superior_territory", "right"): ("60.100", "mL"),
        ("territory_lesioned_percent", "mca_superior_territory", "right"): ("40.25", "%"),
        ("territory_lesion_volume", "aca_territory", "left"): ("0.000", "mL"),
        ("territory_lesioned_percent", "aca_territory", "left"): ("0.00", "%"),
        ("region_lesion_volume", "lobes:Frontal", "right"): ("12.500", "mL"),
        ("region_lesioned_percent", "lobes:Frontal", "right"): ("6.25", "%"),
        ("normalisation_tissue_dice", "brain", "bilateral"): ("0.9000", "1"),
        ("normalisation_ventricle_dice", "lateral_ventricle", "bilateral"): ("0.8765", "1"),
        ("normalisation_correlation", "brain", "bilateral"): ("0.9500", "1"),
        ("normalisation_jacobian_min", "brain", "bilateral"): ("0.1000", "1"),
        ("normalisation_jacobian_max", "brain", "bilateral"): ("0.1429", "1"),
        ("normalisation_folded", "brain", "bilateral"): ("0.0000", "%"),
        ("lesion_volume", "brain", "right"): ("82.123", "mL"),
        ("lesion_volume_lower", "brain", "right"): ("0.333", "mL"),
        ("lesion_volume_upper", "brain", "right"): ("90.000", "mL"),
        ("lesion_volume_mni", "brain", "right"): ("88.500", "mL"),
        ("lesion_volume", "mca_territory", "right"): ("80.000", "mL"),
        ("lesion_fraction", "mca_territory", "right"): ("0.9741", "1"),
        ("lesioned_percent", "mca_territory", "right"): ("31.26", "%"),
        ("lesion_components", "brain", "right"): ("2", "count"),
        ("lesion_cavity_volume", "brain", "right"): ("32.000", "mL"),
        ("lesion_gliosis_volume", "brain", "right"): ("50.125", "mL"),
        ("lesion_surface", "brain", "right"): ("98.77", "cm^2"),
        ("lesion_change", "brain", "right"): ("0.000", "mL"),
        ("lesion_change_minimal_detectable", "brain", "right"): ("3.000", "mL"),
        ("older_lesion_volume", "brain", "left"): ("4.500", "mL"),
        ("brain_volume", "brain", "bilateral"): ("1250.250", "mL"),
        ("ventricle_volume", "lateral_ventricle", "right"): ("21.500", "mL"),
        ("ventricle_volume", "lateral_ventricle", "left"): ("14.250", "mL"),
    }
    keys = [(r["measure"], r["region"], r["side"]) for r in rows if r["session_id"] == "ses-1"]
    assert len(keys) == len(set(keys)) == 17 + 7 * 2 * 2 + 2 * 2 + 6
    assert {(r["days_from_onset"], r["days_from_infusion"]) for r in rows[:16]} == {("45", "-2.5")}
    assert {r["software"] for r in rows} == {f"mripipe {__version__}"}
    assert {r["qc"] for r in rows[:16]} == {"warning"}


def test_every_row_says_why_its_value_is_missing(tmp_path):
    def statuses(volumes, measure):
        territories = () if volumes.lesion_ml is None else subject(tmp_path).visits[0].territories
        changes = {"volumes": volumes, "warnings": (), "territories": territories}
        write_subject_results(tmp_path, subject(tmp_path, **changes))
        rows = [r for r in table(write_tables(tmp_path)[1])[1] if r["session_id"] == "ses-1"]
        assert all((r["value"] == "n/a") == (r["status"] not in ("ok", "low_quality")) for r in rows)
        assert {r["qc"] for r in rows} == {"pass"}
        return next(r["status"] for r in rows if r["measure"] == measure)

    healthy = LesionVolumes("sub-001", "ses-1", "no_lesion_found", side="none", brain_ml=1300.0)
    assert statuses(healthy, "lesion_volume") == "no_lesion_found"
    assert statuses(healthy, "brain_volume") == "ok"
    assert statuses(replace(FULL, brain_ml=None), "brain_volume") == "missing_input"
    assert statuses(healthy, "normalisation_ventricle_dice") == "ok"
    assert statuses(healthy, "territory_lesioned_percent") == "no_lesion_found"
    low = replace(FULL, status="low_quality")
    assert statuses(low, "lesion_volume") == "low_quality"


def test_a_failed_visit_has_its_rows(tmp_path):
    write_subject_results(tmp_path, subject(tmp_path))
    rows = [r for r in table(write_tables(tmp_path)[1])[1] if r["session_id"] == "ses-2"]
    assert len(rows) == 17 + 7 * 2 * 2 + 6
    assert {(r["value"], r["status"], r["qc"]) for r in rows} == {("n/a", "failed", "n/a")}


@pytest.mark.parametrize(("side", "shown"), [("none", "n/a"), ("bilateral", "n/a"), (None, "n/a")])
def test_a_ventricle_has_no_side_where_the_lesion_has_none(tmp_path, side, shown):
    volumes = replace(FULL, side=side, ventricle_ipsi_ml=None, ventricle_contra_ml=None)
    write_subject_results(tmp_path, subject(tmp_path, volumes=volumes))
    rows = table(write_tables(tmp_path)[1])[1]
    assert {r["side"] for r in rows if r["measure"] == "ventricle_volume"} == {shown}


def test_tables_are_the_same_bytes_in_any_order_of_runs_and_keep_everyone(tmp_path):
    for folder, order in (("one", ["001", "002", "010"]), ("two", ["010", "002", "001"])):
        for label in order:
            write_subject_results(tmp_path / folder, subject(tmp_path / folder, label))
            write_tables(tmp_path / folder)
    for name in ("lesion_volumes", "measurements"):
        for end in ("tsv", "json"):
            one, two = ((tmp_path / folder / f"{name}.{end}").read_bytes() for folder in ("one", "two"))
            assert one == two
    _, rows = table(tmp_path / "one" / "lesion_volumes.tsv")
    assert [r["participant_id"] for r in rows] == ["sub-001"] * 2 + ["sub-002"] * 2 + ["sub-010"] * 2


def test_running_a_participant_again_replaces_its_rows(tmp_path):
    for volume in (10.0, 20.0):
        write_subject_results(tmp_path, subject(tmp_path, volumes=replace(FULL, lesion_ml=volume)))
        path = write_tables(tmp_path)[0]
    assert [r["lesion_ml"] for r in table(path)[1]] == ["20.000", "n/a"]


def test_regions_of_installed_atlases_are_in_the_long_table(tmp_path):
    write_subject_results(tmp_path, subject(tmp_path))
    write_tables(tmp_path)
    _, rows = table(tmp_path / "measurements.tsv")
    found = [row for row in rows if row["region"].startswith("lobes:")]
    names = ("measure", "region", "side", "value", "unit", "status")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("region_lesion_volume", "lobes:Frontal", "right", "12.500", "mL", "ok"),
        ("region_lesioned_percent", "lobes:Frontal", "right", "6.25", "%", "ok"),
        ("region_lesion_volume", "lobes:Middle", "bilateral", "n/a", "mL", "missing_input"),
        ("region_lesioned_percent", "lobes:Middle", "bilateral", "n/a", "%", "missing_input"),
    ]
    levels = json.loads((tmp_path / "measurements.json").read_text())["region"]["Levels"]
    assert levels["lobes:Frontal"] == "Frontal, region of the installed atlas lobes"
