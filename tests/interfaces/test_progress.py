from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from mripipe.interfaces import step as step_module
from mripipe.interfaces.digests import file_digest
from mripipe.interfaces.progress import Progress
from mripipe.interfaces.record import PlannedStep


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def node(folder, name):
    result = SimpleNamespace(runtime=SimpleNamespace(duration=12.34))
    interface = SimpleNamespace(label=f"sub-1 ses-a {name}", visit=("sub-1", "ses-a"), step=name)
    return SimpleNamespace(output_dir=lambda: str(folder / name), interface=interface, result=result)


def told(folder, stream, names=("one", "two"), **options):
    steps = tuple(
        PlannedStep("sub-1", "ses-a", n, "to do", "", folder / n / "result.json", f"m:{n}") for n in names
    )
    progress = Progress(steps, logs=folder / "logs", stop_on_failure=False, stream=stream)
    for name in names:
        (folder / name).mkdir()
        progress(node(folder, name), "start")
        (folder / name / "result.json").write_text("{}")
        progress(node(folder, name), "end")
    return stream.getvalue()


def test_lines_alone_where_there_is_no_terminal(tmp_path):
    assert told(tmp_path, io.StringIO()) == (
        "sub-1  ses-a  one  12.3 s  [1/2]\nsub-1  ses-a  two  12.3 s  [2/2]\n"
    )


def test_a_bar_on_a_terminal_that_is_gone_at_the_end(tmp_path):
    text = told(tmp_path, Terminal())
    assert f"|{'#' * 15}{'.' * 15}|\r" in text
    assert text.endswith("[2/2]\n\x1b[K")


def test_a_step_that_was_done_already_is_not_mentioned(tmp_path):
    stream = io.StringIO()
    progress = Progress((), logs=tmp_path, stop_on_failure=False, stream=stream)
    progress(node(tmp_path, "one"), "end")
    assert stream.getvalue() == ""


def test_after_ctrl_c_in_a_step_nothing_more_is_started(tmp_path, monkeypatch):
    # nipype takes the interrupt of a step for its failure and would go on with the next.
    monkeypatch.setattr(step_module, "interrupted", True)
    progress = Progress((), logs=tmp_path, stop_on_failure=False, stream=io.StringIO())
    with pytest.raises(KeyboardInterrupt):
        progress(node(tmp_path, "one"), "exception")


def test_a_digest_follows_the_content(tmp_path):
    path = tmp_path / "a"
    assert file_digest(path) is None
    path.write_text("one")
    first = file_digest(path)
    path.write_text("two!")
    assert file_digest(path) not in (None, first)
