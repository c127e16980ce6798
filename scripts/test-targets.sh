#!/bin/bash
# Builds a module for a kernel of each distribution, from packages in its own formats on mirrors of this machine, and
# prints a table: target x result. See docs/targets.md and tests/system/targets.rs.
#
#   TARGETS='centos photon' scripts/test-targets.sh    only these
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/prepare.sh
prepare_machine --tests
build_program debug
prepare_images bookworm sid
prepare_drivers
prepare_kernel_source

step "A module for each distribution"
cargo test --test system targets:: -- --ignored --nocapture
[ -n "${TARGETS:-}" ] || cargo test --test system host_programs:: -- --ignored
