# Most targets call a script in scripts/, whose first comment says what it does.
.PHONY: demo demo-full prove check test fuzz test-buckets test-targets test-cluster test-enrolled-kernel test-built-kernel samples bench bench-real bench-cluster clean

# Builds drivers for three real kernels from scratch: the first run takes minutes, the second one seconds.
demo:
	scripts/demo.sh

# The same for all kernels of matrices/debian.toml.
demo-full:
	scripts/demo.sh --full

# Loads every driver of the full demo into its kernel, in qemu, and prints a table.
prove:
	scripts/prove.sh

# Checks format, lints, documentation, licences, a build without default features; runs the tests that need only cargo.
check:
	scripts/check.sh

test:
	scripts/test.sh

# Runs each reader of untrusted bytes with mutated input for a minute.
fuzz:
	scripts/fuzz.sh 60

# Builds a module for a kernel of every distribution, from packages in its formats, and prints a table.
test-targets:
	scripts/test-targets.sh

# Tests buckets on real servers: versitygw (S3) and azurite (Azure; the first run downloads 360 MB of npm packages).
test-buckets:
	cargo test --test system buckets:: -- --include-ignored

# Tests that a kernel that trusts a key loads only modules signed by that key. The first run builds the kernel (some
# CPU-minutes).
test-enrolled-kernel:
	cargo test --test system signing:: -- --ignored

# Builds the kernel of a kernel source for a proof, and loads the module that was built for it (some CPU-minutes).
test-built-kernel:
	cargo test --test system built_kernels:: -- --ignored

# Tests the Kubernetes executor on a real cluster. The first run builds the cluster from source (about 20 CPU-minutes).
test-cluster:
	scripts/test-cluster.sh

bench-cluster:
	scripts/test-cluster.sh --bench

# Writes the sample pages in docs/samples again; a test compares them with the output of the program.
samples:
	UPDATE_SAMPLES=1 cargo test --test it samples::

# Runs the benchmarks of docs/benchmarks.md that need no real build; `bench-real` runs those with real builds too.
bench:
	scripts/bench.sh

bench-real:
	scripts/bench.sh --real

# Removes what was built in this directory. Downloads, outcomes and builder images stay in the user's cache directory.
clean:
	rm -rf target out vendor
