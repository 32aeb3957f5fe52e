"""What a result depends on: files by content, code by what a step's module really imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mripipe.interfaces import digests
from mripipe.interfaces.digests import code_digest, code_parts, file_digest, known_digests, recall_digests

STEPS = (
    "mripipe.steps.anatomical:prepare_visit",
    "mripipe.steps.lesion:segment_visit",
    "mripipe.steps.lesion_in_time:segment_in_time",
    "mripipe.steps.longitudinal:align_visits",
    "mripipe.steps.normalisation:normalise_visit",
    "mripipe.steps.measure:measure_visit",
    "mripipe.steps.diffusion:fit_diffusion",
    "mripipe.steps.tracts:measure_tracts",
)
ALL = {step.partition(":")[2] for step in STEPS}


@pytest.fixture(autouse=True)
def _forget():
    """Let no test see what another has learnt of files or code."""
    functions = (code_parts, code_digest)
    for function in functions:
        function.cache_clear()
    before = dict(digests._known)
    yield
    digests._known.clear()
    digests._known.update(before)
    for function in functions:
        function.cache_clear()


def edited(monkeypatch, ending):
    """Have one file of the package look as if it were edited."""
    real = digests.file_digest
    monkeypatch.setattr(
        digests, "file_digest", lambda path: "edited" if str(path).endswith(ending) else real(path)
    )


def test_what_a_step_imports_when_it_runs_is_all_there():
    script = "import sys, {}; print(*(m for m in sys.modules if m.startswith('mripipe.')))"
    for step in ("mripipe.steps.tracts", "mripipe.steps.normalisation"):
        done = subprocess.run(
            [sys.executable, "-c", script.format(step)], capture_output=True, text=True, check=True
        )
        loaded = set(done.stdout.split())
        assert {step, "mripipe.core.grid"} <= loaded
        assert loaded <= set(code_parts(f"{step}:x"))


@pytest.mark.parametrize("step", STEPS)
def test_no_step_depends_on_statistics_reports_or_the_command_line(step):
    rooms = {name.split(".")[1] for name in code_parts(step) if name.startswith("mripipe.")}
    assert not rooms & {"stats", "reports", "figures", "cli", "workflows", "interfaces"}


@pytest.mark.parametrize(
    ("ending", "touched", "spared"),
    [
        ("core/lesion.py", {"segment_visit"}, {"align_visits", "fit_diffusion"}),
        ("core/tensor.py", {"fit_diffusion"}, {"prepare_visit", "segment_visit", "align_visits"}),
        ("atlases/arterial_territories.nii.gz", {"segment_visit", "measure_visit"}, {"align_visits"}),
        ("reports/subject.py", set(), ALL),
        ("stats/models.py", set(), ALL),
        ("model/default_protocol.toml", set(), ALL),
    ],
)
def test_an_edit_changes_the_steps_that_run_it_and_no_other(monkeypatch, ending, touched, spared):
    before = {step: code_digest(step) for step in STEPS}
    code_parts.cache_clear()
    code_digest.cache_clear()
    edited(monkeypatch, ending)
    changed = {step.partition(":")[2] for step in STEPS if code_digest(step) != before[step]}
    assert touched <= changed
    assert not spared & changed


def test_a_library_counts_where_it_is_imported(monkeypatch):
    parts = code_parts("mripipe.steps.longitudinal:align_visits")
    assert {"numpy", "picsl-greedy"} <= set(parts)
    assert "dipy" not in parts
    before = code_digest("mripipe.steps.longitudinal:align_visits")
    code_parts.cache_clear()
    code_digest.cache_clear()
    monkeypatch.setattr(digests, "library_versions", lambda: dict.fromkeys(digests.LIBRARIES.values(), "0"))
    assert code_digest("mripipe.steps.longitudinal:align_visits") != before


def test_imports_for_the_type_checker_do_not_count(tmp_path, monkeypatch):
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from mripipe.core.bias import x\n"
        "else:\n    from mripipe.core.grid import y\n"
        "def f():\n    from mripipe.core import rigid\n    import scipy.ndimage\n"
    )
    (tmp_path / "somemodule.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert digests._imported("somemodule") == ("mripipe.core.grid", "mripipe.core.rigid", "scipy", "typing")


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match="nosuchmodule"):
        code_parts("nosuchmodule:f")


def test_a_file_is_read_again_where_its_size_or_dates_are_others(tmp_path):
    path = tmp_path / "a"
    assert file_digest(path) is None
    path.write_text("one")
    first, dates = file_digest(path), path.stat()
    path.write_text("two")
    # The same size and, as after a careful copy, the same date of content.
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert file_digest(path) not in (None, first)


def test_digests_of_an_earlier_process_spare_the_reading(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("one")
    digest = file_digest(path)
    assert known_digests([str(path)]) == {}, "it was written a moment ago and may be so again"
    monkeypatch.setattr(digests, "SETTLED_NS", -1)
    stored = known_digests([str(path), "/not/there"])
    assert list(stored) == [str(path)]
    digests._known.clear()
    recall_digests(stored)
    monkeypatch.setattr(digests.hashlib, "file_digest", lambda *_: pytest.fail("it was read"))
    assert file_digest(path) == digest


def test_a_digest_that_was_stored_for_another_state_of_the_file_does_not_count(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    recall_digests({str(path): [3, 1, 1, 1, "wrong"], str(Path("/short")): [1]})
    assert file_digest(path) not in (None, "wrong")
