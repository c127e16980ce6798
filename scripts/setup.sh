#!/bin/bash
# Makes this Debian machine ready to build drivers: installs what is missing and starts a Docker daemon where none
# answers. Safe to run again; when all is there it takes a fraction of a second and changes nothing.
#
#   scripts/setup.sh            what building drivers takes
#   scripts/setup.sh --tests    and what the tests take: makers and servers of packages and images, ssh, dkms, Podman, a proxy
#
# Without a daemon the program builds all the same, in bubblewrap sandboxes (`--executor local`): so that is said, and
# the exit status stays 0.
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
    # What must be there, and the package that brings it.
    while read -r need package; do
        case $need in
        /*) [ -e "$need" ] || missing+=("$package") ;;
        *) has "$need" || missing+=("$package") ;;
        esac
    done < <(
        for_builds
        [ "$wanted" != --tests ] || for_tests
    )
    # The headers of any kernel, for builds with what is installed.
    [ "$wanted" != --tests ] || compgen -G '/lib/modules/*/build' >/dev/null ||
        missing+=("linux-headers-$(dpkg --print-architecture)")
    # Environments of Python, in which a test installs libraries of others.
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
    # The package lists are often good enough; fetch them anew only when they are not.
    as_root "${install[@]}" >/dev/null 2>&1 || {
        as_root apt-get update -qq || say "apt-get update failed; going on with what apt knows"
        as_root "${install[@]}" >/dev/null
    }
}

know_mirror() {
    "$root/scripts/mirror.sh" >/dev/null 2>&1 && return
    as_root apt-get update -qq || say "apt-get update failed; going on with what apt knows"
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
        say "docker: DOCKER_HOST is set, so no daemon is started here"
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
    # Where the package's own service has just started it.
    wait_for_daemon 30 && return

    mkdir -p "$state"
    local log=$state/dockerd.log
    # No container of this project has a network: no bridge, and this machine's firewall rules stay as they are.
    as_root sh -c 'setsid "$@" </dev/null >"$0" 2>&1 &' "$log" \
        dockerd --host="unix://$socket" --bridge=none --iptables=false --ip6tables=false
    if wait_for_daemon 30; then
        say "docker: started a daemon, its log is $log"
    else
        grep -E 'level=(error|fatal)|failed' "$log" | tail -n 5 >&2 || tail -n 5 "$log" >&2
        no_daemon "dockerd does not start, its log is $log"
    fi
}

# Waits that many seconds, but not when no daemon is coming up.
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
    say "docker: --executor auto takes the local executor (bubblewrap) instead"
}

# The S3 server of the tests takes some 150 CPU-seconds to compile, once; tests that want it earlier wait for it.
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
