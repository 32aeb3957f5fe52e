"""Simulate a trial on a cluster: what saturates first, and what changing it would bring.

    python scripts/benchmarks/schedule_simulation.py [--visits 10000] [--scenario NAME ...]

A discrete-event simulation of `mripipe batch`: one array task a participant, ``nprocs`` steps at a time
inside, then the group stage. A task waits for a place (cores, memory, the array's limit), reads its images,
computes, writes its files, and writes the tables that all tasks share, one task at a time. All share one file
system, whose bandwidth is divided evenly among those that move data. Tasks die by chance and are
submitted again when the batch has ended, and take up where their last whole step was.

Costs are those measured; `docs/cluster.md` says how, and what came of it. The random numbers are seeded: the
same command prints the same table.
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass, replace

VISITS_A_PARTICIPANT = 5


@dataclass(frozen=True)
class Costs:
    """Of a full-size visit with T1w, FLAIR and diffusion, unless it says otherwise."""

    cpu_seconds: float = 190.0
    """Middle of what was measured on an idle and on a busy machine."""
    spread: float = 0.2
    """Standard deviation of a task's time over its mean."""
    parallel: float = 0.8
    """Share of a participant's work that a second process halves; the rest waits for all visits."""
    read_gb: float = 0.052
    write_gb: float = 0.29
    """Intermediate and published files."""
    table_seconds: float = 0.023
    """Of rebuilding the tables, for each visit that they hold."""
    startup_seconds: float = 8.0
    """Scheduler, container and imports."""
    group_seconds: float = 0.17
    """Group stage, for each visit."""


@dataclass(frozen=True)
class Cluster:
    """What a batch meets."""

    nodes: int = 20
    cores: int = 32
    memory_gb: float = 128.0
    file_system_gb_s: float = 1.0
    array_limit: int | None = None
    failure_rate: float = 0.01
    """Chance that a task is killed somewhere."""
    dispatch_per_second: float = 5.0
    """Tasks that the scheduler starts a second."""
    tables: str = "each"
    """``each``: every task rebuilds the tables; ``shared``: those that wait share one rebuild; ``end``: the
    group stage alone."""
    nprocs: int = 2
    task_gb: float = 5.0

    @property
    def slots(self) -> int:
        """Tasks that fit at the same time."""
        a_node = min(self.cores // self.nprocs, int(self.memory_gb // self.task_gb))
        return min(self.nodes * a_node, self.array_limit or 10**9)


@dataclass
class Task:
    """One participant."""

    compute_left: float
    finished: bool = False


class FileSystem:
    """One pipe whose bandwidth is divided evenly: kept as the service that each mover has had so far."""

    def __init__(self, gb_s: float) -> None:
        self.gb_s, self.now, self.service, self.busy = gb_s, 0.0, 0.0, 0.0
        self.movers: list[tuple[float, int]] = []

    def advance(self, now: float) -> None:
        """Serve everyone until a moment."""
        if self.movers:
            self.service += (now - self.now) * self.gb_s / len(self.movers)
            self.busy += now - self.now
        self.now = now

    def add(self, gb: float, who: int) -> None:
        """Let a task move data from now on."""
        heapq.heappush(self.movers, (self.service + gb, who))

    def next_end(self) -> float:
        """Return when the first of those who move data will be done."""
        if not self.movers:
            return float("inf")
        return self.now + max(0.0, self.movers[0][0] - self.service) * len(self.movers) / self.gb_s


class Simulation:
    """One batch after the other until everyone is done."""

    def __init__(self, cluster: Cluster, costs: Costs, visits: int, seed: int) -> None:
        self.cluster, self.costs, self.random = cluster, costs, random.Random(seed)
        n = -(-visits // VISITS_A_PARTICIPANT)
        self.tasks = [Task(self._compute_seconds()) for _ in range(n)]
        self.visits = visits
        self.time = self.core_seconds = self.used_core_seconds = self.table_wait = 0.0
        self.table_busy, self.kills, self.rounds, self.peak_wait = 0.0, 0, 0, 0.0
        self.disk = FileSystem(cluster.file_system_gb_s)

    def _compute_seconds(self) -> float:
        costs, n = self.costs, self.cluster.nprocs
        mean = VISITS_A_PARTICIPANT * costs.cpu_seconds
        share = costs.parallel / min(n, VISITS_A_PARTICIPANT) + 1 - costs.parallel
        return max(0.3, self.random.gauss(1.0, costs.spread)) * mean * share

    def run(self) -> None:
        """Run batches until everyone is done."""
        while any(not task.finished for task in self.tasks):
            self.rounds += 1
            self._batch([i for i, task in enumerate(self.tasks) if not task.finished])
            if self.cluster.tables == "end":
                self.time += self.costs.table_seconds * self.visits
            self.time += self.costs.group_seconds * self.visits

    def _batch(self, waiting: list[int]) -> None:
        """Run one array to its end. Events are (time, order, kind, task)."""
        events: list[tuple[float, int, str, int]] = []
        order = iter(range(10**9))
        started: dict[int, float] = {}
        running, dispatch_free = 0, self.time
        table_queue: list[tuple[float, int]] = []
        table_held: list[int] = []
        stage: dict[int, str] = {}
        doomed: dict[int, float] = {}

        def push(when: float, kind: str, who: int) -> None:
            heapq.heappush(events, (when, next(order), kind, who))

        def start_more() -> None:
            nonlocal running, dispatch_free
            while waiting and running < self.cluster.slots:
                who = waiting.pop(0)
                running += 1
                dispatch_free = max(dispatch_free, self.time) + 1 / self.cluster.dispatch_per_second
                started[who] = dispatch_free
                push(dispatch_free + self.costs.startup_seconds, "read", who)

        def end(who: int) -> None:
            nonlocal running
            running -= 1
            self.core_seconds += (self.time - started[who]) * self.cluster.nprocs
            start_more()

        def open_tables() -> None:
            if table_held or not table_queue:
                return
            take = len(table_queue) if self.cluster.tables == "shared" else 1
            for since, who in table_queue[:take]:
                self.table_wait += self.time - since
                self.peak_wait = max(self.peak_wait, self.time - since)
                table_held.append(who)
            del table_queue[:take]
            done = sum(task.finished for task in self.tasks) * VISITS_A_PARTICIPANT
            seconds = self.costs.table_seconds * (done + len(table_held) * VISITS_A_PARTICIPANT)
            self.table_busy += seconds
            push(self.time + seconds, "tables", table_held[0])

        start_more()
        while events or self.disk.movers:
            disk_end = self.disk.next_end()
            if events and events[0][0] <= disk_end:
                self.time, _, kind, who = heapq.heappop(events)
                self.disk.advance(self.time)
            else:
                self.time = disk_end
                self.disk.advance(self.time)
                who = heapq.heappop(self.disk.movers)[1]
                kind = {"read": "compute", "write": "written"}[stage[who]]
            task = self.tasks[who]
            if kind == "read":
                stage[who] = "read"
                self.disk.add(self.costs.read_gb * VISITS_A_PARTICIPANT, who)
            elif kind == "compute":
                if self.random.random() < self.cluster.failure_rate:
                    doomed[who] = self.random.random()
                push(self.time + task.compute_left * doomed.get(who, 1.0), "computed", who)
            elif kind == "computed":
                self.used_core_seconds += task.compute_left * doomed.get(who, 1.0) * self.cluster.nprocs
                if who in doomed:
                    # Whole steps are kept: about nine tenths of what was computed.
                    task.compute_left *= 1 - 0.9 * doomed[who]
                    self.kills += 1
                    end(who)
                else:
                    stage[who] = "write"
                    self.disk.add(self.costs.write_gb * VISITS_A_PARTICIPANT, who)
            elif kind == "written":
                if self.cluster.tables == "end":
                    task.finished = True
                    end(who)
                else:
                    table_queue.append((self.time, who))
                    open_tables()
            elif kind == "tables":
                for one in table_held:
                    self.tasks[one].finished = True
                    end(one)
                table_held.clear()
                open_tables()


SCENARIOS: dict[str, Cluster] = {
    "as it is": Cluster(),
    "tables by each task": Cluster(tables="each"),
    "tables in the group stage": Cluster(tables="end"),
    "array limit 50": Cluster(array_limit=50),
    "disk 0.5 GB/s": Cluster(file_system_gb_s=0.5),
    "disk 0.2 GB/s": Cluster(file_system_gb_s=0.2),
    "100 nodes": Cluster(nodes=100),
    "100 nodes, 5 GB/s": Cluster(nodes=100, file_system_gb_s=5.0),
    "1 process a task": Cluster(nprocs=1, task_gb=2.8),
    "4 processes a task": Cluster(nprocs=4, task_gb=9.4),
    "one task in ten killed": Cluster(failure_rate=0.1),
}


def main() -> None:
    """Print a line for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--visits", type=int, default=10_000)
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--tables", choices=("each", "shared", "end"), default="shared")
    given = parser.parse_args()
    head = "scenario", "tasks at once", "hours", "visits/core-h", "cores used", "disk busy", "tables busy"
    print("\t".join((*head, "longest wait s", "killed", "rounds")))
    for name in given.scenario:
        cluster = SCENARIOS[name]
        if not name.startswith("tables"):
            cluster = replace(cluster, tables=given.tables)
        one = Simulation(cluster, Costs(), given.visits, seed=1)
        one.run()
        cells = [
            name,
            str(cluster.slots),
            f"{one.time / 3600:.2f}",
            f"{given.visits / (one.core_seconds / 3600):.1f}",
            f"{100 * one.used_core_seconds / one.core_seconds:.0f} %",
            f"{100 * one.disk.busy / one.time:.0f} %",
            f"{100 * one.table_busy / one.time:.0f} %",
            f"{one.peak_wait:.0f}",
            str(one.kills),
            str(one.rounds),
        ]
        print("\t".join(cells), flush=True)


if __name__ == "__main__":
    main()
