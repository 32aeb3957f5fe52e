from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from trialruns import Cluster, Trial, new_trial

CLUSTER = Path(__file__).parents[2] / "scripts" / "slurm_cluster.sh"
PROGRAMS = ("slurmctld", "slurmd", "munged")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start munge, slurmctld and slurmd on loopback, and stop them afterwards."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    if absent := [name for name in PROGRAMS if shutil.which(name, path=path) is None]:
        pytest.skip(f"no {', '.join(absent)} here; apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("a cluster of one's own needs the superuser: slurmd starts tasks as their users")
    folder = tmp_path_factory.mktemp("slurm")
    ports = {name: str(port) for name, port in zip(("CTLD_PORT", "D_PORT"), _free_ports(2), strict=True)}
    environment = {**os.environ, **ports, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf"), "CPUS": "4"}
    try:
        subprocess.run(["bash", CLUSTER, "start", folder], env=environment, check=True, timeout=60)
        yield Cluster(environment)
    finally:
        subprocess.run(["bash", CLUSTER, "stop", folder], env=environment, check=True, timeout=60)


@pytest.fixture
def make_trial(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trial]:
    return lambda n, environment: new_trial(tmp_path_factory.mktemp("trial"), n, environment)


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
