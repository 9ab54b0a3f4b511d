#!/usr/bin/env bash
# Run a command with a single-node Slurm on this machine, and stop the Slurm afterwards.
#
#     BIOREP_TEST_INSTALL=1 tests/integration/with_slurm.sh COMMAND...
#
# Installs Debian's slurm-wlm and munge if they are missing, so it needs root and consent. No systemd, no cgroups.
set -euo pipefail

if [ "$(id -u)" != 0 ] || [ "${BIOREP_TEST_INSTALL:-}" != 1 ]; then
    echo "with_slurm.sh installs and starts Slurm: run it as root with BIOREP_TEST_INSTALL=1" >&2
    exit 1
fi

host=$(hostname -s)
work=$(mktemp -d)
trap 'pkill -x slurmctld || true; pkill -x slurmd || true; while pgrep -x slurmctld > /dev/null || pgrep -x slurmd > /dev/null; do sleep 0.2; done; rm -rf "$work"' EXIT

if ! command -v slurmctld >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge >/dev/null
fi
install -d -o munge -g munge /run/munge
pgrep -x munged >/dev/null || runuser -u munge -- /usr/sbin/munged

mkdir -p "$work/state" "$work/spool" /etc/slurm
cat > /etc/slurm/slurm.conf <<CONF
ClusterName=biorep
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=8000 State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

slurmctld
sleep 2
slurmd
for _ in $(seq 30); do
    sinfo -h -o %t | grep -q idle && break
    sleep 1
done
sinfo -h -o %t | grep -q idle || { cat "$work"/*.log >&2; exit 1; }
"$@"
