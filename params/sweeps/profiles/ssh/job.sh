#!/bin/bash
# A job on one of the machines in `hosts`: job.sh submit SCRIPT prints its name, job.sh status NAME prints how it is, job.sh cancel NAME... ends it.
# A name is MACHINE:NUMBER:PROCESS; ssh/MACHINE:NUMBER in the working folder, which all machines see, gets the exit code.
set -u
ssh=${SWEEP_SSH:-ssh -o BatchMode=yes -o ConnectTimeout=10}
hosts=${SWEEP_HOSTS:-$(dirname "$0")/hosts}
mkdir -p ssh

at() { $ssh "$1" "$2" </dev/null 9>&-; } # nor does what it starts keep the lock

case $1 in
submit)
  exec 9>ssh/lock && flock 9 # two submissions at once would choose the same machine
  best='' least=1000000
  while read -r host slots; do
    [[ -z $host || $host == \#* ]] && continue
    busy=$(find ssh -name "$host:*" -empty | wc -l)
    load=$((1000 * busy / slots))
    ((load < least)) && best=$host least=$load
  done <"$hosts"
  [[ -n $best ]] || { echo "no machine in $hosts" >&2; exit 1; }
  mark=$(mktemp "ssh/$best:XXXXXX")
  script=$(readlink -f "${*: -1}")
  # In a session of its own, so that it outlives the connection and can be ended as a whole.
  command="cd '$PWD' || exit 1; setsid bash -c 'bash \"\$0\" >\"\$1.log\" 2>&1; echo \$? >\"\$1.new\"; mv \"\$1.new\" \"\$1\"' '$script' '$mark' >/dev/null 2>&1 </dev/null & echo \$!"
  process=$(at "$best" "$command") || { echo 1 >"$mark"; exit 1; }
  echo "${mark#ssh/}:$process"
  ;;
status)
  name=${*: -1} mark=ssh/${name%:*}
  if [[ ! -s $mark ]] && ! at "${name%%:*}" "kill -0 ${name##*:}" 2>/dev/null; then
    sleep 2 # it may have ended just now, or the machine be out of reach for a moment
    [[ -s $mark ]] || at "${name%%:*}" "kill -0 ${name##*:}" 2>/dev/null || echo 1 >"$mark"
  fi
  case $(cat "$mark") in '') echo running ;; 0) echo success ;; *) echo failed ;; esac
  ;;
cancel)
  for name in "${@:2}"; do at "${name%%:*}" "kill -TERM -- -${name##*:}"; echo 143 >"ssh/${name%:*}"; done
  ;;
esac
