"""Every variant of the workflow, wired without a loose end."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mripipe.model.settings import DiffusionSettings, RegistrationSettings, Settings
from mripipe.model.study import Problem, Scan, Session, Subject
from mripipe.workflows.subject import build_subject

STEPS = ("prepare_visit", "segment_visit", "normalise_visit", "measure_visit")


def subject(*sessions, unfit=()):
    error = (Problem("error", "unfit"),)
    return Subject(
        "sub-1",
        tuple(
            Session("sub-1", s, (Scan(Path(f"{s}.nii"), "T1w"),), problems=error if s in unfit else ())
            for s in sessions
        ),
    )


def loose_ends(workflow):
    """List upstream inputs that nothing is wired to, and results that nobody takes."""
    graph = workflow._graph
    ends = []
    for node in graph.nodes():
        wired = {field for *_, data in graph.in_edges(node, data=True) for _, field in data["connect"]}
        ends += [f"{node.name}.{field}" for field in set(node.interface.upstream_fields()) - wired]
        published = ("measure_visit", "measure_tracts", "track_visit")
        if not graph.out_edges(node) and node.interface.step not in published:
            ends.append(f"{node.name}.result")
    return ends


@pytest.mark.parametrize("sessions", [("ses-a",), ("ses-a", "ses-b"), ("ses-a", "ses-b", "ses-c")])
def test_no_loose_ends(sessions):
    workflow = build_subject(subject(*sessions), Settings())
    assert loose_ends(workflow) == []
    steps = sorted((node.interface.step, node.interface.visit[1]) for node in workflow._graph.nodes())
    wanted = (*STEPS, "segment_in_time") if len(sessions) > 1 else STEPS
    expected = [(step, session) for step in wanted for session in sessions] + [("align_visits", None)]
    assert steps == sorted(expected, key=str)


def test_each_visit_is_wired_to_itself():
    workflow = build_subject(subject("ses-a", "ses-b"), Settings())
    for source, target, data in workflow._graph.edges(data=True):
        if None not in (source.interface.visit[1], target.interface.visit[1]):
            if any(field.startswith("visits_") for _, field in data["connect"]):
                continue
            assert source.interface.visit == target.interface.visit, data
    aligned = workflow.get_node("align")
    order = {
        field: source.interface.visit[1]
        for source, _, data in workflow._graph.in_edges(aligned, data=True)
        for _, field in data["connect"]
    }
    assert order == {"visits_1": "ses-a", "visits_2": "ses-b"}


def test_the_second_look_hears_every_visit_and_its_own_apart():
    workflow = build_subject(subject("ses-a", "ses-b"), Settings())
    second = workflow.get_node("ses-b_segment_in_time")
    heard = {
        field: (source.interface.step, source.interface.visit[1])
        for source, _, data in workflow._graph.in_edges(second, data=True)
        for _, field in data["connect"]
    }
    assert heard == {
        "segmented": ("segment_visit", "ses-b"),
        "visits_1": ("segment_visit", "ses-a"),
        "visits_2": ("segment_visit", "ses-b"),
        "aligned": ("align_visits", None),
    }


def with_diffusion(whole, session_id):
    series = Scan(Path("dwi.nii"), "dwi", None, Path("dwi.bval"), Path("dwi.bvec"))
    return replace(
        whole,
        sessions=tuple(
            replace(s, scans=(*s.scans, series)) if s.session_id == session_id else s for s in whole.sessions
        ),
    )


def test_a_visit_with_diffusion_has_its_tracts_measured():
    workflow = build_subject(with_diffusion(subject("ses-a", "ses-b"), "ses-b"), Settings())
    assert loose_ends(workflow) == []
    found = {node.interface.step: node for node in workflow._graph.nodes() if node.name.startswith("ses-b")}
    assert not any(
        "diffusion" in name or "tracts" in name for name in workflow.list_node_names() if "-a" in name
    )
    heard = {
        field: (source.interface.step, source.interface.visit[1])
        for source, _, data in workflow._graph.in_edges(found["measure_tracts"], data=True)
        for _, field in data["connect"]
    }
    assert heard == {
        "diffusion": ("fit_diffusion", "ses-b"),
        "normalised": ("normalise_visit", "ses-b"),
    }
    assert not workflow._graph.in_edges(found["fit_diffusion"])


def test_tracking_follows_the_tracts_of_its_visit_unless_left_out():
    whole = with_diffusion(subject("ses-a", "ses-b"), "ses-b")
    graph = build_subject(whole, Settings())._graph
    (node,) = (node for node in graph.nodes() if node.interface.step == "track_visit")
    heard = {
        field: (source.interface.step, source.interface.visit[1])
        for source, _, data in graph.in_edges(node, data=True)
        for _, field in data["connect"]
    }
    assert heard == {
        "diffusion": ("fit_diffusion", "ses-b"),
        "tracts": ("measure_tracts", "ses-b"),
        "normalised": ("normalise_visit", "ses-b"),
    }
    left_out = Settings(diffusion=DiffusionSettings(tracking=False))
    for settings in (left_out, Settings(registration=RegistrationSettings(level="fast"))):
        steps = {node.interface.step for node in build_subject(whole, settings)._graph.nodes()}
        assert "track_visit" not in steps
        assert "measure_tracts" in steps
    # Turning it off does not redo the series.
    (one,), (other,) = (
        [n for n in build_subject(whole, s)._graph.nodes() if n.interface.step == "fit_diffusion"]
        for s in (Settings(), left_out)
    )
    assert one.inputs.arguments == other.inputs.arguments


def test_regions_of_named_atlases_are_measured_with_or_without_diffusion():
    name = "arterial_territories"
    for skip in (False, True):
        settings = Settings(diffusion=DiffusionSettings(atlases=(name,), skip=skip))
        workflow = build_subject(subject("ses-a"), settings)
        (node,) = (n for n in workflow._graph.nodes() if n.interface.step == "measure_visit")
        heard = json.loads(node.interface.bound)["values"]["atlases"]
        assert [files["fields"]["name"] for files in heard] == [name]


def test_diffusion_can_be_skipped():
    skip = Settings(diffusion=DiffusionSettings(skip=True))
    plain = build_subject(subject("ses-a"), skip)
    workflow = build_subject(with_diffusion(subject("ses-a"), "ses-a"), skip)
    assert workflow.list_node_names() == plain.list_node_names()
    assert loose_ends(workflow) == []


def test_a_visit_that_cannot_run_is_left_out():
    workflow = build_subject(subject("ses-a", "ses-b", unfit=("ses-a",)), Settings())
    assert {node.interface.visit[1] for node in workflow._graph.nodes()} == {"ses-b", None}
    assert loose_ends(workflow) == []


def test_where_no_visit_can_run_there_is_nothing_to_do():
    assert build_subject(subject("ses-a", unfit=("ses-a",)), Settings()).list_node_names() == []


def test_a_missing_wire_is_seen():
    workflow = build_subject(subject("ses-a"), Settings())
    source, target = workflow.get_node("ses-a_segment"), workflow.get_node("align")
    workflow.disconnect([(source, target, [("result", "visits_1")])])
    assert loose_ends(workflow) == ["align.visits_1"]


def test_a_sidecar_redoes_what_reads_it(tmp_path):
    paths = {name: tmp_path / name for name in ("t1.nii", "t1.json", "dwi.nii", "dwi.json", "bval", "bvec")}

    def hashes():
        scans = (
            Scan(paths["t1.nii"], "T1w", paths["t1.json"]),
            Scan(paths["dwi.nii"], "dwi", paths["dwi.json"], paths["bval"], paths["bvec"]),
        )
        graph = build_subject(Subject("sub-1", (Session("sub-1", "ses-a", scans),)), Settings())
        return {node.interface.step: node.inputs.arguments for node in graph._graph.nodes()}

    for path in paths.values():
        path.write_text("before")
    before = hashes()
    for name, redone in (
        ("t1.json", set()),
        ("dwi.json", {"fit_diffusion"}),
        ("bval", {"prepare_visit", "fit_diffusion"}),
    ):
        paths[name].write_text("after")
        now = hashes()
        assert {step for step in now if now[step] != before[step]} == redone
        before = now


def test_a_field_map_redoes_diffusion_alone(tmp_path):
    paths = [tmp_path / name for name in ("t1.nii", "dwi.nii", "bval", "bvec", "epi.nii", "epi.json")]
    for path in paths:
        path.write_text("before")
    image, series, bval, bvec, reversed_image, sidecar = paths

    def hashes(*more):
        scans = (Scan(image, "T1w"), Scan(series, "dwi", None, bval, bvec), *more)
        graph = build_subject(Subject("sub-1", (Session("sub-1", "ses-a", scans),)), Settings())
        return {node.interface.step: node.inputs.arguments for node in graph._graph.nodes()}

    one = hashes(Scan(reversed_image, "epi", sidecar))
    seen = [one, hashes()]
    for path in (reversed_image, sidecar):
        path.write_text("after")
        seen.append(hashes(Scan(reversed_image, "epi", sidecar)))
    for before, now in itertools.pairwise(seen):
        assert {step for step in now if now[step] != before[step]} == {"fit_diffusion"}


def test_a_mask_redoes_the_segmentation_and_not_the_preparation(tmp_path):
    image = tmp_path / "a.nii"
    image.write_bytes(b"image")
    mask = tmp_path / "mask.nii"
    mask.write_bytes(b"mask")

    def hashes(lesion_mask):
        session = Session("sub-1", "ses-a", (Scan(image, "T1w"),), lesion_mask=lesion_mask)
        graph = build_subject(Subject("sub-1", (session,)), Settings())
        nodes = {node.interface.step: node.inputs for node in graph._graph.nodes()}
        return {step: inputs.arguments for step, inputs in nodes.items()}

    without, given = hashes(None), hashes(mask)
    assert without["prepare_visit"] == given["prepare_visit"]
    assert without["segment_visit"] != given["segment_visit"]
    mask.write_bytes(b"edited")
    assert hashes(mask)["segment_visit"] != given["segment_visit"]
    assert hashes(mask)["prepare_visit"] == given["prepare_visit"]
