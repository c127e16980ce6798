# Steps that several scripts use. Source it from bash, in the root directory of the repository.

step() { printf '\n== %s\n' "$*"; }

# Prepares the machine: installs packages, starts a Docker daemon, finds the Debian mirror.
#   prepare_machine [--tests]
prepare_machine() {
    step "Prepare this machine"
    scripts/setup.sh "$@"
    command -v cargo >/dev/null 2>&1 || PATH=$HOME/.cargo/bin:$PATH
    DRIVERKIT_MATRIX_MIRROR_DEBIAN=$(scripts/mirror.sh)
    export DRIVERKIT_MATRIX_MIRROR_DEBIAN
    if DRIVERKIT_MATRIX_MIRROR_DEBIAN_SECURITY=$(scripts/mirror.sh security 2>/dev/null); then
        export DRIVERKIT_MATRIX_MIRROR_DEBIAN_SECURITY
    else
        unset DRIVERKIT_MATRIX_MIRROR_DEBIAN_SECURITY
    fi
}

# Builds the program and sets $program to its path. Tests use the debug one, which cargo builds for them anyway.
#   build_program release|debug
build_program() {
    step "Build the program"
    if [ "$1" = release ]; then
        cargo build --release
    else
        cargo build
    fi
    program=target/$1/driverkit-matrix
}

# Builds the named builder images; without arguments, all images of images/ that have compilers.
prepare_images() {
    step "Builder images"
    "$program" images build "$@"
}

prepare_drivers() {
    step "Driver sources"
    scripts/fetch-drivers.sh
}

prepare_kernel_source() {
    step "Kernel source"
    scripts/fetch-kernel-source.sh
}
