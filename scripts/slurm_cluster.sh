#!/usr/bin/env bash
# A SLURM cluster of one node on this machine's loopback, for tests: no systemd, no database, no cgroups.
#
#     scripts/slurm_cluster.sh start FOLDER     writes FOLDER/slurm.conf; use it with SLURM_CONF=FOLDER/slurm.conf
#     scripts/slurm_cluster.sh stop FOLDER
#
# Needs Debian's packages slurm-wlm and munge. Everything that it writes lies in FOLDER, munge's key and socket
# too, and it stops by process number what it started, nothing else. CPUS (4) is what the node claims to have:
# more than there are is well for tasks that mostly sleep. CTLD_PORT and D_PORT may be set.
set -euo pipefail

folder=$(realpath -m "$2")
host=$(hostname -s)
conf=$folder/slurm.conf

write_conf() {
    cat >"$conf" <<EOF
ClusterName=mripipe
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
SlurmctldPort=${CTLD_PORT:-16817}
SlurmdPort=${D_PORT:-16818}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$folder/ctld
SlurmdSpoolDir=$folder/d
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/jobcomp.log
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=512
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=1,bf_interval=1
ReturnToService=2
SwitchType=switch/none
MinJobAge=${MIN_JOB_AGE:-300}
OverTimeLimit=0
KillWait=2
SlurmctldTimeout=30
SlurmdTimeout=60
MessageTimeout=20
NodeName=$host NodeAddr=127.0.0.1 CPUs=${CPUS:-4} RealMemory=16000 State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
}

start() {
    mkdir -p "$folder/ctld" "$folder/d"
    write_conf
    export SLURM_CONF=$conf
    dd if=/dev/urandom of="$folder/munge.key" bs=128 count=1 status=none
    chmod 600 "$folder/munge.key"
    /usr/sbin/munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    /usr/sbin/slurmctld -f "$conf"
    /usr/sbin/slurmd -f "$conf"
    for _ in $(seq 100); do
        if sinfo -h -o %t 2>/dev/null | grep -qE '^(idle|mix|alloc)'; then return; fi
        sleep 0.2
    done
    echo "the node did not come up; see $folder/*.log" >&2
    return 1
}

stop() {
    local name
    # A task that cannot tell its controller of its end would stay for ever.
    export SLURM_CONF=$conf
    if scancel --user="$(id -un)" 2>/dev/null; then
        for _ in $(seq 100); do
            if [ -z "$(squeue --noheader 2>/dev/null)" ]; then break; fi
            sleep 0.1
        done
    fi
    for name in slurmd slurmctld munged; do
        if [ -f "$folder/$name.pid" ]; then end "$(cat "$folder/$name.pid")"; fi
    done
}

end() {
    kill "$1" 2>/dev/null || return 0
    for _ in $(seq 100); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$1"
}

case $1 in
    start) start ;;
    stop) stop ;;
    *) echo "expected start or stop, got $1" >&2; exit 2 ;;
esac
