"""What a cluster plugin of nipype's is not let do; `tests/slurm` has the rest on a real cluster."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from nipype.pipeline import plugins

from mripipe.errors import RequestError
from mripipe.interfaces.cluster import guarded_plugin


@pytest.mark.parametrize("name", ["SLURMGraph", "SGEGraph", "PBSGraph"])
def test_a_plugin_that_does_not_wait_for_its_jobs_is_refused(name):
    with pytest.raises(RequestError, match=f"returns before its jobs have ended; give {name[:-5]}, or use"):
        guarded_plugin(getattr(plugins, f"{name}Plugin"), {})


def test_a_plugin_without_jobs_is_left_as_it_is():
    assert type(guarded_plugin(plugins.LinearPlugin, {})) is plugins.LinearPlugin


@pytest.mark.parametrize("name", ["SLURM", "SGE", "PBS", "LSF"])
def test_every_plugin_with_jobs_is_guarded(name, tmp_path, monkeypatch):
    # SGE's asks for its queue at once, again and again for most of a minute where there is none.
    monkeypatch.setattr("time.sleep", lambda _: None)
    plugin = guarded_plugin(getattr(plugins, f"{name}Plugin"), {})
    node = SimpleNamespace(output_dir=lambda: f"{tmp_path}/100%")
    with pytest.raises(RequestError, match="stop at a '%' in a folder's name"):
        plugin._submit_batchtask("script.sh", node)


def test_the_older_result_goes_and_a_failed_submission_is_a_refusal(tmp_path, monkeypatch):
    plugin = guarded_plugin(plugins.PBSPlugin, {})

    def refuse(*_):
        raise IndexError("list index out of range")

    monkeypatch.setattr(plugins.PBSPlugin, "_submit_batchtask", refuse)
    old = tmp_path / "result_prepare.pklz"
    old.touch()
    node = SimpleNamespace(output_dir=lambda: str(tmp_path), interface=SimpleNamespace(label="sub-1 prepare"))
    with pytest.raises(RequestError, match="refused the job of sub-1 prepare: list index out of range"):
        plugin._submit_batchtask("script.sh", node)
    assert not old.exists()
