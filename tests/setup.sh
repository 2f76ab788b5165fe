#!/bin/sh
# What the tests run against beside our own code: dig, unbound, ip, PostgreSQL and Redis, from Debian's packages. Does nothing when all are there.
set -eu

missing=""
command -v dig >/dev/null 2>&1 || missing="$missing bind9-dnsutils"
# Debian keeps daemons in /usr/sbin, which is not in everybody's PATH.
PATH="$PATH:/usr/sbin" command -v unbound >/dev/null 2>&1 || missing="$missing unbound"
PATH="$PATH:/usr/sbin:/sbin" command -v ip >/dev/null 2>&1 || missing="$missing iproute2"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
if [ -z "$missing" ]; then
    echo "setup: dig, unbound, ip, postgres and redis-server are there"
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: the tests need$missing; install it as root, on Debian with: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "setup: installing$missing with apt-get"
export DEBIAN_FRONTEND=noninteractive
# The tests start servers of their own; the packages must not start theirs for the whole machine, which would take port 53, 5432 and 6379.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -q
# shellcheck disable=SC2086 # a list of words
apt-get install -q -y --no-install-recommends $missing
echo "setup: done"
