"""Rows of the tract tables and of the report's table: columns, missing values, order."""

from __future__ import annotations

import json

from mripipe.model.diffusion import DiffusionResult, TractAsymmetry, TractMetrics
from mripipe.model.results import LesionVolumes, SubjectResult, VisitResult
from mripipe.reports.diffusion import tract_lines
from mripipe.steps.tables import read_results, write_subject_results, write_tables


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
    return DiffusionResult("ok", rows, (pair,))


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
    (line,) = tract_lines([visit(diffusion=measured()), visit("ses-b")])
    assert (line.session_id, line.segment, line.fa_ipsi, line.fa_contra) == ("ses-a", "whole tract", 0.4, 0.5)
