#!/bin/bash
# Measures what a prepared kernel source costs: builds eight driver versions for a kernel without header packages, then
# the same eight for a kernel with header packages. Prints the processor time of each compile, from the cache.
#
# The eight versions are one source (0.20.0) under eight version names. The version is part of a driver, so each of them
# is configured and compiled. Needs what scripts/test.sh prepares. The cache is temporary.
#
#   scripts/bench-prepared.sh [PROGRAM]     the program [default: target/release/driverkit-matrix]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/prepare.sh
program=$(realpath "${1:-target/release/driverkit-matrix}")
root=$PWD
DRIVERKIT_MATRIX_MIRROR_DEBIAN=$(scripts/mirror.sh)
export DRIVERKIT_MATRIX_MIRROR_DEBIAN
export DRIVERKIT_MATRIX_IMAGES=${DRIVERKIT_MATRIX_IMAGES:-${XDG_CACHE_HOME:-$HOME/.cache}/driverkit-matrix/images}
export DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS=$root/images
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DRIVERKIT_MATRIX_CACHE=$work/cache

source=$root/vendor/linux-6.1
version=$(basename "$source"/linux-6.1.*.tar.xz .tar.xz)
{
    echo 'drivers = ["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8"]'
    echo 'architectures = ["amd64"]'
    echo 'artifacts = ["module"]'
    for number in 1 2 3 4 5 6 7 8; do
        printf '[driver."v%s"]\nsource = { path = "%s" }\n' "$number" "$root/vendor/falcosecurity-libs-0.20.0"
    done
} >"$work/drivers.toml"
{
    cat "$work/drivers.toml"
    echo '[[target]]'
    echo 'name = "vanilla"'
    echo "kernels = [{ release = \"${version#linux-}\", config = \"$source/config-amd64\" }]"
    echo '[mirrors]'
    echo "\"https://cdn.kernel.org/pub/linux/kernel/v6.x\" = [\"file://$source\"]"
} >"$work/source.toml"
{
    cat "$work/drivers.toml"
    echo '[[target]]'
    echo 'name = "debian"'
    echo 'kernels = { from = "mirror", suites = ["bookworm"], flavours = ["plain"], latest = 1 }'
} >"$work/headers.toml"

for kind in source headers; do
    step "Eight drivers for a kernel with its $kind"
    "$program" run "$work/$kind.toml" --jobs 1 --out "$work/out-$kind"
done
# Processor time of each compile, from the cache: kernel directory, seconds.
cat "$DRIVERKIT_MATRIX_CACHE"/outcomes/v1/*/*.json | sed 's/}{"inputs"/}\n{"inputs"/g' >"$work/outcomes"
sed -n '/"step":"module\/1"/s/.*\["kernel folder","\([^"]*\)"\].*"cpu":{"secs":\([0-9]*\),"nanos":\([0-9]*\)}.*/\1 \2 \3/p' "$work/outcomes" |
    awk '{ print $1, $2 + $3 / 1e9 }' | sort >"$work/modules"
cat "$work/modules"
step "Results"
for folder in $(cut -d" " -f1 "$work/modules" | uniq); do
    grep "^$folder " "$work/modules" | sort -k2 -n | awk '{ cpu[NR] = $2 }
        END { printf "%s: %d modules, median %.2f CPU seconds, from %.2f to %.2f\n", $1, NR, cpu[int((NR + 1) / 2)], cpu[1], cpu[NR] }'
done
sed -n '/"step":"prepare\/1"/s/.*"cpu":{"secs":\([0-9]*\),"nanos":\([0-9]*\)}.*/\1.\2/p' "$work/outcomes" |
    awk '{ printf "prepared %d time(s): %.1f CPU seconds\n", NR, $1 }'
