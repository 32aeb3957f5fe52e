"""Clinical tables as they come: dirty. Everything odd is named, nothing tells the arm."""

from __future__ import annotations

import pytest

from mripipe.bids.phenotype import read_clinical


@pytest.fixture
def study(tmp_path):
    """Make a study; `write` adds a table of rows of cells."""

    def write(name, text, *, raw=None):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw if raw is not None else text.replace(" ", "\t").encode())
        return tmp_path

    write("participants.tsv", "participant_id age sex\nsub-1 60 F\nsub-2 89+ M\nsub-3 61,5 female\n")
    for who in ("sub-1", "sub-2", "sub-3"):
        text = "session_id days_from_onset days_from_infusion\nses-a 45 -5\nses-b 140 90\n"
        write(f"{who}/{who}_sessions.tsv", text)
    return write


def scores(clinical, name):
    return {(s.participant_id, s.session_id): s for s in clinical.scores if s.name == name}


def messages(clinical):
    return [f"{o.file} {o.line}: {o.message}" for o in clinical.oddities]


def test_ages_are_read_with_care(study):
    found = read_clinical(study("x.tsv", ""))
    assert [(p.age, p.age_is_lower_bound, p.sex) for p in found.people] == [
        (60, False, "F"),
        (89, True, "M"),
        (61.5, False, "F"),
    ]
    assert any("participants.tsv 3: age is top-coded" in text for text in messages(found))
    assert any("participants.tsv 4: age has a decimal comma" in text for text in messages(found))


def test_scores_get_the_days_of_their_visit_not_of_their_row(study):
    root = study("phenotype/mrs.tsv", "session_id mrs participant_id\nses-b 3 sub-2\nses-a 5 sub-1\n")
    found = scores(read_clinical(root), "mrs")
    assert found["sub-2", "ses-b"].days_from_infusion == 90
    assert found["sub-2", "ses-b"].value == 3
    assert found["sub-1", "ses-a"].days_from_infusion == -5


def test_days_beside_the_score_win_over_those_of_the_scan(study):
    root = study("phenotype/mrs.tsv", "participant_id session_id days_from_infusion mrs\nsub-1 ses-b 97 3\n")
    assert scores(read_clinical(root), "mrs")["sub-1", "ses-b"].days_from_infusion == 97


def test_a_byte_order_mark_and_dos_line_ends_are_taken_in_stride(study):
    raw = b"\xef\xbb\xbfparticipant_id\tsession_id\tmrs\r\nsub-1\tses-a\t4\r\n"
    found = read_clinical(study("phenotype/mrs.tsv", "", raw=raw))
    assert scores(found, "mrs")["sub-1", "ses-a"].value == 4
    assert any("byte-order mark" in text for text in messages(found))


@pytest.mark.parametrize("missing", ["n/a", "", "NA", "."])
def test_a_missing_score_is_no_score(study, missing):
    raw = f"participant_id\tsession_id\tmrs\nsub-1\tses-a\t{missing}\n".encode()
    assert not read_clinical(study("phenotype/mrs.tsv", "", raw=raw)).scores


@pytest.mark.parametrize(
    ("cell", "status", "word"),
    [
        ("7", "out_of_range", "outside 0 to 6"),
        ("x", "not_a_number", "not a number"),
        ("2.5", "out_of_range", "whole"),
    ],
)
def test_an_unfit_score_is_named_and_not_used(study, cell, status, word):
    root = study("phenotype/mrs.tsv", f"participant_id session_id mrs\nsub-1 ses-a {cell}\n")
    found = read_clinical(root)
    score = scores(found, "mrs")["sub-1", "ses-a"]
    assert (score.value, score.status) == (None, status)
    (text,) = [text for text in messages(found) if text.startswith("mrs.tsv 2:")]
    assert word in text


def test_a_repeated_row_counts_once(study):
    rows = "sub-1 ses-a 4\nsub-1 ses-a 4\n"
    found = read_clinical(study("phenotype/mrs.tsv", f"participant_id session_id mrs\n{rows}"))
    assert [s.value for s in found.scores] == [4]
    assert any("mrs.tsv 3: mrs stands before, in mrs.tsv line 2" in text for text in messages(found))


def test_a_contradiction_leaves_no_value(study):
    study("phenotype/mrs.tsv", "participant_id session_id mrs\nsub-1 ses-a 4\n")
    root = study("phenotype/other.tsv", "participant_id session_id mrs\nsub-1 ses-a 2\n")
    found = read_clinical(root)
    (score,) = found.scores
    assert (score.value, score.status) == (None, "conflict")
    assert any("contradict" in text for text in messages(found))


def test_an_unknown_participant_is_named(study):
    found = read_clinical(study("phenotype/mrs.tsv", "participant_id session_id mrs\nsub-9 ses-a 4\n"))
    assert not found.scores
    assert any(text.startswith("mrs.tsv 2: sub-9 is in no participants table") for text in messages(found))


def test_a_label_that_is_none_is_not_quoted(study):
    found = read_clinical(study("phenotype/mrs.tsv", "participant_id session_id mrs\nsub-<b> ses-a 4\n"))
    assert not found.scores
    assert any("mrs.tsv 2: participant_id is not a BIDS label" in text for text in messages(found))
    assert not any("<b>" in text for text in messages(found))


def test_a_score_of_a_named_day_needs_no_visit(study):
    raw = b"participant_id\tage\tmrs_90d\nsub-1\t60\t3\n"
    found = read_clinical(study("participants.tsv", "", raw=raw))
    (score,) = found.scores
    assert (score.name, score.days_from_infusion, score.session_id) == ("mrs", 90, None)


def test_a_person_who_stands_twice_loses_what_contradicts(study):
    raw = b"participant_id\tage\tsex\nsub-1\t60\tF\nsub-1\t61\tF\n"
    found = read_clinical(study("participants.tsv", "", raw=raw))
    (person,) = found.people
    assert (person.age, person.sex) == (None, "F")


def test_people_with_images_alone_are_known(study):
    found = read_clinical(study("x.tsv", ""), measured=["sub-7"])
    assert "sub-7" in [p.participant_id for p in found.people]
    assert any("sub-7 has images but no row" in text for text in messages(found))


def test_raters_are_ratings_not_scores(study):
    rows = "sub-1 ses-a A 50\nsub-1 ses-a B 53\nsub-1 ses-b A x\n"
    root = study("phenotype/seg.tsv", f"participant_id session_id rater lesion_ml\n{rows}")
    # Too few values to be known by themselves: the plan asks for the column.
    found = read_clinical(root, wanted=["lesion_ml"])
    assert not found.scores
    assert [(r.rater, r.value) for r in found.ratings] == [("A", 50), ("B", 53)]
    assert any("seg.tsv 4: lesion_ml is not a number" in text for text in messages(found))


HIDDEN = "QXARM"


@pytest.mark.parametrize(
    ("name", "header", "cells"),
    [
        ("phenotype/mrs.tsv", "TreatmentGroup", [f"{HIDDEN}1", f"{HIDDEN}2", f"{HIDDEN}1"]),
        ("phenotype/mrs.tsv", f"{HIDDEN}code", ["1", "2", "1"]),
        ("phenotype/mrs.tsv", "remark", [f"{HIDDEN} given", "nothing", f"{HIDDEN} given"]),
        ("phenotype/allocation.tsv", f"{HIDDEN}", ["1", "2", "30"]),
    ],
)
def test_nothing_tells_the_arm(study, name, header, cells):
    rows = "".join(f"sub-{k + 1}\tses-b\t3\t{cell}\n" for k, cell in enumerate(cells))
    raw = f"participant_id\tsession_id\tmrs\t{header}\n{rows}".encode()
    found = read_clinical(study(name, "", raw=raw))
    text = repr(found).lower()
    assert HIDDEN.lower() not in text
    assert header.lower() not in text or header == "remark"
    assert "allocation" not in text
    assert any("not used" in t or "not opened" in t for t in messages(found)) or header == "TreatmentGroup"


def test_a_bad_cell_is_never_quoted(study):
    raw = f"participant_id\tsession_id\tmrs\nsub-1\tses-a\t{HIDDEN}\n".encode()
    assert HIDDEN not in repr(read_clinical(study("phenotype/mrs.tsv", "", raw=raw)))
