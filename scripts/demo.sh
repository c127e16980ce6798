#!/bin/bash
# Builds real Falco drivers for real kernels. Needs only this repository and a Debian mirror.
#
#   scripts/demo.sh           three kernels of matrices/debian.toml: bookworm's for amd64 and arm64, the newest of sid
#   scripts/demo.sh --full    all kernels of matrices/debian.toml
#
# A second run builds only what is missing. The files are where `driverkit-matrix run` puts them: out/ and the cache.
# Some builds cannot succeed (old drivers on the newest kernels). They are shown as failures with their first compiler
# error. The demo does not fail because of them.
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

step "Plan: the kernels are read from the mirror's package indexes"
# If the lock exists, it is used unchanged; `driverkit-matrix lock` refreshes it.
"$program" plan "$matrix" "${selection[@]}"
step "Build what is missing"
status=0
"$program" run "$matrix" "${selection[@]}" || status=$?
step "The drivers"
find out -name '*.ko' -o -name '*.o' | sort
# Exit code 1: some artifacts are missing, as the comment at the top says.
[ "$status" -le 1 ] || exit "$status"
