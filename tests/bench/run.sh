#!/bin/sh
# All benchmarks, loopback only, in about 45 minutes after the build: tests/bench/run.sh [MINUTES]. MINUTES is for the flapping run, 10 by
# default. Prints every figure with its target at the end; ends with 1 when one is missed or could not be measured.
# PORTOLAN_BENCH_RUNS (20) failovers are made of each system in the race of failovers. Figures mean something on an idle machine only.
set -eu
cd "$(dirname "$0")/../.."
minutes=${1:-10}

# The comparison of answers asks NSD, through dnsperf; Debian keeps daemons in /usr/sbin, which is not in everybody's PATH.
PATH="$PATH:/usr/sbin"
export PATH
missing=
for program in nsd dnsperf; do command -v "$program" >/dev/null 2>&1 || missing="$missing $program"; done
if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "bench:$missing missing; install as root, on Debian with: apt-get install --no-install-recommends$missing" >&2
        exit 69
    fi
    # The benchmark starts a server of its own; the package must not start one for the whole machine.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
fi

figures=$(mktemp)
# run COMMAND...: shows what it prints and keeps its figures, each with the command.
run() {
    echo "== $*"
    # A benchmark that fails leaves its figures out, which the table shows.
    "$@" 2>&1 | tee "$figures.one" || true
    sed -n 's/^figure //p' "$figures.one" | while read -r name value; do echo "$name $value $*"; done >>"$figures"
}
cargo build --release --locked --bench all
bench="cargo bench --quiet --locked --bench all --"
run $bench table
run $bench failover
run $bench dns
run $bench mesh
run $bench commit
run $bench leaders
run $bench observers
run $bench observations
run $bench groups
run $bench agent
run $bench probe
run $bench flap --minutes "$minutes"
# Whole failovers of real databases, beside those of Patroni and of Sentinel.
sh tests/setup.sh
run $bench race --runs "${PORTOLAN_BENCH_RUNS:-20}"

# Name, comparison, target, unit; `-` as comparison: only told.
awk '
    NR == FNR { value[$1] = $2; $2 = ""; name = $1; $1 = ""; sub(/^ +/, ""); command[name] = $0; next }
    /^#/ || NF == 0 { next }
    {
        got = ($1 in value) ? value[$1] : ""
        if (got == "") verdict = "not measured"
        else if ($2 == "<") verdict = (got + 0 < $3 + 0) ? "ok" : "missed"
        else verdict = ""
        if (verdict == "missed" || verdict == "not measured") bad = 1
        printf "%-42s %10s  %-14s %-13s %s\n", $1, got, ($2 == "-") ? "" : $2 " " $3 " " $4, verdict, command[$1]
    }
    END { exit bad }
' "$figures" - <<'TABLE' && status=0 || status=1
text_to_table_ms                   < 1000 ms
text_to_table_peak_mib             < 70   MiB
node_mib                           -
change_to_table_p50_ms             -
change_to_table_p99_ms             < 5    ms
change_to_table_max_ms             -
region_loss_longest_turn_ms        -
failover_killed_min_ms             -
failover_killed_median_ms          -
failover_killed_max_ms             < 600  ms
failover_hung_min_ms               -
failover_hung_median_ms            -
failover_hung_max_ms               < 1000 ms
dns_cpu_per_answer_us              -
nsd_cpu_per_answer_us              -
dns_steered_cpu_per_answer_us      -
dns_to_nsd_ratio                   -
mesh_answers_p50_ms                -
mesh_answers_p99_ms                < 100  ms
mesh_answers_max_ms                -
commit_sync_p99_ms                 -
commit_round_trip_p99_ms           -
commit_limit_ms                    -
commit_at_leader_p50_ms            -
commit_at_leader_p99_ms            -
commit_elsewhere_p50_ms            -
commit_elsewhere_p99_ms            -
commit_at_leader_to_limit_ratio    < 1
commit_elsewhere_to_limit_ratio    < 1
leaders_changes                    -
leaders_answers_lost               < 1
leaders_still_p99_ms               -
leaders_changing_p99_ms            -
leaders_p99_ratio                  < 1.2
observers_kib_each                 < 64   KiB
observers_cpu_ms_per_second_50     -
observers_cpu_ms_per_second_100    -
observers_cpu_ms_per_second_200    -
observers_cpu_each_200_to_50_ratio -
observations_core_percent          < 5    %
observations_turning_core_percent  -
groups_core_percent                < 20   %
groups_resident_mib                -
groups_own_mib                     -
agent_core_percent                 < 1    %
agent_resident_mib                 < 32   MiB
agent_own_mib                      -
supervisor_core_percent            -
supervisor_resident_mib            -
supervisor_own_mib                 -
probe_cpu_us                       < 150  us
probe_floor_us                     -
probe_to_floor_ratio               -
probe_peak_mib                     < 250  MiB
flap_tasks_growth_percent          < 1    %
flap_descriptors_growth_percent    < 1    %
pg_portolan_lost_to_write_median_ms        -
pg_portolan_lost_to_write_p95_ms           -
pg_patroni_lost_to_write_median_ms         -
pg_patroni_lost_to_write_p95_ms            -
pg_lost_to_write_ratio                     -
pg_lost_to_write_p95_ratio                 -
pg_portolan_detected_median_ms             -
pg_portolan_detected_p95_ms                -
pg_patroni_detected_median_ms              -
pg_patroni_detected_p95_ms                 -
pg_detected_ratio                          -
pg_detected_p95_ratio                      -
pg_portolan_decided_to_write_median_ms     -
pg_portolan_decided_to_write_p95_ms        -
pg_patroni_decided_to_write_median_ms      -
pg_patroni_decided_to_write_p95_ms         -
pg_decided_to_write_ratio                  < 1
pg_decided_to_write_p95_ratio              < 1
pg_portolan_granted_to_write_median_ms     -
pg_portolan_granted_to_write_p95_ms        -
pg_patroni_granted_to_write_median_ms      -
pg_patroni_granted_to_write_p95_ms         -
pg_granted_to_write_ratio                  -
pg_granted_to_write_p95_ratio              -
pg_portolan_own_median_ms                  -
pg_portolan_own_p95_ms                     < 500  ms
pg_portolan_own_published_median_ms        -
pg_portolan_own_published_p95_ms           < 500  ms
redis_portolan_lost_to_write_median_ms     -
redis_portolan_lost_to_write_p95_ms        -
redis_sentinel_lost_to_write_median_ms     -
redis_sentinel_lost_to_write_p95_ms        -
redis_lost_to_write_ratio                  -
redis_lost_to_write_p95_ratio              -
redis_portolan_detected_median_ms          -
redis_portolan_detected_p95_ms             -
redis_sentinel_detected_median_ms          -
redis_sentinel_detected_p95_ms             -
redis_detected_ratio                       -
redis_detected_p95_ratio                   -
redis_portolan_decided_to_write_median_ms  -
redis_portolan_decided_to_write_p95_ms     -
redis_sentinel_decided_to_write_median_ms  -
redis_sentinel_decided_to_write_p95_ms     -
redis_decided_to_write_ratio               < 1
redis_decided_to_write_p95_ratio           < 1
redis_portolan_granted_to_write_median_ms  -
redis_portolan_granted_to_write_p95_ms     -
redis_sentinel_granted_to_write_median_ms  -
redis_sentinel_granted_to_write_p95_ms     -
redis_granted_to_write_ratio               -
redis_granted_to_write_p95_ratio           -
redis_portolan_own_median_ms               -
redis_portolan_own_p95_ms                  < 500  ms
redis_portolan_own_published_median_ms     -
redis_portolan_own_published_p95_ms        < 500  ms
TABLE
rm -f "$figures" "$figures.one"
exit "$status"
