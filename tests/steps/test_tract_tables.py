"""Rows of the tract tables and of the report's table: columns, missing values, order."""

from __future__ import annotations

import json

from mripipe.model.diffusion import DiffusionResult, PerilesionalRing, TractAsymmetry, TractMetrics
from mripipe.model.results import LesionVolumes, SubjectResult, VisitResult
from mripipe.reports.diffusion import tract_lines
from mripipe.steps.group_measurements import read_measurements
from mripipe.steps.tables import read_results, write_subject_results, write_tables
from mripipe.steps.tracts import tracts_without_diffusion


def visit(session="ses-a", diffusion=None):
    volumes = LesionVolumes(
        "sub-1", session, "ok", days_from_onset=45.0, source="auto", side="left", lesion_ml=9.0
    )
    return VisitResult("sub-1", session, volumes, diffusion=diffusion)


def measured():
    rows = (
        TractMetrics("CST", "whole", "ok", "ipsilesional", "left", fa=0.4, md=0.812345, n_voxels=900),
        TractMetrics("CST", "whole", "ok", "contralesional", "right", fa=0.5, md=0.8, lesion_fraction=0.0),
        TractMetrics("CC", "genu", "not_covered"),
    )
    pair = TractAsymmetry("CST", "whole", "ok", rfa=0.8, rmd=1.015, lesion_load_ml=2.5)
    lost = TractAsymmetry("CST", "cerebral_peduncle", "truncated_by_lesion", lesion_load_ml=1.25)
    rings = (
        PerilesionalRing(0, 5, "ok", "left", fa=0.2, md=0.9, mirror_fa=0.3, mirror_md=0.7, n_voxels=99),
        PerilesionalRing(5, 10, "not_covered", "left"),
    )
    return DiffusionResult("ok", rows, (pair, lost), rings=rings)


def table(path):
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_rows_hold_the_contracts_columns_and_no_zero_for_what_is_missing(tmp_path):
    write_subject_results(tmp_path, SubjectResult("sub-1", (visit(diffusion=measured()),)))
    write_tables(tmp_path)
    metrics, pairs = table(tmp_path / "tract_metrics.tsv"), table(tmp_path / "tract_asymmetry.tsv")
    assert list(metrics[0])[:13] == [
        "participant_id",
        "session_id",
        "days_from_onset",
        "tract",
        "segment",
        "hemisphere",
        "side",
        "fa",
        "md",
        "ad",
        "rd",
        "n_voxels",
        "lesion_fraction",
    ]
    assert metrics[0]["md"] == "0.8123"
    assert metrics[0]["ad"] == "n/a"
    assert metrics[1]["lesion_fraction"] == "0.0000"
    assert (metrics[2]["hemisphere"], metrics[2]["fa"], metrics[2]["status"]) == ("n/a", "n/a", "not_covered")
    assert (pairs[0]["rfa"], pairs[0]["lesion_load_ml"], pairs[0]["fa_asymmetry"]) == (
        "0.8000",
        "2.500",
        "n/a",
    )
    for name in ("tract_metrics", "tract_asymmetry"):
        assert list(json.loads((tmp_path / f"{name}.json").read_text())) == list(
            table(tmp_path / f"{name}.tsv")[0]
        )


def test_the_long_table_has_tracts_and_tissue_around_the_lesion(tmp_path):
    write_subject_results(tmp_path, SubjectResult("sub-1", (visit(diffusion=measured()),)))
    write_tables(tmp_path)
    rows = {(r["measure"], r["region"], r["side"]): r for r in table(tmp_path / "measurements.tsv")}
    found = {key: (r["value"], r["unit"], r["status"]) for key, r in rows.items()}
    assert found["fa", "CST_whole", "left"] == ("0.4000", "1", "ok")
    assert found["md", "CST_whole", "left"] == ("0.8123", "1e-3 mm2/s", "ok")
    assert found["ad", "CST_whole", "right"] == ("n/a", "1e-3 mm2/s", "missing_input")
    assert found["fa", "CC_genu", "bilateral"] == ("n/a", "1", "not_covered")
    assert found["rfa", "CST_whole", "bilateral"] == ("0.8000", "1", "ok")
    assert found["lesion_load", "CST_whole", "left"] == ("2.500", "mL", "ok")
    assert found["lesion_load", "CST_cerebral_peduncle", "left"] == ("1.250", "mL", "ok")
    assert found["rfa", "CST_cerebral_peduncle", "bilateral"] == ("n/a", "1", "truncated_by_lesion")
    assert found["fa", "perilesional_0_5mm", "left"] == ("0.2000", "1", "ok")
    assert found["md", "perilesional_0_5mm", "right"] == ("0.7000", "1e-3 mm2/s", "ok")
    assert found["fa", "perilesional_5_10mm", "right"] == ("n/a", "1", "not_covered")
    assert len(rows) == len(table(tmp_path / "measurements.tsv"))
    dictionary = json.loads((tmp_path / "measurements.json").read_text())
    for name in ("measure", "region", "side", "unit", "status"):
        assert {r[name] for r in rows.values()} <= {*dictionary[name]["Levels"], "n/a"}


def test_a_number_in_two_tables_counts_once_in_the_group(tmp_path):
    write_subject_results(tmp_path, SubjectResult("sub-1", (visit(diffusion=measured()),)))
    write_tables(tmp_path)
    both, oddities = read_measurements(tmp_path)
    assert oddities == ()
    for name in ("tract_metrics", "tract_asymmetry"):
        (tmp_path / f"{name}.tsv").unlink()
    long, _ = read_measurements(tmp_path)
    names = {item.name: item.value for item in long}
    assert {item.name: item.value for item in both} == names
    assert (names["fa_CST_whole_ipsi"], names["fa_CST_whole_contra"]) == (0.4, 0.5)
    assert (names["lesion_load_ml_CST_cerebral_peduncle"], names["rfa_CST_whole"]) == (1.25, 0.8)
    assert (names["fa_perilesional_0_5mm_ipsi"], names["fa_perilesional_0_5mm_contra"]) == (0.2, 0.3)


def test_stored_results_come_back(tmp_path):
    result = SubjectResult("sub-1", (visit(diffusion=measured()),))
    write_subject_results(tmp_path, result)
    assert read_results(tmp_path) == (result,)


def test_no_tables_where_diffusion_was_left_out(tmp_path):
    write_subject_results(tmp_path, SubjectResult("sub-1", (visit(diffusion=measured()),)))
    write_tables(tmp_path)
    write_subject_results(tmp_path, SubjectResult("sub-1", (visit(),)))
    write_tables(tmp_path)
    assert not list(tmp_path.glob("tract_*"))


def test_the_reports_lines_tell_the_sides_apart():
    line, _ = tract_lines([visit(diffusion=measured()), visit("ses-b")])
    assert (line.session_id, line.segment, line.fa_ipsi, line.fa_contra) == ("ses-a", "whole tract", 0.4, 0.5)


def test_the_report_is_silent_where_no_visit_has_a_series():
    bare = tracts_without_diffusion("missing_input")
    assert tract_lines([visit(diffusion=bare), visit("ses-b", diffusion=bare)]) == []
    # Beside a visit that has one, the gap is shown.
    shown = tract_lines([visit(diffusion=measured()), visit("ses-b", diffusion=bare)])
    assert {line.session_id for line in shown} == {"ses-a", "ses-b"}
