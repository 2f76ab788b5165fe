#!/bin/sh
# Each reader of foreign octets under libFuzzer: tests/fuzz/run.sh [MINUTES [TARGET ...]]. MINUTES is per target, 10 by default, and may be a
# fraction (0.5). Starts from corpus/TARGET, which stays as it is; new inputs go to found/TARGET, a crash to artifacts/TARGET.
# Ends with 1 when a target crashed, hung or took too much memory. Then: keep the input in corpus/TARGET, mend, and run again.
set -eu
cd "$(dirname "$0")"
minutes=${1:-10}
[ $# -eq 0 ] || shift
seconds=$(awk -v minutes="$minutes" 'BEGIN { if (minutes + 0 <= 0) exit 1; printf "%d", minutes * 60 + 0.5 }') || {
    echo "tests/fuzz/run.sh: \`$minutes\` is not a number of minutes" >&2
    exit 64
}

# libFuzzer needs flags of the compiler that only a nightly one takes. A workspace with another pinned toolchain is no hindrance.
toolchain=$(rustup toolchain list 2>/dev/null | grep -o '^nightly[^ ]*' | head -n 1)
if [ -z "$toolchain" ]; then
    echo "tests/fuzz/run.sh: no nightly toolchain; install one: rustup toolchain install nightly --profile minimal" >&2
    exit 69
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "tests/fuzz/run.sh: installing cargo-fuzz" >&2
    cargo install cargo-fuzz --locked
fi

# The folder is not where cargo-fuzz looks by itself.
fuzz() {
    verb=$1
    shift
    cargo "+$toolchain" fuzz "$verb" --fuzz-dir . "$@"
}
[ $# -gt 0 ] || set -- $(fuzz list)
fuzz build

crashed=
for target in "$@"; do
    mkdir -p "found/$target"
    log=$(mktemp)
    echo "== $target, $seconds s"
    # 2 GiB for the process, 25 s for one input: what is within bounds needs a hundredth of either. max_len leaves a plan and a database whole.
    if fuzz run "$target" "found/$target" "corpus/$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=25 -max_len=16384 \
        -print_final_stats=1 >"$log" 2>&1; then
        awk -v target="$target" '/stat::number_of_executed_units/ { n = $2 } /stat::average_exec_per_sec/ { rate = $2 } /stat::peak_rss_mb/ { rss = $2 }
            / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1) }
            END { printf "figure fuzz_%s_executions %d\n   %d a second, %d edges covered, %d MiB at most\n", target, n, rate, cov, rss }' "$log"
    else
        crashed="$crashed $target"
        tail -n 60 "$log"
    fi
    rm -f "$log"
done
if [ -n "$crashed" ]; then
    echo "tests/fuzz/run.sh: broken:$crashed (inputs in tests/fuzz/artifacts)" >&2
    exit 1
fi
