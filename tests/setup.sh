#!/bin/sh
# What the tests run against beside our own code: dig, unbound, ip, PostgreSQL, MariaDB, Redis, Prometheus, Patroni, etcd and libfaketime, from Debian's
# packages, and moto's server (an S3 store), from PyPI into an environment of its own below target. Does nothing when all are there.
set -eu

cd "$(dirname "$0")/.."
moto=target/moto
moto_version=5.2.5
# Not only a folder: its programs name the place where it was made.
has_moto() {
    [ "$(cat "$moto/version" 2>/dev/null)" = "$moto_version" ] && "$moto/bin/python" -c "import moto" 2>/dev/null &&
        head -n 1 "$moto/bin/moto_server" | grep -qF "#!$PWD/$moto/bin/"
}
make_moto() {
    has_moto && return
    echo "setup: installing moto $moto_version into $moto with pip"
    rm -rf "$moto"
    python3 -m venv "$moto"
    "$moto/bin/pip" install --quiet --disable-pip-version-check "moto[server,s3]==$moto_version"
    echo "$moto_version" >"$moto/version"
}

missing=""
command -v dig >/dev/null 2>&1 || missing="$missing bind9-dnsutils"
# Debian keeps daemons in /usr/sbin, which is not in everybody's PATH.
PATH="$PATH:/usr/sbin" command -v unbound >/dev/null 2>&1 || missing="$missing unbound"
PATH="$PATH:/usr/sbin:/sbin" command -v ip >/dev/null 2>&1 || missing="$missing iproute2"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
PATH="$PATH:/usr/sbin" command -v mariadbd >/dev/null 2>&1 && command -v mariadb-binlog >/dev/null 2>&1 || missing="$missing mariadb-server"
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
command -v prometheus >/dev/null 2>&1 || missing="$missing prometheus"
# Patroni speaks etcd through a library that its package only recommends; it runs by the system's own python3, whatever is first in PATH.
command -v patroni >/dev/null 2>&1 && /usr/bin/python3 -c "import etcd" 2>/dev/null || missing="$missing patroni python3-etcd"
command -v etcd >/dev/null 2>&1 || missing="$missing etcd-server"
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$missing libfaketime"
# Debian's python3 comes without what an environment is made with.
has_moto || python3 -c "import ensurepip, venv" >/dev/null 2>&1 || missing="$missing python3-venv"
if [ -z "$missing" ]; then
    make_moto
    echo "setup: dig, unbound, ip, postgres, mariadbd, redis-server, prometheus, patroni, etcd, libfaketime and moto are there"
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: the tests need$missing; install it as root, on Debian with: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "setup: installing$missing with apt-get"
export DEBIAN_FRONTEND=noninteractive
# The tests start servers of their own; the packages must not start theirs for the whole machine, which would take port 53, 2379, 3306, 5432 and 6379.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -q
# shellcheck disable=SC2086 # a list of words
apt-get install -q -y --no-install-recommends $missing
make_moto
echo "setup: done"
