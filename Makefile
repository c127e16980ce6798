# Thin: each target calls a script in scripts/, which says what it does.
.PHONY: demo demo-full prove check test fuzz test-buckets test-targets test-cluster test-enrolled-kernel test-built-kernel samples bench bench-real bench-cluster clean

# Build drivers for a handful of real kernels, from nothing: minutes the first time, seconds the second.
demo:
	scripts/demo.sh

# The same for every kernel of the distribution's archive.
demo-full:
	scripts/demo.sh --full

# Every driver of the demo loaded into every kernel that it is for, under qemu; ends with a table.
prove:
	scripts/prove.sh

# Format, lints, documentation, licences, a build without default features, and the tests that need nothing but cargo.
check:
	scripts/check.sh

test:
	scripts/test.sh

# Each reader of foreign bytes with mutated input for a minute.
fuzz:
	scripts/fuzz.sh 60

# A module for a kernel of every distribution, from packages in its formats; ends with a table.
test-targets:
	scripts/test-targets.sh

# Buckets at all servers that can be had: versitygw (S3) and azurite (Azure, 360 MB of npm packages the first time).
test-buckets:
	cargo test --test system buckets:: -- --include-ignored

# A kernel that trusts a key loads only what that key signed; builds the kernel the first time (some CPU-minutes).
test-enrolled-kernel:
	cargo test --test system signing:: -- --ignored

# The kernel of a kernel source is built for a proof, and loads the module of its tree (some CPU-minutes).
test-built-kernel:
	cargo test --test system built_kernels:: -- --ignored

# The Kubernetes executor on a real cluster, built from source the first time (some 20 CPU-minutes).
test-cluster:
	scripts/test-cluster.sh

bench-cluster:
	scripts/test-cluster.sh --bench

# The sample pages in docs/samples, which a test compares with what the program writes.
samples:
	UPDATE_SAMPLES=1 cargo test --test it samples::

# The numbers of docs/benchmarks.md that need no real build; bench-real: all of them.
bench:
	scripts/bench.sh

bench-real:
	scripts/bench.sh --real

# What was built here. Downloads, steps and builder images stay in the user's cache folder.
clean:
	rm -rf target out vendor
