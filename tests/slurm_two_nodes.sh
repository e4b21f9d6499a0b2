#!/bin/bash
# A real Slurm of two one-core nodes, with accounting, on this machine's loopback: slurm_two_nodes.sh start|stop FOLDER (as root).
# Needs Debian's slurmctld slurmd slurmdbd slurm-client munge mariadb-server. Refuses where there is a Slurm already; what it writes outside FOLDER is one link, /etc/slurm/slurm.conf.
set -u
[[ $# == 2 ]] || { sed -n 2,3p "$0"; exit 2; }
mkdir -p "$2" || exit 1; top=$(cd "$2" && pwd); host=$(hostname -s); cd "$top" || exit 1
export SLURM_CONF=$top/slurm.conf

link=/etc/slurm/slurm.conf  # inside a job only this place is looked at
if [[ $1 == stop ]]; then
  [[ $(readlink $link) == "$top/slurm.conf" ]] && rm $link
  for each in slurmd-n1 slurmd-n2 slurmctld slurmdbd munged mariadbd; do [[ -f $each.pid ]] && kill "$(cat $each.pid)" 2>/dev/null; done; exit 0
fi

[[ -e $link ]] && { echo "$link is there: this machine has a Slurm of its own" >&2; exit 1; }
ln -sf "$top/slurm.conf" $link
mkdir -p state log munge db /run/munge
[[ -f munge/key ]] || head -c 1024 /dev/urandom >munge/key
chmod 711 .; chown -R munge munge /run/munge; chmod 400 munge/key; chmod 700 munge; chmod 755 /run/munge; touch munged.pid; chown munge munged.pid
runuser -u munge -- munged --force --key-file="$top/munge/key" --seed-file="$top/munge/seed" --log-file="$top/munge/log" --pid-file="$top/munge/pid"
cp munge/pid munged.pid

chown mysql db; sql=(mariadb --no-defaults -uroot -S "$top/db/socket")
[[ -d db/mysql ]] || mariadb-install-db --user=mysql --datadir="$top/db" --auth-root-authentication-method=normal --skip-test-db >log/install 2>&1
mariadbd --no-defaults --user=mysql --datadir="$top/db" --socket="$top/db/socket" --bind-address=127.0.0.1 --port=13306 --innodb-buffer-pool-size=64M >log/mariadbd 2>&1 & echo $! >mariadbd.pid
for _ in {1..60}; do "${sql[@]}" -e 'select 1' >/dev/null 2>&1 && break; sleep 0.5; done
"${sql[@]}" -e "create database if not exists slurm; create user if not exists slurm@'localhost' identified by 'x'; create user if not exists slurm@'127.0.0.1' identified by 'x';
                grant all on slurm.* to slurm@'localhost'; grant all on slurm.* to slurm@'127.0.0.1'"

cat >$top/slurmdbd.conf <<C
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
LogFile=$top/log/slurmdbd
PidFile=$top/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=13306
StorageUser=slurm
StoragePass=x
StorageLoc=slurm
C
chmod 600 $top/slurmdbd.conf  # slurmdbd refuses to start otherwise
cat >$top/slurm.conf <<C
ClusterName=course
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
StateSaveLocation=$top/state
SlurmctldPidFile=$top/slurmctld.pid
SlurmctldLogFile=$top/log/slurmctld
SlurmdPidFile=$top/slurmd-%n.pid
SlurmdLogFile=$top/log/slurmd-%n
SlurmdSpoolDir=$top/spool-%n
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=5
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=16818 CPUs=1 RealMemory=8000
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=16828 CPUs=1 RealMemory=8000
PartitionName=course Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
C
slurmdbd
for _ in {1..20}; do sacctmgr -n list cluster >/dev/null 2>&1 && break; sleep 0.5; done
{ sacctmgr -i add cluster course; sacctmgr -i add account course Cluster=course; sacctmgr -i add user root Account=course; } >log/sacctmgr 2>&1
slurmctld; slurmd -N n1; slurmd -N n2
for _ in {1..20}; do [[ $(sinfo -h -t idle -o %D 2>/dev/null) == 2 ]] && break; sleep 0.5; done
sinfo
