"""Days from tables or from dates, visits in time order, and no date ever shown."""

import pytest

from mripipe.bids.timeline import (
    ClinicalDates,
    Days,
    check_participants_table,
    order_sessions,
    read_clinical_dates,
    read_timeline,
)


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows))


def sessions(tmp_path, *rows, dates=None):
    write(tmp_path / "sub-1_sessions.tsv", *rows)
    return read_timeline(tmp_path, "sub-1", dates or ClinicalDates())


def dates_of(tmp_path):
    return read_clinical_dates(tmp_path)[0]["sub-1"]


def test_days_as_given(tmp_path):
    found = sessions(
        tmp_path,
        ("session_id", "days_from_onset", "days_from_infusion"),
        ("ses-1", "45", "-2"),
        ("2", "135,5", "n/a"),
    )
    assert found.days == {"ses-1": Days(45, -2), "ses-2": Days(135.5, None)}
    (problem,) = found.problems
    assert (problem.level, problem.session_id) == ("warning", "ses-2")
    assert "sub-1_sessions.tsv line 3: days_from_onset is written with a comma" in problem.message


@pytest.mark.parametrize("table", ["participants.tsv", "phenotype/clinic.tsv"])
def test_days_from_dates(tmp_path, table):
    write(
        tmp_path / table,
        ("participant_id", "onset_date", "first_infusion_date"),
        ("sub-1", "2024-02-28", "2024-04-15"),
    )
    found = sessions(
        tmp_path,
        ("session_id", "acq_time"),
        ("ses-1", "2024-03-01T23:59:00"),
        ("ses-2", "2024-04-15"),
        dates=dates_of(tmp_path),
    )
    # 2024 is a leap year.
    assert found.days == {"ses-1": Days(2, -45), "ses-2": Days(47, 0)}
    assert not found.problems


def test_days_as_given_win_over_dates(tmp_path):
    write(tmp_path / "participants.tsv", ("participant_id", "onset_date"), ("sub-1", "2024-01-01"))
    found = sessions(
        tmp_path,
        ("session_id", "days_from_onset", "acq_time"),
        ("ses-1", "40", "2024-01-31"),
        dates=dates_of(tmp_path),
    )
    assert found.days == {"ses-1": Days(40, None)}


def test_no_date_is_shown_whatever_is_wrong(tmp_path):
    secrets = ("2023-07-19", "19/07/2023", "2023-08-01", "1.9.2023")
    write(
        tmp_path / "participants.tsv",
        ("participant_id", "onset_date", "first_infusion_date"),
        ("sub-1", secrets[0], secrets[1]),
    )
    write(tmp_path / "phenotype" / "a.tsv", ("participant_id", "onset_date"), ("1", secrets[2]))
    dates, problems = read_clinical_dates(tmp_path)
    found = sessions(
        tmp_path,
        ("session_id", "acq_time", "days_from_infusion"),
        ("ses-1", secrets[3], secrets[1]),
        dates=dates["sub-1"],
    )
    messages = [p.message for p in (*problems, *found.problems)]
    assert [m.split(": ", 1)[1] for m in messages] == [
        "first_infusion_date is not a date written YYYY-MM-DD",
        "onset_date contradicts another row; the first is used",
        "acq_time is not a date written YYYY-MM-DD",
        "days_from_infusion is not a number",
    ]
    shown = repr((dates, problems, found))
    assert not any(secret in shown for secret in secrets)
    assert found.days == {"ses-1": Days(None, None)}


def test_a_visit_listed_twice_is_an_error_of_that_visit(tmp_path):
    found = sessions(
        tmp_path, ("session_id", "days_from_onset"), ("ses-1", "45"), ("ses-2", "90"), ("ses-1", "46")
    )
    (problem,) = found.problems
    assert (problem.level, problem.participant_id, problem.session_id) == ("error", "sub-1", "ses-1")
    assert "sub-1_sessions.tsv line 4: ses-1 is listed twice" in problem.message
    assert found.days["ses-1"] == Days(45, None)


def test_an_unsafe_session_label_is_an_error(tmp_path):
    found = sessions(tmp_path, ("session_id", "days_from_onset"), ("ses-../../etc", "45"))
    assert not found.days
    assert [p.level for p in found.problems] == ["error"]
    assert "not a BIDS label" in found.problems[0].message


def test_no_table_is_a_note_and_a_bad_one_a_warning(tmp_path):
    assert [p.level for p in read_timeline(tmp_path, "sub-1", ClinicalDates()).problems] == ["note"]
    found = sessions(tmp_path, ("session_id,days_from_onset",))
    assert [p.level for p in found.problems] == ["warning"]
    write(tmp_path / "participants.tsv", ("participant_id;onset_date",))
    assert [p.level for p in read_clinical_dates(tmp_path)[1]] == ["warning"]


def test_an_odd_table_is_remarked(tmp_path):
    found = sessions(tmp_path, ("session_id", "days_from_onset"), ("ses-1", "45", "stray"))
    assert "more cells than columns" in found.problems[0].message


def order(days):
    names, problems = order_sessions("sub-1", days)
    return names, [p.message for p in problems if p.level == "warning"]


def test_order_is_by_days_not_by_label():
    names, messages = order({"ses-b": Days(45), "ses-a": Days(410), "ses-c": Days(135)})
    assert names == ["ses-b", "ses-c", "ses-a"]
    assert not messages


def test_order_by_infusion_where_onset_is_not_known_everywhere():
    names, messages = order({"ses-a": Days(None, 90), "ses-b": Days(45, -2)})
    assert names == ["ses-b", "ses-a"]
    assert messages == [
        "sub-1 ses-a: days since onset not known; visits are ordered by days since the first infusion"
    ]


def test_order_by_label_where_no_clock_has_all_visits():
    names, messages = order({"ses-b": Days(45), "ses-a": Days(None, 3)})
    assert names == ["ses-a", "ses-b"]
    assert messages == ["sub-1 ses-a: days since onset not known; visits are ordered by label"]


@pytest.mark.parametrize(
    ("days", "what"),
    [
        ({"ses-1": Days(-3), "ses-2": Days(50)}, "-3 days since onset"),
        ({"ses-a": Days(50), "ses-b": Days(50)}, "ses-a and ses-b took place on the same day"),
        ({"ses-2": Days(45), "ses-10": Days(30)}, "by its days ses-2 comes after ses-10"),
        (
            {"ses-a": Days(45, -2), "ses-b": Days(225, 170)},
            "ses-b: onset and first infusion are 55 days apart",
        ),
    ],
)
def test_days_that_contradict_are_warned_of(days, what):
    _, messages = order(days)
    assert len(messages) == 1
    assert what in messages[0]


def test_numbered_labels_compare_as_numbers():
    assert not order({"ses-visit2": Days(45), "ses-visit10": Days(90), "ses-visit011": Days(91)})[1]


def test_participants_table_against_folders(tmp_path):
    write(
        tmp_path / "participants.tsv",
        ("participant_id", "age"),
        ("sub-1", "60"),
        ("sub-1", "60"),
        ("sub-3", "70"),
        ("sub-<b>x</b>", "5"),
    )
    problems = check_participants_table(tmp_path, ["sub-1", "sub-2"])
    assert [(p.level, p.participant_id) for p in problems] == [
        ("error", None),
        ("warning", "sub-1"),
        ("note", "sub-3"),
        ("note", "sub-2"),
    ]
    assert problems[0].message.startswith("participants.tsv line 5: sub-<b>x</b> is not a BIDS label")


def test_without_participants_table(tmp_path):
    assert [p.level for p in check_participants_table(tmp_path, ["sub-1"])] == ["note"]
    write(tmp_path / "participants.tsv", ("participant_id;age",))
    assert check_participants_table(tmp_path, ["sub-1"]) == ()
