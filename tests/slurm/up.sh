#!/usr/bin/env bash
# A SLURM of one node on this machine, beside any other: up.sh FOLDER starts munged, slurmctld and
# slurmd, all that is theirs in FOLDER (new, with a short name: a socket's path is limited to 107
# bytes), on free ports of loopback. Returns when the node takes jobs. down.sh FOLDER ends it. Root.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
PATH="$PATH:/usr/sbin"
mkdir -m 755 "$1"
folder="$(cd "$1" && pwd)"
mkdir "$folder/state" "$folder/spool"
host="$(hostname -s)"
read -r control_port node_port < <("${PYTHON:-python3}" -c '
import socket
both = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in both))')

# Eight processors and 32 GiB are claimed whatever the machine has, so that several jobs run at
# once; nothing is confined (no control groups), and processes are followed by their parents.
cat >"$folder/slurm.conf" <<END
ClusterName=segbatch-test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$control_port
SlurmdPort=$node_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.own-pid
SlurmdPidFile=$folder/slurmd.own-pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=32768 State=UNKNOWN
PartitionName=night Nodes=$host Default=YES MaxTime=60 State=UP
END
export SLURM_CONF="$folder/slurm.conf"
(umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")

start() { # NAME COMMAND...: in the background, in a session of its own; its id is kept for down.sh
    local name="$1"
    shift
    setsid "$@" >"$folder/$name.log" 2>&1 </dev/null &
    echo $! >"$folder/$name.pid"
}

waited() { # SECONDS COMMAND...: until the command succeeds
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.1
    done
}

takes_jobs() { [ "$(sinfo -h -o %T 2>/dev/null)" = idle ]; }

failed() {
    echo "SLURM did not start; the last lines of its logs:" >&2
    tail -n 5 "$folder"/*.log >&2
    "$here/down.sh" "$folder"
    exit 1
}

# --force: the folder above belongs to everyone (it is a temporary one).
start munged munged --foreground --force --socket="$folder/munge.socket" \
    --key-file="$folder/munge.key" --pid-file="$folder/munged.own-pid" \
    --log-file="$folder/munged.own-log" --seed-file="$folder/munged.seed"
waited 10 test -S "$folder/munge.socket" || failed
start slurmctld slurmctld -D -f "$SLURM_CONF"
start slurmd slurmd -D -f "$SLURM_CONF"
waited 30 takes_jobs || failed
