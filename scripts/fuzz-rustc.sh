#!/bin/bash
# The compiler for scripts/fuzz.sh (RUSTC_WRAPPER). It adds coverage counters to the crates whose code is fuzzed, and
# compiles all other dependencies without them: this takes half the time, and the fuzzer gets fewer edges that no input
# can reach.
case " $* " in
*" --crate-name driverkit_matrix "* | *" --crate-name driverkit_matrix_fuzz "* | *" --crate-name object "*)
    exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$@"
