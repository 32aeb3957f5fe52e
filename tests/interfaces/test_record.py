"""Why a step is redone, in words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mripipe.interfaces import record as module
from mripipe.interfaces.engine import describe_graph
from mripipe.interfaces.record import evaluate, step_records_from_json, step_records_to_json
from mripipe.interfaces.stored import read_plan, stored_state, write_plan
from mripipe.model.settings import Settings
from mripipe.model.study import Problem, Scan, Session, Subject


@pytest.fixture
def done(toy):
    """Everything done once."""
    toy.run()
    toy.called()
    return toy


def whys(toy):
    return {name: why for name, (state, why) in toy.plan().items() if state != "done"}


def test_a_changed_input_is_named(done):
    done.write("ses-a", "cherry")
    assert whys(done) == {
        "ses-a_prepare": "input ses-a.txt has changed",
        "ses-a_segment": "prepare comes first",
        "align": "segment comes first",
        "ses-a_measure": "align comes first",
        "ses-b_measure": "align comes first",
        "finish": "measure comes first",
    }


def test_a_lost_input_is_named(done):
    (done.root / "ses-a.txt").unlink()
    assert whys(done)["ses-a_prepare"] == "ses-a.txt is gone"


def test_inputs_that_came_or_went_are_named(done):
    records = describe_graph(done.workflow())
    first = next(r for r in records if r.name.endswith("ses-a_prepare"))
    more = replace(first, files=(*first.files, "/x/mask.nii"))
    less = replace(first, files=())
    moved = replace(first, files=("/elsewhere/ses-a.txt",))
    assert [evaluate([r], retry=True)[0].why for r in (more, less, moved)] == [
        "input mask.nii is new",
        "input ses-a.txt is not given now",
        "input ses-a.txt lies elsewhere now",
    ]


def test_a_visit_less_or_more_redoes_what_joins_them(done):
    done.sessions = ("ses-a",)
    assert done.plan()["ses-a_segment"] == ("done", "")
    assert done.plan()["align"] == ("stale", "it takes 1 results now, not 2")
    assert done.run()["align"] == "done"
    done.sessions = ("ses-a", "ses-b")
    assert done.plan()["align"] == ("stale", "it takes 2 results now, not 1")


def test_a_damaged_result_is_named_and_made_again(done):
    image = done.root / "work" / "sub-1" / "ses-a_prepare" / "image.txt"
    before = image.read_text()
    image.write_text("APP")
    assert whys(done)["ses-a_prepare"] == "image.txt is damaged"
    done.run()
    assert image.read_text() == before


def test_one_run_mends_a_step_and_another_after_it(done):
    work = done.root / "work" / "sub-1"
    (work / "ses-a_prepare" / "image.txt").unlink()
    (work / "ses-a_segment" / "mask.txt").write_text("x")
    assert set(done.run().values()) == {"done"}
    assert (work / "ses-a_segment" / "mask.txt").read_text() == "1 A"


def test_changed_modules_and_libraries_are_named(done, monkeypatch):
    real = module.code_parts

    def parts(*references):
        return {**real(*references), "mripipe.core.bias": "new", "numpy": "9.9", "x": "1", "y": "1"}

    monkeypatch.setattr(module, "code_parts", parts)
    monkeypatch.setattr(module, "step_code", lambda function: "new")
    logs = done.root / "logs"
    state = evaluate(describe_graph(done.workflow()), retry=True, code_dir=logs / module.CODE)[0]
    assert state.why == "the program has changed: core.bias, numpy, x and 1 more"
    bare = evaluate(describe_graph(done.workflow()), retry=True)[0]
    assert bare.why == "the program has changed"


def test_a_changed_result_of_an_earlier_step_is_seen_without_the_engine(done):
    result = done.root / "work" / "sub-1" / "ses-a_segment" / "result.json"
    document = json.loads(result.read_text())
    document["result"]["fields"]["prepared"]["fields"]["total"] = 4.5
    result.write_text(json.dumps(document))
    assert whys(done)["align"] == "the result of an earlier step has changed (visits_1)"


def test_what_a_step_was_made_from_must_be_there(done):
    (done.root / "work" / "sub-1" / "align" / "made_from.json").unlink()
    assert done.plan()["align"] == ("to do", "")
    done.run()
    assert done.called() == ["align"]


def test_records_survive_json(done):
    records = describe_graph(done.workflow())
    assert step_records_from_json(json.loads(json.dumps(step_records_to_json(records)))) == records


def subject(*sessions, **changes):
    visits = (Session("sub-1", s, (Scan(s, "T1w"),), **changes) for s in sessions)
    return Subject(
        "sub-1", tuple(replace(v, scans=(Scan(module.Path(v.session_id), "T1w"),)) for v in visits)
    )


@pytest.fixture
def stored(done):
    """Keep the plan of a finished run."""
    records = describe_graph(done.workflow())
    write_plan(
        done.root / "logs",
        subject("ses-a", "ses-b"),
        builder="toysteps:align",
        work_dir=done.root / "work",
        settings=Settings(),
        records=records,
    )
    return done


def test_the_state_is_known_without_a_graph(stored):
    logs = stored.root / "logs"
    plan = read_plan(logs, "sub-1")
    stored.write("ses-b", "cherry")
    asked = subject("ses-a", "ses-b", days_from_onset=4.0, problems=(Problem("note", "x"),))
    states = {s.result.parent.name: (s.state, s.why) for s in stored_state(plan, asked, logs)}
    assert states == stored.plan(retry=False)
    assert states["ses-b_prepare"] == ("stale", "input ses-b.txt has changed")


@pytest.mark.parametrize(
    "asked",
    [subject("ses-a"), subject("ses-a", "ses-b", problems=(Problem("error", "unfit"),))],
    ids=["another visit", "a visit that cannot run"],
)
def test_a_plan_for_other_visits_is_not_used(stored, asked):
    assert stored_state(read_plan(stored.root / "logs", "sub-1"), asked, stored.root / "logs") is None


def test_a_plan_of_another_builder_is_not_used(stored):
    plan = replace(read_plan(stored.root / "logs", "sub-1"), builder_code="other")
    assert stored_state(plan, subject("ses-a", "ses-b"), stored.root / "logs") is None


def test_a_plan_that_cannot_be_read_counts_as_none(tmp_path):
    assert read_plan(tmp_path, "sub-1") is None
    (tmp_path / "plans").mkdir()
    for text in ("{", "{}", "[]", '{"steps": 3}'):
        (tmp_path / "plans" / "sub-1.json").write_text(text)
        assert read_plan(tmp_path, "sub-1") is None
