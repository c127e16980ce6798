#!/bin/bash
# Builds modules and probes for real kernels, loads them into these kernels, and prints the results as a table with a row
# for each kernel and a column for each driver version: loaded, refused, not proven, does not compile.
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
prepare_images proof
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

drivers, kernels, reasons, has_refused = [], {}, [], False
with open(sys.argv[1], newline="") as file:
    for row in csv.DictReader(file):
        if row["status"] == "excluded":
            continue
        driver, kernel = row["driver_version"], row["kernel_release"]
        if driver not in drivers:
            drivers.append(driver)
        if row["proof"]:
            result = row["proof"].replace("_", " ")
        elif row["class"] in ("compile", "configure"):
            result = "does not compile"
        else:
            result = row["class"] or row["status"]
        kernels.setdefault(kernel, {}).setdefault(driver, {})[row["artifact"]] = result
        has_refused |= row["proof"] == "refused"
        if row["proof"] not in ("", "loaded"):
            words = (row["proof_message"].splitlines() or [result])[0]
            reasons.append(f"{kernel}, {driver}, {row['artifact']}: {words}")


def cell(artifacts):
    """One word if module and probe have the same result."""
    results = list(artifacts.values())
    if not results:
        return "left out"
    if len(set(results)) == 1:
        return results[0]
    return ", ".join(f"{artifact} {result}" for artifact, result in artifacts.items())


rows = [["kernel", *drivers]]
rows += [[kernel, *(cell(of.get(driver, {})) for driver in drivers)] for kernel, of in kernels.items()]
widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
rows.insert(1, ["-" * width for width in widths])
for row in rows:
    print("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |")
for reason in reasons:
    print(reason)
sys.exit(has_refused)
END
