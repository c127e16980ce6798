#!/bin/bash
# Builds modules and probes for real kernels, loads them into these kernels, and prints the results as a table.
#
#   scripts/prove.sh                            every kernel of matrices/debian.toml, with modules and probes
#   scripts/prove.sh --kernel '6.1.*-?-amd64'   flags are passed to `run`: here one kernel
#
# A second run does only what is missing. The exit status is 1 if a kernel refused an artifact. A build that fails does
# not change the exit status: see scripts/demo.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/prepare.sh
prepare_machine --tests
build_program release
prepare_images
prepare_drivers

out=target/prove
step "Build what is missing, and load the artifacts"
status=0
"$program" run matrices/debian.toml --out "$out" --prove all "$@" || status=$?
# Exit code 1: some artifacts are missing.
[ "$status" -le 1 ] || exit "$status"
step "Results of loading"
python3 - "$out/manifest.csv" <<'END'
import csv, sys

refused = 0
rows = [("kernel", "driver", "artifact", "proof", "")]
with open(sys.argv[1], newline="") as file:
    for row in csv.DictReader(file):
        if row["proof"]:
            refused += row["proof"] == "refused"
            words = row["proof_message"].splitlines()[:1]
            rows.append((row["kernel_release"], row["driver_version"], row["artifact"], row["proof"], *words))
widths = [max(len(row[column]) for row in rows) for column in range(4)]
for row in rows:
    print("  ".join([text.ljust(width) for text, width in zip(row, widths)] + list(row[4:])).rstrip())
sys.exit(min(refused, 1))
END
