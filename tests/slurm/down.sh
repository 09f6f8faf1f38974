#!/usr/bin/env bash
# Ends the SLURM that up.sh FOLDER started, its jobs first, and removes FOLDER. Nothing else is
# touched: a process is ended only when its id was noted by up.sh and it still runs for FOLDER.
set -uo pipefail
folder="$(cd "$1" && pwd)" || exit 0
export SLURM_CONF="$folder/slurm.conf"

ours() { # PID
    [ -n "$1" ] && tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF "$folder/"
}

waited() { # TENTHS COMMAND...: until the command fails
    local tries="$1"
    shift
    while "$@" && [ "$((tries--))" -gt 0 ]; do sleep 0.1; done
}

has_jobs() { [ -n "$(timeout 5 squeue -h -o %A 2>/dev/null)" ]; }

if ours "$(cat "$folder/slurmctld.pid" 2>/dev/null)"; then
    timeout 5 squeue -h -o %A 2>/dev/null | xargs -r timeout 10 scancel
    waited 100 has_jobs
fi
for name in slurmd slurmctld munged; do
    pid="$(cat "$folder/$name.pid" 2>/dev/null)"
    if ours "$pid"; then
        kill "$pid"
        waited 50 ours "$pid"
        if ours "$pid"; then kill -9 "$pid"; fi
    fi
done
rm -rf "$folder"
