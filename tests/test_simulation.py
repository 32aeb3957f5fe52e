"""The simulation of a cluster, where its outcome can be worked out by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "benchmarks" / "schedule_simulation.py"
FREE = {"read_gb": 0.0, "write_gb": 0.0, "table_seconds": 0.0, "startup_seconds": 0.0, "group_seconds": 0.0}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("schedule_simulation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def hours(script, cluster, **costs):
    whole = script.Costs(cpu_seconds=100.0, spread=0.0, parallel=0.0, **{**FREE, **costs})
    plain = {"failure_rate": 0.0, "dispatch_per_second": 1e9, "nprocs": 1, "cores": 1, "tables": "end"}
    one = script.Simulation(script.Cluster(**{**plain, **cluster}), whole, visits=100, seed=1)
    one.run()
    return one.time


def test_time_is_work_over_places(script):
    # Twenty participants with five visits of 100 s each.
    assert hours(script, {"nodes": 1}) == pytest.approx(20 * 500, rel=1e-6)
    assert hours(script, {"nodes": 10}) == pytest.approx(2 * 500, rel=1e-6)
    assert hours(script, {"nodes": 10, "array_limit": 5}) == pytest.approx(4 * 500, rel=1e-6)


def test_one_file_system_is_shared_by_all(script):
    # Ten at a time read 5 GB each from 1 GB/s: 50 s together, then compute; twice.
    found = hours(script, {"nodes": 10, "file_system_gb_s": 1.0}, read_gb=1.0)
    assert found == pytest.approx(2 * (50 + 500), rel=1e-3)


def test_tables_by_turns_and_shared(script):
    # All twenty end at once. In turns: 1 s for each visit in the tables so far, 5 + 10 + ... + 100.
    turns = hours(script, {"nodes": 20, "tables": "each"}, table_seconds=1.0)
    assert turns == pytest.approx(500 + sum(range(5, 101, 5)), rel=1e-3)
    # Shared: one goes first with its own five visits, the other nineteen follow together.
    shared = hours(script, {"nodes": 20, "tables": "shared"}, table_seconds=1.0)
    assert shared == pytest.approx(500 + 5 + 100, rel=1e-3)


def test_the_killed_are_run_again_and_everyone_is_done(script):
    cluster = script.Cluster(failure_rate=0.5)
    one = script.Simulation(cluster, script.Costs(), visits=500, seed=1)
    one.run()
    assert all(task.finished for task in one.tasks)
    assert one.kills > 50
    assert one.rounds > 3
