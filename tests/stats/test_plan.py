"""Plans are read strictly: a typing error in a plan must not become an analysis nobody asked for."""

from __future__ import annotations

import hashlib

import pandas as pd
import pytest

from mripipe.errors import InputError, RequestError
from mripipe.stats.analysis import analyse
from mripipe.stats.formula import build_design, parse_formula
from mripipe.stats.plan import Association, Model, Plan, read_plan
from mripipe.stats.simulated import simulate_trial

TEXT = """
bootstrap = 500
columns = ["frailty"]
[windows.start]
clock = "days_from_onset"
start = 0
end = 60
target = 45
[[associations]]
x = "lesion_ml_start"
y = "mrs_start"
adjust = ["age"]
family = "primary"
[[models]]
name = "shift"
kind = "ordinal"
formula = "mrs_start ~ age + log1p(lesion_ml_start)"
[[unblinded]]
name = "arm"
kind = "ordinal"
formula = "mrs_start ~ arm"
"""


def write(tmp_path, text):
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plan_is_what_its_file_says(tmp_path):
    plan = read_plan(write(tmp_path, TEXT))
    assert plan.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert [w.name for w in plan.windows] == ["start"]
    assert plan.windows[0].target == 45
    assert plan.associations[0].adjust == ("age",)
    assert plan.associations[0].planned
    assert plan.models[0].planned
    assert plan.columns == ("frailty",)
    assert plan.bootstrap == 500
    assert Plan().sha256 is None


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("bootstrap = 500", "bootstraps = 500", "bootstraps"),
        ("bootstrap = 500", "bootstrap = 1", "bootstrap"),
        ("bootstrap = 500", 'bootstrap = "many"', "bootstrap"),
        ("bootstrap = 500", "sha256 = 'x'", "sha256"),
        (
            'kind = "ordinal"\nformula = "mrs_start ~ age',
            'kind = "probit"\nformula = "mrs_start ~ age',
            "probit|kind",
        ),
        ("log1p(lesion_ml_start)", "__import__('os')", "formula"),
        ('adjust = ["age"]', "adjust = [1]", "adjust"),
        ('clock = "days_from_onset"', 'clock = "sundial"', "clock"),
        ("end = 60", "end = 10", "start <= target <= end"),
        ('x = "lesion_ml_start"\n', "", "x"),
        ('name = "arm"', 'name = "shift"', "twice"),
        ("[windows.start]", '[windows."a b"]', "letters and digits"),
        ('family = "primary"', "planned = true", "planned"),
    ],
)
def test_a_typing_error_is_refused_by_name(tmp_path, old, new, word):
    assert old in TEXT
    with pytest.raises(RequestError, match=word):
        read_plan(write(tmp_path, TEXT.replace(old, new, 1)))


@pytest.mark.parametrize("text", ["not toml [", "windows = 3", "associations = 3", "models = [3]"])
def test_a_file_that_is_no_plan_is_refused(tmp_path, text):
    with pytest.raises(RequestError):
        read_plan(write(tmp_path, text))


def test_a_plan_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RequestError, match="not a readable TOML file"):
        read_plan(tmp_path / "none.toml")


def test_a_prediction_needs_what_it_adds(tmp_path):
    text = '[[models]]\nname = "p"\nkind = "prediction"\nformula = "y ~ x"\n'
    with pytest.raises(RequestError, match="add"):
        read_plan(write(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    ["y", "y ~", "~ x", "y ~ x + ", "y ~ x - z", "y ~ np.log(x)", "y ~ x; import os", "y ~ log(log(x))",
     "y + z ~ x", "y ~ open('x')", "y ~ (x)", "y ~ x ** 2", "y ~ I(x)", "y ~ _x"],
)  # fmt: skip
def test_a_formula_runs_no_code(text):
    with pytest.raises(RequestError, match="expected outcome"):
        parse_formula(text)


def test_a_formula_keeps_its_variables_in_order():
    found = parse_formula("y ~ a*b + log(c) + a:d")
    assert (found.outcome, found.variables) == ("y", ("a", "b", "c", "d"))
    assert str(found) == "y ~ a*b + log(c) + a:d"


def test_a_design_has_interactions_categories_and_logarithms():
    table = pd.DataFrame(
        {"y": [1.0, 2, 3, None], "a": [1.0, 2, 3, 4], "sex": ["F", "M", "M", "F"], "v": [0.0, 1, 3, 7]}
    )
    found = build_design(parse_formula("y ~ a*sex + log1p(v)"), table)
    assert list(found.matrix) == ["sex[T.M]", "a", "a:sex[T.M]", "log1p(v)"]
    assert list(found.matrix["a:sex[T.M]"]) == [0, 2, 3]
    assert (found.n_missing, found.missing["y"]) == (1, 1)


def test_a_logarithm_of_nothing_is_refused():
    table = pd.DataFrame({"y": [1.0, 2.0], "v": [0.0, 1.0]})
    with pytest.raises(InputError, match="log1p"):
        build_design(parse_formula("y ~ log(v)"), table)


def test_no_complete_row_is_said():
    table = pd.DataFrame({"y": [1.0, None], "v": [None, 1.0]})
    with pytest.raises(InputError, match="no participant"):
        build_design(parse_formula("y ~ v"), table)


def test_what_is_not_in_the_plan_is_exploratory():
    rows, clinical = simulate_trial(3, patients=30)
    plan = Plan(
        bootstrap=20,
        assumption_resamples=2,
        repeats=2,
        associations=(Association(x="lesion_ml_baseline", y="mrs_day90"),),
        models=(Model(name="lesion_ml_course", kind="mixed", formula="lesion_ml ~ months"),),
    )
    found = analyse(rows, clinical, plan)
    marks = {(e.analysis, e.kind): e.planned for e in (*found.associations, *found.models)}
    assert marks["mrs_day90 with lesion_ml_baseline", "spearman"]
    assert marks["lesion_ml_course", "mixed"]
    assert not marks["mrs_day90 with lesion_ml_baseline", "partial_spearman"]
    assert not marks["mrs_shift", "ordinal"]
    # Neither stands twice: once in the plan, once among the usual ones.
    assert len(marks) == len({(e.analysis, e.kind, e.formula) for e in (*found.associations, *found.models)})
