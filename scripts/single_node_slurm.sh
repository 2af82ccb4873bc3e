#!/usr/bin/env bash
# SLURM on this machine alone, to try the `slurm` profile: no accounts, no accounting, no cgroups, no systemd.
#
#   apt-get install -y slurm-wlm munge
#   scripts/single_node_slurm.sh start|stop|status [CPUS]     # as root, in a container or machine to throw away
#
# `start` writes /etc/slurm/slurm.conf (it has to lie there: jobs of Snakemake's plugin drop the variable SLURM_CONF) and refuses
# to replace one that is not its own. CPUS: how many to offer, default all of them. Its files are under /var/lib/single-node-slurm.
# MIN_JOB_AGE: seconds after which squeue forgets a job that has ended, default SLURM's 300.

set -euo pipefail

MARK="# written by single_node_slurm.sh"
CONFIG=/etc/slurm/slurm.conf
FOLDER=/var/lib/single-node-slurm

fail() {
    echo "$0: $*" >&2
    exit 1
}

# process ID of a daemon that was started here, if it runs
running() {
    local file="$FOLDER/$1.pid"
    [ -s "$file" ] && kill -0 "$(cat "$file")" 2> /dev/null && cat "$file"
}

write_configuration() {
    local host memory
    [ ! -e "$CONFIG" ] || grep -qxF "$MARK" "$CONFIG" || fail "$CONFIG is there and not from this script; it stays as it is"
    host=$(hostname -s)
    memory=$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    mkdir -p "$FOLDER/state" "$FOLDER/spool" "$(dirname "$CONFIG")"
    cat > "$CONFIG" << END
$MARK
ClusterName=single
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool
SlurmctldPidFile=$FOLDER/slurmctld.pid
SlurmdPidFile=$FOLDER/slurmd.pid
SlurmctldLogFile=$FOLDER/slurmctld.log
SlurmdLogFile=$FOLDER/slurmd.log
# processes are followed from parent to child, without cgroups
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# no database: sacct knows nothing, squeue forgets a job some time after its end
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=${MIN_JOB_AGE:-300}
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$1 RealMemory=$memory State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
}

start() {
    for program in munged slurmctld slurmd; do
        command -v "$program" > /dev/null || fail "$program is not installed: apt-get install -y slurm-wlm munge"
    done
    [ "$(id -u)" = 0 ] || fail "slurmd needs root"
    write_configuration "$1"
    if ! munge -n > /dev/null 2>&1; then
        install -d -o munge -g munge -m 755 /run/munge
        runuser -u munge -- munged --pid-file=/run/munge/munged.pid
        cp /run/munge/munged.pid "$FOLDER/munged.pid"
    fi
    running slurmctld > /dev/null || slurmctld
    running slurmd > /dev/null || slurmd
    for _ in $(seq 30); do
        [ "$(sinfo --noheader --format %T 2> /dev/null)" != idle ] || break
        sleep 1
    done
    sinfo
}

stop() {
    local name process
    for name in slurmd slurmctld munged; do
        process=$(running "$name") || continue
        kill "$process"
        while kill -0 "$process" 2> /dev/null; do sleep 0.2; done
        echo "$name has ended"
        rm -f "$FOLDER/$name.pid"
    done
    ! grep -qsxF "$MARK" "$CONFIG" || rm "$CONFIG"
}

status() {
    local name process
    for name in munged slurmctld slurmd; do
        if process=$(running "$name"); then echo "$name runs ($process)"; else echo "$name does not run"; fi
    done
    running slurmctld > /dev/null || return 1
    sinfo
    squeue
}

case "${1:-}" in
    start) start "${2:-$(nproc)}" ;;
    stop) stop ;;
    status) status ;;
    *) fail "expected start, stop or status, but got '${1:-}'" ;;
esac
