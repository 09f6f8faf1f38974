#!/usr/bin/env bash
# Prints what this machine lacks for a SLURM of its own; prints nothing when the tests can run.
[ "$(id -u)" = 0 ] || echo "not root: the daemons of the test change users and read their own key"
for command in munged slurmctld slurmd sbatch squeue scancel; do
    PATH="$PATH:/usr/sbin" command -v "$command" >/dev/null ||
        echo "no $command: apt-get install slurm-wlm munge"
done
