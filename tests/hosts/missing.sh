#!/usr/bin/env bash
# Prints what this machine lacks for hosts in network namespaces; nothing when the tests can run.
[ "$(id -u)" = 0 ] || { echo "not root: network namespaces belong to root" && exit; }
export PATH="$PATH:/usr/sbin"
for command in ip:iproute2 unshare:util-linux hostname:hostname; do
    command -v "${command%:*}" >/dev/null ||
        echo "no ${command%:*}: apt-get install ${command#*:}"
done
unshare --net --uts true 2>/dev/null || echo "this machine makes no network namespaces"
