# Same inputs, same bytes: whoever runs this, whenever and wherever.
set -eu
umask 022
unset MAKEFLAGS MFLAGS GNUMAKEFLAGS MAKELEVEL MAKEOVERRIDES MAKEFILES
unset ARCH CROSS_COMPILE CC LD KBUILD_OUTPUT KCFLAGS KCPPFLAGS KAFLAGS CFLAGS_MODULE LDFLAGS_MODULE
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/tmp LC_ALL=C LANG=C TZ=UTC
export SOURCE_DATE_EPOCH=1 KBUILD_BUILD_TIMESTAMP='1970-01-01 00:00:01 UTC'
export KBUILD_BUILD_USER=driverkit-matrix KBUILD_BUILD_HOST=driverkit-matrix KBUILD_BUILD_VERSION=1
# Elsewhere only where there is no sandbox.
driver=${DRIVERKIT_MATRIX_DRIVER:-/driver}
out=${DRIVERKIT_MATRIX_OUT:-/out}
scratch=${DRIVERKIT_MATRIX_SCRATCH:-/tmp}/build
mkdir -p "$scratch"

# What the script used, for the executor: processor time of all its processes, and the sandbox's memory peak.
report_resources() {
    times >"$scratch/times"
    awk '{ for (field = 1; field <= NF; field++) { split($field, part, /[ms]/); sum += part[1] * 60 + part[2] } }
        END { printf "cpu_seconds %.2f\n", sum }' "$scratch/times" >"$out/.resources" || return 0
    for peak in /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes; do
        if [ -r "$peak" ]; then
            printf 'memory_peak_bytes %s\n' "$(cat "$peak")" >>"$out/.resources"
            break
        fi
    done
}
trap report_resources EXIT
