#!/bin/bash
# A compiler for scripts/fuzz.sh (RUSTC_WRAPPER): counts coverage in the crates whose code is fuzzed, and compiles the
# other dependencies as they are, which takes half as long and leaves the fuzzer fewer edges that no input can reach.
case " $* " in
*" --crate-name driverkit_matrix "* | *" --crate-name driverkit_matrix_fuzz "* | *" --crate-name object "*)
    exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$@"
