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
            Batch(self, [i for i, task in enumerate(self.tasks) if not task.finished]).run()
            if self.cluster.tables == "end":
                self.time += self.costs.table_seconds * self.visits
            self.time += self.costs.group_seconds * self.visits


class Batch:
    """One array from its first task to its last. Events are (time, order, kind, task)."""

    def __init__(self, whole: Simulation, waiting: list[int]) -> None:
        self.whole, self.waiting = whole, waiting
        self.events: list[tuple[float, int, str, int]] = []
        self.order = iter(range(10**9))
        self.started: dict[int, float] = {}
        self.running, self.dispatch_free = 0, whole.time
        self.table_queue: list[tuple[float, int]] = []
        self.table_held: list[int] = []
        self.moving: dict[int, str] = {}
        """What comes when a task has moved its data."""
        self.doomed: dict[int, float] = {}
        """Share of its computing after which a task is killed."""

    def run(self) -> None:
        """Go from event to event until nothing is left to come."""
        happens = {
            "read": self._read,
            "compute": self._compute,
            "computed": self._computed,
            "written": self._written,
            "tables": self._tables,
        }
        self._start_more()
        while self.events or self.whole.disk.movers:
            kind, who = self._next()
            happens[kind](who)

    def _next(self) -> tuple[str, int]:
        """Move the clock to what comes first: an event, or the end of someone's moving data."""
        whole = self.whole
        disk_end = whole.disk.next_end()
        if self.events and self.events[0][0] <= disk_end:
            whole.time, _, kind, who = heapq.heappop(self.events)
            whole.disk.advance(whole.time)
            return kind, who
        whole.time = disk_end
        whole.disk.advance(whole.time)
        who = heapq.heappop(whole.disk.movers)[1]
        return self.moving[who], who

    def _push(self, when: float, kind: str, who: int) -> None:
        heapq.heappush(self.events, (when, next(self.order), kind, who))

    def _start_more(self) -> None:
        whole = self.whole
        while self.waiting and self.running < whole.cluster.slots:
            who = self.waiting.pop(0)
            self.running += 1
            self.dispatch_free = max(self.dispatch_free, whole.time) + 1 / whole.cluster.dispatch_per_second
            self.started[who] = self.dispatch_free
            self._push(self.dispatch_free + whole.costs.startup_seconds, "read", who)

    def _end(self, who: int) -> None:
        self.running -= 1
        self.whole.core_seconds += (self.whole.time - self.started[who]) * self.whole.cluster.nprocs
        self._start_more()

    def _read(self, who: int) -> None:
        self.moving[who] = "compute"
        self.whole.disk.add(self.whole.costs.read_gb * VISITS_A_PARTICIPANT, who)

    def _compute(self, who: int) -> None:
        whole = self.whole
        if whole.random.random() < whole.cluster.failure_rate:
            self.doomed[who] = whole.random.random()
        self._push(whole.time + whole.tasks[who].compute_left * self.doomed.get(who, 1.0), "computed", who)

    def _computed(self, who: int) -> None:
        whole, task = self.whole, self.whole.tasks[who]
        whole.used_core_seconds += task.compute_left * self.doomed.get(who, 1.0) * whole.cluster.nprocs
        if who in self.doomed:
            # Whole steps are kept: about nine tenths of what was computed.
            task.compute_left *= 1 - 0.9 * self.doomed[who]
            whole.kills += 1
            self._end(who)
        else:
            self.moving[who] = "written"
            whole.disk.add(whole.costs.write_gb * VISITS_A_PARTICIPANT, who)

    def _written(self, who: int) -> None:
        if self.whole.cluster.tables == "end":
            self.whole.tasks[who].finished = True
            self._end(who)
        else:
            self.table_queue.append((self.whole.time, who))
            self._open_tables()

    def _open_tables(self) -> None:
        if self.table_held or not self.table_queue:
            return
        whole = self.whole
        take = len(self.table_queue) if whole.cluster.tables == "shared" else 1
        for since, who in self.table_queue[:take]:
            whole.table_wait += whole.time - since
            whole.peak_wait = max(whole.peak_wait, whole.time - since)
            self.table_held.append(who)
        del self.table_queue[:take]
        done = sum(task.finished for task in whole.tasks) * VISITS_A_PARTICIPANT
        seconds = whole.costs.table_seconds * (done + len(self.table_held) * VISITS_A_PARTICIPANT)
        whole.table_busy += seconds
        self._push(whole.time + seconds, "tables", self.table_held[0])

    def _tables(self, _: int) -> None:
        for one in self.table_held:
            self.whole.tasks[one].finished = True
            self._end(one)
        self.table_held.clear()
        self._open_tables()


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
