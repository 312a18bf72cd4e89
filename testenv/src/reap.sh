# Ends everything that one test environment started and removes its traces.
#
#   sh -c "$script" reap DIR ID
#
# It first waits for the end of its standard input. For a test that is a pipe whose other end only the test process
# holds, so the end comes when that process drops the environment, exits, or is killed in whatever way.
# Everything started carries MAILCERT_TESTENV=DIR in its environment: a process number in a file could have been
# given to somebody else meanwhile, and would miss what was started a moment before a kill.
trap '' HUP INT TERM
while read -r _; do :; done
dir=$1 id=$2
[ -n "$id" ] && [ -e "$dir/.testenv" ] || exit 0

cgroups() { for c in "/sys/fs/cgroup/$id" /sys/fs/cgroup/*/"$id"; do [ -d "$c" ] && echo "$c"; done; }
ours() {
  if [ -r /proc/self/environ ]; then
    grep -lszxF "MAILCERT_TESTENV=$dir" /proc/[0-9]*/environ | cut -d/ -f3
  else
    cat "$dir"/*.pid 2>/dev/null
  fi
  # Processes in pods have an environment of their own; their cgroups lie below the instance's.
  for c in $(cgroups); do find "$c" -name cgroup.procs -exec cat {} +; done 2>/dev/null
}
mounts() { awk -v d="$dir/" 'index($2, d) == 1 { print $2 }' /proc/mounts 2>/dev/null | sort -r; }

round=0
while [ $round -lt 200 ]; do
  pids=$(ours)
  [ -n "$pids" ] || break
  # SIGKILL: kube-apiserver drains for up to a minute once etcd is gone, and nothing here is worth waiting for.
  kill -9 $pids 2>/dev/null
  round=$((round + 1))
  sleep 0.02
  [ -r /proc/self/environ ] || break
done
round=0
while [ $round -lt 5 ] && [ -n "$(mounts)" ]; do
  mounts | xargs -n1 umount -l 2>/dev/null
  round=$((round + 1))
done
if [ -e "/run/netns/$id" ]; then umount -l "/run/netns/$id" 2>/dev/null; rm -f "/run/netns/$id"; fi
round=0
while [ $round -lt 50 ] && [ -n "$(cgroups)" ]; do
  for c in $(cgroups); do find "$c" -depth -type d -exec rmdir {} + 2>/dev/null; done
  [ -z "$(cgroups)" ] || sleep 0.05
  round=$((round + 1))
done
if [ -e "$dir/loopback" ]; then
  while read -r address; do PATH=$PATH:/usr/sbin:/sbin ip address delete "$address/32" dev lo; done <"$dir/loopback"
fi 2>/dev/null
if [ -d /var/log/containers ]; then find /var/log/containers -lname "$dir/*" -delete 2>/dev/null; fi
# CNI remembers its results in one folder of the whole machine; they name the pods' namespaces, which lie below DIR.
grep -lsF "$dir/" /var/lib/cni/results/* 2>/dev/null | xargs rm -f
rm -rf "/run/mailcert/$id"
round=0
while [ $round -lt 50 ] && [ -e "$dir" ]; do
  # Without any mount left below it (checked again), so that nothing of somebody else's can be removed through one.
  [ -z "$(mounts)" ] && rm -rf "$dir" 2>/dev/null
  [ -e "$dir" ] && sleep 0.05
  round=$((round + 1))
done
