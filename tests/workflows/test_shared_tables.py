"""Tables that all runs into one folder share: no row is lost, and those who wait share one writing."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from mripipe.interfaces.engine import Execution
from mripipe.model.settings import Settings
from mripipe.workflows import run as module


def run(trial, study):
    execution = Execution(plugin="linear")
    return module.run_participants(
        study, trial.out, work_dir=trial.work, settings=Settings(), execution=execution
    )


def listed(trial):
    lines = (trial.out / "lesion_volumes.tsv").read_text().splitlines()[1:]
    return [line.split("\t")[0] for line in lines]


def test_runs_that_wait_for_the_tables_share_one_writing(trial, monkeypatch):
    both = trial.study()
    parts = [replace(both, subjects=(subject,)) for subject in both.subjects]
    locked, written = module._tables_locked, []
    write = module.write_tables
    monkeypatch.setattr(module, "write_tables", lambda out_dir: written.append(1) or write(out_dir))

    @contextlib.contextmanager
    def late(out_dir):
        # While this run waits for its turn, another one has its own, from the first line to the last.
        monkeypatch.setattr(module, "_tables_locked", locked)
        run(trial, parts[1])
        with locked(out_dir):
            yield

    monkeypatch.setattr(module, "_tables_locked", late)
    run(trial, parts[0])
    assert len(written) == 1
    assert listed(trial) == ["sub-1", "sub-1", "sub-2", "sub-2"]
    assert not list((trial.out / "logs" / "locks").glob("*.unlisted"))
    before = trial.files()
    run(trial, both)
    assert trial.files() == before


def test_a_participant_published_while_the_tables_are_written_is_not_taken_for_listed(trial, monkeypatch):
    both = trial.study()
    part = replace(both, subjects=both.subjects[:1])
    run(trial, part)
    mark = module._unlisted_file(trial.out, "sub-1")
    write = module.write_tables

    def meanwhile(out_dir):
        found = write(out_dir)
        mark.write_text("another")
        return found

    monkeypatch.setattr(module, "write_tables", meanwhile)
    run(trial, trial.study(days=46.0))
    assert mark.read_text() == "another"
