#!/bin/bash
# Builds real Falco drivers for real kernels, from nothing but this repository and a Debian mirror.
#
#   scripts/demo.sh           three kernels of matrices/debian.toml: bookworm's for amd64 and arm64, the newest of sid
#   scripts/demo.sh --full    all of them
#
# Run again, it does only what is missing. Everything goes where `driverkit-matrix run` puts it: out/ and the cache.
# Some builds cannot succeed (old drivers on the newest kernels): they show as failures with their first compiler
# error, and are no failure of the demo.
set -euo pipefail
cd "$(dirname "$0")/.."

matrix=matrices/debian.toml
selection=(--kernel '6.1.*-?-amd64' --kernel '6.1.*-?-arm64' --kernel '7.*-?-amd64')
images=(bookworm sid)
case ${1:-} in
'') ;;
--full)
    selection=()
    images=()
    ;;
*)
    echo "usage: scripts/demo.sh [--full]" >&2
    exit 2
    ;;
esac

. scripts/prepare.sh
prepare_machine
build_program release
prepare_images "${images[@]}"
prepare_drivers

step "What there is to build, from the mirror's own package indexes"
# A lock that is there is used as it is; `driverkit-matrix lock` refreshes it.
"$program" plan "$matrix" "${selection[@]}"
step "Build what is missing"
status=0
"$program" run "$matrix" "${selection[@]}" || status=$?
step "The drivers"
find out -name '*.ko' -o -name '*.o' | sort
# 1: some artifacts are not there, as announced above.
[ "$status" -le 1 ] || exit "$status"
