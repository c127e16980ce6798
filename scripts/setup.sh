#!/bin/bash
# Prepares this Debian machine for building drivers: installs missing packages, and starts a Docker daemon if none
# answers. It can run again; if nothing is missing, it takes a fraction of a second and changes nothing.
#
#   scripts/setup.sh            what is needed to build drivers
#   scripts/setup.sh --tests    also what the tests need: tools that make and serve packages and images, ssh, dkms,
#                               Podman, a proxy
#
# Without a Docker daemon the program can still build, in bubblewrap sandboxes (`--executor local`). So a missing daemon
# is only reported, and the exit status is 0.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
'' | --tests) wanted=${1:-} ;;
*)
    echo "usage: scripts/setup.sh [--tests]" >&2
    exit 2
    ;;
esac
state=${XDG_STATE_HOME:-$HOME/.local/state}/driverkit-matrix
socket=/var/run/docker.sock

say() { echo "setup: $*"; }
die() {
    echo "setup: $*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        die "'$*' needs root: run this script as root once, or install sudo"
    fi
}

install_missing() {
    local missing=() need package
    # A program or file that must exist, and the package that has it.
    while read -r need package; do
        case $need in
        /*) [ -e "$need" ] || missing+=("$package") ;;
        *) has "$need" || missing+=("$package") ;;
        esac
    done < <(
        for_builds
        [ "$wanted" != --tests ] || for_tests
    )
    # The headers of any kernel, for tests that build with installed headers.
    [ "$wanted" != --tests ] || compgen -G '/lib/modules/*/build' >/dev/null ||
        missing+=("linux-headers-$(dpkg --print-architecture)")
    # Python virtual environments, into which a test installs libraries.
    [ "$wanted" != --tests ] || python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    if [ "${#missing[@]}" -gt 0 ]; then
        install "${missing[@]}" || die "these packages could not be installed: ${missing[*]}"
    fi
}

for_builds() {
    cat <<'END'
curl curl
gcc gcc
/usr/include/stdio.h libc6-dev
make make
mmdebstrap mmdebstrap
dpkg-source dpkg-dev
bwrap bubblewrap
git git
gpgv gpgv
/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
END
}

for_tests() {
    cat <<'END'
rpmbuild rpm
cpio cpio
openssl openssl
ssh openssh-client
/usr/sbin/sshd openssh-server
microsocks microsocks
podman podman
dkms dkms
newuidmap uidmap
chromium chromium
docker-registry docker-registry
createrepo_c createrepo-c
gpg gpg
qemu-system-x86_64 qemu-system-x86
softhsm2-util softhsm2
/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so libengine-pkcs11-openssl
/usr/sbin/modinfo kmod
flex flex
bison bison
bc bc
/usr/include/libelf.h libelf-dev
/usr/include/openssl/ssl.h libssl-dev
END
}

install() {
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@")
    say "installing $*"
    # The package lists of this machine are often new enough. They are fetched again only if the installation fails.
    as_root "${install[@]}" >/dev/null 2>&1 || {
        as_root apt-get update -qq || say "apt-get update failed; continuing with the old package lists"
        as_root "${install[@]}" >/dev/null
    }
}

know_mirror() {
    "$root/scripts/mirror.sh" >/dev/null 2>&1 && return
    as_root apt-get update -qq || say "apt-get update failed; continuing with the old package lists"
    "$root/scripts/mirror.sh" >/dev/null || die "apt knows no Debian mirror; set DRIVERKIT_MATRIX_MIRROR_DEBIAN"
}

check_cargo() {
    has cargo || [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH=$HOME/.cargo/bin:$PATH
    has cargo || die "no cargo in PATH: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml") or later"
}

daemon_answers() {
    [ "$(curl -s --max-time 5 --unix-socket "$socket" http://localhost/_ping 2>/dev/null)" = OK ]
}

start_daemon() {
    if [ -n "${DOCKER_HOST:-}" ]; then
        say "docker: DOCKER_HOST is set, so no daemon is started"
        return
    fi
    if daemon_answers; then
        say "docker: a daemon answers on $socket"
        return
    fi
    if [ -S "$socket" ] && [ ! -w "$socket" ]; then
        no_daemon "this user may not use $socket: join the group docker"
        return
    fi
    has dockerd || [ -x /usr/sbin/dockerd ] || install docker.io || {
        no_daemon "package docker.io could not be installed"
        return
    }
    PATH=$PATH:/usr/sbin:/sbin
    # The service of the package may have started a daemon just now.
    wait_for_daemon 30 && return

    mkdir -p "$state"
    local log=$state/dockerd.log
    # No container of this project has a network. So no bridge is needed, and the firewall rules stay as they are.
    as_root sh -c 'setsid "$@" </dev/null >"$0" 2>&1 &' "$log" \
        dockerd --host="unix://$socket" --bridge=none --iptables=false --ip6tables=false
    if wait_for_daemon 30; then
        say "docker: started a daemon, its log is $log"
    else
        grep -E 'level=(error|fatal)|failed' "$log" | tail -n 5 >&2 || tail -n 5 "$log" >&2
        no_daemon "dockerd failed to start, its log is $log"
    fi
}

# Waits at most $1 seconds for a daemon. Stops earlier if no dockerd process runs.
wait_for_daemon() {
    local tries=$(($1 * 5)) alone=0
    while [ "$tries" -gt 0 ] && [ "$alone" -lt 5 ]; do
        daemon_answers && return
        pidof dockerd >/dev/null || alone=$((alone + 1))
        sleep 0.2
        tries=$((tries - 1))
    done
    return 1
}

no_daemon() {
    say "docker: NO DAEMON ($1)"
    say "docker: --executor auto uses the local executor (bubblewrap) instead"
}

# Starts the compilation of the tests' S3 server in the background: it takes about 150 CPU-seconds once. Tests that need
# the server before it is ready wait for it.
build_s3_server() {
    has go || [ -x /usr/local/go/bin/go ] || install golang-go || die "package golang-go could not be installed"
    mkdir -p "$state"
    ("$root/scripts/test-server.sh" s3 </dev/null >"$state/test-server.log" 2>&1 &)
}

install_missing
know_mirror
check_cargo
start_daemon
[ "$wanted" != --tests ] || build_s3_server
