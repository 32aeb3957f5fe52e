"""Break runs in every way at random moments; one more run must give the bytes of an undisturbed one.

    python scripts/benchmarks/faults.py FOLDER [--trials 20] [--only KIND ...]

The steps are toys, everything else is real: engine, worker processes, locks, publishing, tables, provenance.
While anything runs, a watcher reads every file of the output folder under its final name and notes each that
is not whole. Prints a line a kind: tried, survived, lost. Filling a disk, making one read-only and limiting
memory need root; without it these kinds are left out and said to be.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import faults_toy
from faults_toy import MEMORY_VARIABLE, build_subject, render_report, write_study

from mripipe.errors import RequestError
from mripipe.interfaces.engine import Execution
from mripipe.model.settings import Settings
from mripipe.workflows import run as run_module
from mripipe.workflows.run import run_participants

SEED = 7
PATIENTS, VISITS = 2, 2
FORKING = multiprocessing.get_context("fork")
PATIENCE_S = 300
TEN_YEARS_S = 10 * 365 * 86400
CGROUP = Path("/sys/fs/cgroup/memory/mripipe-faults")
MEMORY_MB = 1200


@dataclass
class Bench:
    """One study, one output folder, and what came out of it undisturbed."""

    root: Path
    random: random.Random
    nprocs: int = 2
    seconds: float = 0.0
    """How long an undisturbed run takes."""
    wanted: dict[str, bytes] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.root / "disk" / "out"

    @property
    def work(self) -> Path:
        """The work folder."""
        return self.root / "disk" / "work"

    def clear(self) -> None:
        """Start anew."""
        for folder in (self.out, self.work):
            shutil.rmtree(folder, ignore_errors=True)

    def published(self) -> dict[str, bytes]:
        """Return every file that users read, by name."""
        return {str(p.relative_to(self.out)): p.read_bytes() for p in final_files(self.out)}

    def start(self, name: str = "run", *, nprocs: int | None = None) -> multiprocessing.process.BaseProcess:
        """Start a run in a process of its own, which shares nothing but the folders."""
        wanted = nprocs or self.nprocs
        process = FORKING.Process(target=_run, args=(self, self.root / f"{name}.log", wanted))
        process.start()
        return process

    def finish(self) -> str:
        """Run to the end, in one process; return what is wrong with the result, or nothing."""
        process = self.start(nprocs=1)
        process.join(PATIENCE_S)
        if process.is_alive():
            kill_all(process.pid)
            return "hung"
        if process.exitcode:
            return f"exit {process.exitcode}: {last_line(self.root / 'run.log')}"
        found = self.published()
        other = [name for name in {*found, *self.wanted} if found.get(name) != self.wanted.get(name)]
        return f"other bytes: {', '.join(sorted(other)[:3])}" if other else ""


def _run(bench: Bench, log: Path, nprocs: int) -> None:
    """Be the main process: everything it says goes to a log."""
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    run_module.build_subject = build_subject
    run_module.render_report = render_report
    study = write_study(bench.root / "bids", PATIENTS, VISITS)
    execution = Execution(nprocs=nprocs, plugin="multiproc")
    try:
        outcome = run_participants(
            study, bench.out, work_dir=bench.work, settings=Settings(), execution=execution
        )
    except RequestError as error:
        print(error, flush=True)
        os._exit(2)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(1)
    for failure in outcome.failures:
        print(failure.message, flush=True)
    os._exit(1 if outcome.failures else 0)


def final_files(folder: Path) -> Iterator[Path]:
    """Yield the files that users read."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        if inside[0] not in ("logs", "work") and not path.name.endswith(".part") and path.is_file():
            yield path


def watch(folder: Path, torn: Path, stop: str) -> None:
    """Read every final file again and again; note those that are not whole."""
    while not os.path.exists(stop):
        with contextlib.suppress(OSError):
            for path in final_files(folder):
                with contextlib.suppress(FileNotFoundError):
                    wrong = not_whole(path.name, path.read_bytes())
                    if wrong:
                        with torn.open("a") as stream:
                            stream.write(f"{path}: {wrong}\n")
        time.sleep(0.002)


def not_whole(name: str, content: bytes) -> str:
    """Say what is missing of a file, or nothing."""
    try:
        if name.endswith(".gz"):
            gzip.decompress(content)
        elif name.endswith(".json"):
            json.loads(content)
        elif name.endswith(".tsv"):
            lines = content.decode().split("\n")
            if lines.pop() or len({line.count("\t") for line in lines}) != 1:
                return "rows of different lengths"
        elif name.endswith(".html"):
            return "" if content.endswith(b"</html>\n") else "no end"
        elif not content.endswith(b"\n"):
            return "no end of line"
    except (OSError, EOFError, ValueError) as error:
        return repr(error)
    return ""


def descendants(pid: int) -> list[int]:
    """Return every process below one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    found += [int(entry.name), *descendants(int(entry.name))]
    return found


def kill_all(pid: int | None) -> None:
    """Kill a process and all below it, as a scheduler does with a task."""
    assert pid is not None
    for one in [pid, *descendants(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def last_line(path: Path) -> str:
    """Return the last line of a log."""
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return lines[-1] if lines else ""


def killed_main(bench: Bench) -> str:
    """Kill the process that the user started, and no other."""
    process = bench.start()
    time.sleep(bench.random.uniform(0, bench.seconds))
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    return bench.finish()


def killed_task(bench: Bench) -> str:
    """Kill everything at once."""
    process = bench.start()
    time.sleep(bench.random.uniform(0, bench.seconds))
    kill_all(process.pid)
    process.join()
    return bench.finish()


def killed_worker(bench: Bench) -> str:
    """Kill one process that runs steps; its step must fail by name and the run go on."""
    process = bench.start()
    time.sleep(bench.random.uniform(0.2, 0.8) * bench.seconds)
    workers = descendants(process.pid or 0)
    if workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(bench.random.choice(workers), signal.SIGKILL)
    process.join(PATIENCE_S)
    if process.is_alive():
        kill_all(process.pid)
        return "hung"
    log = (bench.root / "run.log").read_text(errors="replace")
    if process.exitcode and "was killed" not in log:
        return f"not named: {last_line(bench.root / 'run.log')}"
    return bench.finish()


def work_lost(bench: Bench) -> str:
    """Lose some of the intermediate files, or all."""
    if wrong := bench.finish():
        return wrong
    files = sorted(path for path in bench.work.rglob("*") if path.is_file())
    share = bench.random.choice((0.02, 0.1, 0.5, 1.0))
    for path in files:
        if bench.random.random() < share:
            path.unlink()
    if share == 1.0:
        shutil.rmtree(bench.work)
    return bench.finish()


def skewed(bench: Bench) -> str:
    """Kill the run, then set the date of every file at random, some into the future."""
    process = bench.start()
    time.sleep(bench.random.uniform(0.3, 1) * bench.seconds)
    kill_all(process.pid)
    process.join()
    for path in [*(bench.root / "disk").rglob("*"), *(bench.root / "bids").rglob("*")]:
        date = time.time() + bench.random.uniform(-TEN_YEARS_S, TEN_YEARS_S)
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (date, date))
    return bench.finish()


def two_at_once(bench: Bench) -> str:
    """Start a second run while the first is at work."""
    first = bench.start("first")
    time.sleep(bench.random.uniform(0, bench.seconds / 2))
    second = bench.start("second")
    for process in (first, second):
        process.join(PATIENCE_S)
    codes = sorted((first.exitcode, second.exitcode), key=str)
    told = [last_line(bench.root / f"{name}.log") for name in ("first", "second")]
    if codes == [0, 2] and any("another run is at work here" in line for line in told):
        return bench.finish()
    return bench.finish() if codes == [0, 0] else f"exits {codes}: {told}"


def read_only_input(bench: Bench) -> str:
    """Make the input read-only."""
    bids = bench.root / "bids"
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in bids.rglob("*") if p.is_file()}
    mount("--bind", str(bids), str(bids))
    try:
        mount("-o", "remount,ro,bind", str(bids))
        wrong = bench.finish()
    finally:
        unmount(bids)
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in bids.rglob("*") if p.is_file()}
    return wrong or ("" if before == after else "the input was changed")


def disk_full(bench: Bench) -> str:
    """Let the disk of output and work folder fill up, then make room."""
    disk = bench.root / "disk"
    disk.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={bench.random.randint(100, 6500)}k", "tmpfs", str(disk))
    try:
        process = bench.start()
        process.join(PATIENCE_S)
        if process.is_alive():
            kill_all(process.pid)
            return "hung"
        if process.exitcode not in (0, 1, 2):
            return f"exit {process.exitcode}: {last_line(bench.root / 'run.log')}"
        log = (bench.root / "run.log").read_text(errors="replace")
        if process.exitcode and "No space left" not in log:
            return f"not named: {last_line(bench.root / 'run.log')}"
        mount("-o", "remount,size=200m", str(disk))
        return bench.finish()
    finally:
        unmount(disk)


def memory_limit(bench: Bench) -> str:
    """Have the kernel kill a worker that takes more than the group of processes may."""
    hungry = bench.root / "hungry"
    hungry.touch()
    os.environ[MEMORY_VARIABLE] = str(hungry)
    CGROUP.mkdir(exist_ok=True)
    (CGROUP / "memory.limit_in_bytes").write_text(f"{MEMORY_MB}m")
    try:
        process = bench.start()
        (CGROUP / "cgroup.procs").write_text(str(process.pid))
        process.join(PATIENCE_S)
        if process.is_alive():
            kill_all(process.pid)
            return "hung"
        log = (bench.root / "run.log").read_text(errors="replace")
        if process.exitcode != 1 or "want of memory" not in log:
            return f"exit {process.exitcode}, not named: {last_line(bench.root / 'run.log')}"
    finally:
        del os.environ[MEMORY_VARIABLE]
        hungry.unlink()
    return bench.finish()


def mount(*arguments: str) -> None:
    """Call mount."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def unmount(folder: Path) -> None:
    """Take a mount away, whoever still looks at it."""
    subprocess.run(["umount", "-l", str(folder)], check=True)


KINDS: dict[str, Callable[[Bench], str]] = {
    "kill -9 of a worker": killed_worker,
    "kill -9 of the main process": killed_main,
    "kill -9 of the whole task": killed_task,
    "disk full": disk_full,
    "read-only input": read_only_input,
    "work folder lost": work_lost,
    "dates at random": skewed,
    "two runs at once": two_at_once,
    "memory limit": memory_limit,
}
NEEDS_WORKERS = ("kill -9 of a worker", "kill -9 of the whole task", "memory limit")
NEEDS_ROOT = ("disk full", "read-only input", "memory limit")


def campaign(bench: Bench, kind: str, trials: int) -> list[str]:
    """Try one kind; return what was lost."""
    lost = []
    torn, stop = bench.root / "torn", bench.root / "stop"
    for trial in range(trials):
        bench.clear()
        # Only where a worker is to die there must be some.
        bench.nprocs = 1 + (trial % 2 == 0 or kind in NEEDS_WORKERS)
        torn.unlink(missing_ok=True)
        stop.unlink(missing_ok=True)
        watcher = FORKING.Process(target=watch, args=(bench.out, torn, str(stop)))
        watcher.start()
        try:
            wrong = KINDS[kind](bench)
        finally:
            stop.touch()
            watcher.join()
        if torn.exists():
            wrong = f"{wrong} torn: {torn.read_text().splitlines()[0]}"
        if wrong:
            lost.append(f"trial {trial}: {wrong}")
    return lost


def main() -> None:
    """Run undisturbed once, then break."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=[k.split()[0] for k in KINDS] + list(KINDS))
    given = parser.parse_args()
    sys.path.insert(0, str(Path(faults_toy.__file__).parent))
    # A fault of a test machine's own limits would be taken for one of the program.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bench = Bench(given.folder.absolute(), random.Random(SEED))
    bench.root.mkdir(parents=True, exist_ok=True)
    write_study(bench.root / "bids", PATIENTS, VISITS)
    bench.clear()
    start = time.monotonic()
    bench.start().join()
    bench.seconds = time.monotonic() - start
    bench.wanted = bench.published()
    bench.clear()
    again = bench.finish()
    print(
        f"undisturbed: {bench.seconds:.1f} s, {len(bench.wanted)} files; again: {again or 'the same bytes'}"
    )
    print("kind\ttried\tsurvived\tlost", flush=True)
    for kind in KINDS:
        if given.only and kind not in given.only and kind.split()[0] not in given.only:
            continue
        if kind in NEEDS_ROOT and os.geteuid():
            print(f"{kind}\tneeds root", flush=True)
            continue
        lost = campaign(bench, kind, given.trials)
        print(f"{kind}\t{given.trials}\t{given.trials - len(lost)}\t{len(lost)}", flush=True)
        for line in lost:
            print(f"  {line}", flush=True)
    bench.clear()


if __name__ == "__main__":
    main()
