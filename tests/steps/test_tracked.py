"""Rows, files and the report's lines of a tract that was followed, beside the atlas's."""

from __future__ import annotations

from dataclasses import replace

from mripipe.model.diffusion import (
    DiffusionResult,
    TrackedTract,
    TrackedVisit,
    TractAsymmetry,
    TractMetrics,
)
from mripipe.model.results import LesionVolumes, SubjectResult, VisitResult
from mripipe.model.study import Scan, Session, Subject
from mripipe.reports.diffusion import tract_lines
from mripipe.steps.group_measurements import read_measurements
from mripipe.steps.publish import IGNORED, Origin, publish_subject
from mripipe.steps.tables import read_results, write_subject_results, write_tables
from mripipe.steps.tracked import with_tracked, without_tracking

SIDES = {"left": "ipsilesional", "right": "contralesional"}


def followed(folder=None, status="ok"):
    values = (
        {"left": (0.30, 210), "right": (0.50, 640)} if status == "ok" else dict.fromkeys(SIDES, (None, 7))
    )
    files = {}
    if folder is not None:
        for side in SIDES:
            (folder / f"CST_{side}.tck").write_text(f"lines {side}")
            (folder / f"CST_{side}.nii.gz").write_text(f"density {side}")
            files[side] = {
                "streamlines": folder / f"CST_{side}.tck",
                "density": folder / f"CST_{side}.nii.gz",
            }
    return TrackedVisit(
        tuple(TrackedTract("CST", s, status, values[s][1], **files.get(s, {})) for s in SIDES),
        tuple(TractMetrics("CST_tracked", "whole", status, SIDES[s], s, fa=values[s][0]) for s in SIDES),
        (TractAsymmetry("CST_tracked", "whole", status, rfa=0.6 if status == "ok" else None),),
        "tracts followed",
    )


def atlas():
    rows = tuple(TractMetrics("CST", "whole", "ok", SIDES[s], s, fa=0.4) for s in SIDES)
    return DiffusionResult(
        "ok", rows, (TractAsymmetry("CST", "whole", "ok", rfa=1.0, lesion_load_ml=2.0),), steps=("denoised",)
    )


def visit(diffusion):
    volumes = LesionVolumes("sub-1", "ses-a", "ok", days_from_onset=45.0, side="left", lesion_ml=9.0)
    return VisitResult("sub-1", "ses-a", volumes, diffusion=diffusion)


def tables(folder, diffusion):
    result = SubjectResult("sub-1", (visit(diffusion),))
    write_subject_results(folder, result)
    assert read_results(folder) == (result,)
    write_tables(folder)
    found = []
    for name in ("tract_metrics", "tract_asymmetry", "measurements"):
        lines = [line.split("\t") for line in (folder / f"{name}.tsv").read_text().splitlines()]
        found.append([dict(zip(lines[0], line, strict=True)) for line in lines[1:]])
    return found


def test_rows_stand_beside_the_atlas_and_change_none_of_its(tmp_path):
    before = tables(tmp_path, atlas())
    metrics, pairs, long = tables(tmp_path, with_tracked(atlas(), followed()))
    assert [row for row in metrics if row["tract"] == "CST"] == before[0]
    assert [row for row in pairs if row["tract"] == "CST"] == before[1]
    assert {row["n_streamlines"] for row in before[0]} == {"n/a"}
    left, right = (row for row in metrics if row["tract"] == "CST_tracked")
    assert (left["side"], left["fa"], left["n_streamlines"], left["status"]) == (
        "left",
        "0.3000",
        "210",
        "ok",
    )
    assert (right["side"], right["fa"], right["n_streamlines"]) == ("right", "0.5000", "640")
    assert (left["lesion_fraction"], left["fa_with_lesion"]) == ("n/a", "n/a")
    mine = [row for row in long if row["region"] == "CST_tracked_whole"]
    assert {row["measure"] for row in mine} == {"fa", "md", "ad", "rd", "rfa", "fa_asymmetry", "rmd"}
    assert [row for row in long if row not in mine] == before[2]


def test_the_group_reads_them_under_their_own_names(tmp_path):
    tables(tmp_path, with_tracked(atlas(), followed()))
    found, oddities = read_measurements(tmp_path)
    values = {item.name: item for item in found}
    assert oddities == ()
    assert (values["rfa_CST_whole"].value, values["rfa_CST_tracked_whole"].value) == (1.0, 0.6)
    assert values["fa_CST_tracked_whole_ipsi"].value == 0.3
    # No load of a tract that ends at the lesion: missing, not measured.
    load = values["lesion_load_ml_CST_tracked_whole"]
    assert (load.value, load.status) == (None, "missing_input")


def test_a_tract_that_is_cut_has_its_status_and_the_atlas_its_values(tmp_path):
    metrics, pairs, long = tables(tmp_path, with_tracked(atlas(), followed(status="truncated_by_lesion")))
    rows = [row for row in metrics if row["tract"] == "CST_tracked"]
    assert {(row["fa"], row["status"], row["n_streamlines"]) for row in rows} == {
        ("n/a", "truncated_by_lesion", "7")
    }
    assert pairs[-1]["status"] == "truncated_by_lesion"
    assert {row["status"] for row in long if row["region"] == "CST_tracked_whole"} == {"truncated_by_lesion"}
    assert metrics[0]["fa"] == "0.4000"


def test_a_visit_without_a_series_has_the_same_rows(tmp_path):
    bare = without_tracking(DiffusionResult("missing_input"), "missing_input", None)
    metrics, pairs, _ = tables(tmp_path, bare)
    assert [(row["tract"], row["side"], row["status"]) for row in metrics] == [
        ("CST_tracked", "left", "missing_input"),
        ("CST_tracked", "right", "missing_input"),
    ]
    assert {row["n_streamlines"] for row in metrics} == {"n/a"}
    assert [row["tract"] for row in pairs] == ["CST_tracked"]


def test_the_reports_table_has_a_line_of_it():
    shown = tract_lines([visit(with_tracked(atlas(), followed()))])
    line = next(line for line in shown if "followed" in line.segment)
    assert (line.fa_ipsi, line.fa_contra, line.row.rfa) == (0.3, 0.5, 0.6)
    assert len(tract_lines([visit(atlas())])) == len(shown) - 1


def test_streamlines_and_density_are_published_under_their_side(tmp_path):
    found = replace(visit(with_tracked(atlas(), followed(tmp_path))), reference_suffix="T1w")
    scans = (Scan(tmp_path / "bids" / "sub-1" / "x_dwi.nii", "dwi"),)
    subject = Subject("sub-1", (Session("sub-1", "ses-a", scans),))
    out = tmp_path / "out"
    whole = publish_subject(subject, (found,), out_dir=out, origin=Origin(tmp_path / "bids", {}))
    for tract, hemi in zip(whole.visits[0].diffusion.tracked, "LR", strict=True):
        start = f"sub-1/ses-a/dwi/sub-1_ses-a_hemi-{hemi}_model-csd"
        assert tract.streamlines == out / f"{start}_label-CST_tractogram.tck"
        assert tract.density == out / f"{start}_param-density_label-CST_dwimap.nii.gz"
        assert tract.streamlines.read_text() == f"lines {tract.side}"
        assert tract.density.read_text() == f"density {tract.side}"
        assert tract.streamlines.with_suffix(".json").is_file()
    # BIDS has no name for streamlines yet.
    assert "*_tractogram.*" in IGNORED.splitlines()
    cut = replace(visit(with_tracked(atlas(), followed())), reference_suffix="T1w")
    again = publish_subject(subject, (cut,), out_dir=out, origin=Origin(tmp_path / "bids", {}))
    assert again.visits[0].diffusion.tracked[0].streamlines is None
    assert not list(out.rglob("*tractogram*"))
