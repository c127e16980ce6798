#!/bin/bash
# Fuzzes every reader of untrusted bytes (fuzz/): runs each target for SECONDS, as many targets at once as there are
# processors. Fails if a target crashes, hangs or uses too much memory; the input that caused it is then in
# fuzz/artifacts/.
#
#   scripts/fuzz.sh SECONDS [TARGET...]
#
# libFuzzer is part of a crate and is compiled here. This needs only a C++ compiler, since every rustc can add the
# coverage counters. No sanitizer is used, since this program has no `unsafe` code; overflow checks are on.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo >/dev/null 2>&1 || PATH=$HOME/.cargo/bin:$PATH

seconds=${1:?usage: scripts/fuzz.sh SECONDS [TARGET...]}
shift
targets=${*:-deb rpm cpio tar tree module probe manifest list lock}

RUSTC_WRAPPER=$PWD/scripts/fuzz-rustc.sh cargo build --release --manifest-path fuzz/Cargo.toml --lib --bins \
    ${CARGO_NET_OFFLINE:+--offline}
programs=fuzz/target/release
"$programs/seeds" fuzz/seeds
mkdir -p fuzz/artifacts

one() {
    local target=$1 log=fuzz/artifacts/$1.log
    mkdir -p "fuzz/corpus/$target"
    if "$programs/$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -max_total_time="$seconds" \
        -timeout=20 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$target-" >"$log" 2>&1; then
        printf 'fuzz: %-9s %10s executions\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
    else
        tail -n 40 "$log"
        echo "fuzz: $target failed; its input is in fuzz/artifacts/"
        return 1
    fi
}
export -f one
export programs seconds
printf '%s\n' $targets | xargs -P "$(nproc)" -I TARGET bash -c 'one TARGET'
