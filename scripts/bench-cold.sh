#!/bin/bash
# Compares a cold run that builds real modules with plain builds of the same modules. Prints ratios:
#
#   - one driver version, and two, for the same twelve kernels of matrices/debian.toml: packages are downloaded, nothing
#     is unpacked, two jobs on two cores. The ratio is CPU seconds of the plain builds / (2 x wall seconds of the run)
#   - modules for arm64 and for amd64 of the same kernels: the median of the ratios of their compiles' CPU seconds
#
# A plain build is one container of the same builder image with the headers in place: cmake where the driver needs it,
# then the driver's own Makefile with its configure checks, then strip. Its CPU seconds are the sum over all its
# processes, without unpacking the headers. The script takes about 20 minutes.
#
# Wall time says little on a machine that does other work. So the script also measures the processor time of other
# processes during the run, and prints a second ratio with the time that was left for the run: (2 x wall - others).
#
# On a very busy machine wall time says nothing at all. Then use the third ratio: CPU seconds of the plain builds /
# CPU seconds of the run with its jobs.
#
#   scripts/bench-cold.sh [docker|local]
#
# BENCH_KERNELS="6.12.*" measures only these kernels, without arm64; BENCH_PROFILE=debug uses the unoptimised program.
set -euo pipefail
cd "$(dirname "$0")/.."

executor=${1:-docker}
# One driver that CMake configures, and one that is already configured.
drivers=(0.20.0+driver sid)
selection=(--artifact module)
read -ra kernels <<<"${BENCH_KERNELS:-5.* 6.*}"
for kernel in "${kernels[@]}"; do selection+=(--kernel "$kernel"); done
jobs=2

. scripts/prepare.sh
prepare_machine
build_program "${BENCH_PROFILE:-release}"
prepare_images bullseye bookworm trixie
prepare_drivers

export DRIVERKIT_MATRIX_IMAGES=${DRIVERKIT_MATRIX_IMAGES:-${XDG_CACHE_HOME:-$HOME/.cache}/driverkit-matrix/images}
work=$(mktemp -d "${TMPDIR:-/tmp}/bench-cold.XXXXXX")
trap 'rm -rf "$work"' EXIT
export DRIVERKIT_MATRIX_CACHE=$work/cache

step "Download the packages"
# The jobs of this run do nothing. It leaves only the downloads.
"$program" run matrices/debian.toml "${selection[@]}" --driver "${drivers[0]}" --executor fake --out "$work/fake" \
    >/dev/null 2>&1 || [ $? -eq 1 ]

# Processor seconds used by all processes of this machine, including the time that the hypervisor took (steal).
busy() { awk '/^cpu / { print ($2 + $3 + $4 + $7 + $8 + $9) / 100 }' /proc/stat; }

# Processor seconds used by the Docker daemon and its containerd.
daemons() {
    local process
    for process in $(pidof dockerd containerd); do
        awk '{ sub(/.*\) /, ""); print ($12 + $13) / 100 }' "/proc/$process/stat"
    done | awk '{ sum += $1 } END { print sum + 0 }'
}

# Processor seconds of the jobs of the last run, from the outcomes that it stored.
jobs_cpu() {
    grep -rho '"cpu":{"secs":[0-9]*,"nanos":[0-9]*}' "$DRIVERKIT_MATRIX_CACHE/outcomes" |
        awk -F'[:,}]' '{ sum += $3 + $5 / 1e9 } END { print sum + 0 }'
}

# cold NAME ARGUMENT...: a run whose cache has only the packages. Writes NAME.facts (wall seconds, processor seconds of
# the program with its jobs and the daemon, processor seconds of others) and NAME/ with the manifest.
cold() {
    local name=$1 start busy_before daemons_before program_cpu
    shift
    # The old directories are moved, not removed: for a minute after inodes were freed, ext4 checks each of them when it
    # creates a file. A run that starts at once would use several times its own processor time for that.
    mkdir -p "$work/before-$name"
    for part in outcomes trees; do
        [ ! -e "$DRIVERKIT_MATRIX_CACHE/$part" ] || mv "$DRIVERKIT_MATRIX_CACHE/$part" "$work/before-$name/"
    done
    sync
    busy_before=$(busy) daemons_before=$(daemons) start=$EPOCHREALTIME
    TIMEFORMAT='%U %S'
    { time "$program" run matrices/debian.toml "${selection[@]}" "$@" --jobs "$jobs" --executor "$executor" \
        --out "$work/$name" >"$work/$name.log" 2>&1; } 2>"$work/$name.time" || { cat "$work/$name.log"; return 1; }
    read -r user system <"$work/$name.time"
    # With the local executor the jobs are child processes of the program, so their time is already counted.
    program_cpu=$(awk "BEGIN { print $user + $system + ($(daemons) - $daemons_before) }")
    [ "$executor" = local ] || program_cpu=$(awk "BEGIN { print $program_cpu + $(jobs_cpu) }")
    awk "BEGIN { printf \"%.1f %.1f %.1f\\n\", $EPOCHREALTIME - $start, $program_cpu, $(busy) - $busy_before - $program_cpu }" \
        >"$work/$name.facts"
    echo "$name: wall, own and others' processor seconds: $(cat "$work/$name.facts")"
    tail -n 4 "$work/$name.log"
}

# The rows of a manifest with status `built`: release, driver, the release in the vermagic, gcc, image.
built() {
    tr -d '\r' <"$work/$1/manifest.csv" |
        awk -F, '$7 == "built" { split($15, vermagic, " "); print $2, $5, vermagic[1], $19, $20 }'
}

# headers RELEASE: prints the directory with the kernel's packages, unpacked as dpkg unpacks them.
headers() {
    local root=$work/headers/$1 sha256
    if [ ! -d "$root" ]; then
        mkdir -p "$root"
        grep -F "\"release\":\"$1\"" matrices/debian.lock | grep -o '"sha256":"[0-9a-f]*"' | cut -d'"' -f4 |
            while read -r sha256; do
                # Packages for other architectures were not downloaded.
                local blob=$DRIVERKIT_MATRIX_CACHE/blobs/${sha256:0:2}/$sha256
                [ ! -f "$blob" ] || dpkg-deb -x "$blob" "$root"
            done
    fi
    echo "$root"
}

# sources DRIVER: prints the directory of its sources.
sources() {
    case $1 in
    0.20.0+driver) echo vendor/falcosecurity-libs-0.20.0 ;;
    *) echo "vendor/falcosecurity-scap-dkms-$1" ;;
    esac
}

cat >"$work/plain.sh" <<'END'
set -eu
cd /tmp
if [ -f /driver/driver/CMakeLists.txt ]; then
    cp -R /driver/driver /driver/cmake .
    cmake -S driver -B build -DCMAKE_MODULE_PATH=/tmp/cmake/modules -DCMAKE_POLICY_VERSION_MINIMUM=3.5 \
        -DENABLE_DKMS=OFF -DBUILD_BPF=OFF -DDRIVER_VERSION="$VERSION" -DGIT_COMMIT="$VERSION" \
        -DDRIVER_NAME=falco -DPROBE_NAME=falco -DDRIVER_DEVICE_NAME=falco -DPROBE_DEVICE_NAME=falco
    cd build/src
else
    cp -R /driver build
    cd build
fi
make KERNELDIR="$KERNELDIR" CC="$CC"
strip --strip-debug ./*.ko
times >/tmp/times
awk '{ for (field = 1; field <= NF; field++) { split($field, part, /[ms]/); sum += part[1] * 60 + part[2] } }
    END { printf "plain-cpu %.2f\n", sum }' /tmp/times
END

# plain RELEASE DRIVER UTS_RELEASE GCC IMAGE: builds from scratch and prints the CPU seconds.
plain() {
    local root mounts=()
    root=$(headers "$1")
    for folder in "$root"/usr/src/* "$root"/usr/lib/linux-kbuild-*; do
        mounts+=(--mount "type=bind,readonly,src=$folder,dst=${folder#"$root"}")
    done
    docker run --rm --network=none --tmpfs=/tmp:rw,exec --read-only --log-driver=none \
        "${mounts[@]}" --mount "type=bind,readonly,src=$PWD/$(sources "$2"),dst=/driver" \
        --mount "type=bind,readonly,src=$work/plain.sh,dst=/plain.sh" \
        --env "VERSION=$2" --env "KERNELDIR=/usr/src/linux-headers-$3" --env "CC=gcc-$4" \
        "$5" sh /plain.sh 2>&1 | tee "$work/plain.log" | sed -n 's/^plain-cpu //p' | grep . ||
        { tail -n 20 "$work/plain.log" >&2; return 1; }
}

# ratio NAME: prints CPU seconds of the plain builds / (jobs x wall seconds of the run), and the two other ratios.
ratio() {
    local name=$1 row count
    built "$name" >"$work/$name.rows"
    count=$(wc -l <"$work/$name.rows")
    # As many at once as in the run, so that both share the processors' caches in the same way.
    export -f plain headers sources
    export work
    xargs -P "$jobs" -L 1 bash -euo pipefail -c 'plain "$@"' plain <"$work/$name.rows" >"$work/$name.plain"
    [ "$(wc -l <"$work/$name.plain")" = "$count" ]
    local wall own others
    read -r wall own others <"$work/$name.facts"
    awk -v wall="$wall" -v own="$own" -v others="$others" -v jobs="$jobs" -v name="$name" -v count="$count" '
        { plain += $1 }
        END {
            printf "%s: %d modules, plain %.1f CPU seconds, run %.1f; wall %.1f s, others %.1f CPU seconds\n",
                name, count, plain, own, wall, others
            printf "%s: plain / (%d x wall) = %.2f; plain / (%d x wall - others) = %.2f\n",
                name, jobs, plain / (jobs * wall), jobs, plain / (jobs * wall - others)
            printf "%s: CPU seconds plain / run = %.2f\n", name, plain / own
        }' "$work/$name.plain" | tee -a "$work/results"
}

step "One driver version: cold run"
cold one --arch amd64 --driver "${drivers[0]}"
step "One driver version: plain builds"
# All headers are unpacked here, one kernel after the other, and not by the plain builds, which run in parallel.
built one | while read -r release _; do headers "$release" >/dev/null; done
ratio one
step "Two driver versions: cold run"
cold two --arch amd64 --driver "${drivers[0]}" --driver "${drivers[1]}"
step "Two driver versions: plain builds"
ratio two

if [ -n "${BENCH_KERNELS:-}" ]; then
    step "Results ($executor)"
    cat "$work/results"
    exit
fi

step "Both architectures"
cold both --driver "${drivers[1]}"
# Processor time of the compile alone, from the cache: kernel, architecture, seconds, nanoseconds.
cat "$DRIVERKIT_MATRIX_CACHE"/outcomes/v1/*/*.json 2>/dev/null | sed 's/}{"inputs"/}\n{"inputs"/g' |
    sed -n '/"step":"module\/1"/s/.*\["kernel folder","\([^"]*\)-\(amd64\|arm64\)"\].*"cpu":{"secs":\([0-9]*\),"nanos":\([0-9]*\)}.*/\1 \2 \3 \4/p' |
    awk '{ seconds[$1, $2] = $3 + $4 / 1e9; kernels[$1] }
        END { for (kernel in kernels) if (((kernel, "amd64") in seconds) && ((kernel, "arm64") in seconds))
            printf "%.2f %s: %.1f CPU seconds, %.1f\n", seconds[kernel, "arm64"] / seconds[kernel, "amd64"], kernel,
                seconds[kernel, "arm64"], seconds[kernel, "amd64"] }' |
    sort -n >"$work/pairs"
cat "$work/pairs"
awk '{ ratio[NR] = $1 } END { printf "arm64/amd64: %d pairs, median %.2f\n", NR, ratio[int((NR + 1) / 2)] }' "$work/pairs" |
    tee -a "$work/results"

step "Results ($executor)"
cat "$work/results"
