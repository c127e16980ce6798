#!/bin/bash
# Fetches real driver sources of three ages into vendor/ (not kept in git), from the Debian mirror that this machine uses:
#
#   vendor/falcosecurity-libs-0.20.0/              the source package, built by CMake
#   vendor/falcosecurity-scap-dkms-<version>/      flat sources with their Makefile and driver_config.h, as DKMS takes them
#
# apt does the fetching, with a configuration of its own: signatures and checksums are verified as for any package, and
# this machine's own package sources stay as they are. What is there already is not fetched again.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
vendor=${1:-$root/vendor}

# suite, kind, package, version with the Debian revision, folder in vendor/
drivers="
trixie   source falcosecurity-libs      0.20.0-3                           falcosecurity-libs-0.20.0
bookworm binary falcosecurity-scap-dkms 0.1.1dev+git20220316.e5c53d64-5.1  falcosecurity-scap-dkms-2022-03
trixie   binary falcosecurity-scap-dkms 0.20.0-3                           falcosecurity-scap-dkms-0.20.0
sid      binary falcosecurity-scap-dkms 0.23.2-6                           falcosecurity-scap-dkms-0.23.2
"

missing=0
while read -r suite kind package version folder; do
    [ -n "$suite" ] || continue
    [ -d "$vendor/$folder" ] || missing=$((missing + 1))
done <<<"$drivers"
if [ "$missing" = 0 ]; then
    echo "driver sources: all there, in $vendor"
    exit 0
fi

mkdir -p "$vendor"
work=$(mktemp -d "$vendor/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

. "$root/scripts/apt.sh"
# shellcheck disable=SC2046
private_apt "$work" $(awk 'NF { print $1 }' <<<"$drivers" | sort -u)
mkdir "$work/download"
echo "driver sources: reading the package indexes"
apt-get -qq update

fetch_source() {
    local package=$1 version=$2 into=$3
    (cd "$work/download" && apt-get -qq source --download-only "$package=$version")
    # Without Debian's own patches, if it has any: the driver is wanted as its authors released it.
    dpkg-source --skip-patches --no-check -x "$work/download/${package}_$version.dsc" "$into" >/dev/null
}

fetch_binary() {
    local package=$1 version=$2 into=$3 sources
    (cd "$work/download" && apt-get -qq download "$package=$version")
    dpkg-deb -x "$work/download/${package}_${version//:/%3a}"_*.deb "$work/unpacked-$version"
    sources=$(dirname "$(find "$work/unpacked-$version/usr/src" -name dkms.conf | head -n 1)")
    mv "$sources" "$into"
}

while read -r suite kind package version folder; do
    [ -n "$suite" ] || continue
    [ ! -d "$vendor/$folder" ] || continue
    if ! "fetch_$kind" "$package" "$version" "$work/ready"; then
        echo "driver sources: $package $version is not to be had from the mirror's $suite:" >&2
        apt-cache madison "$package" >&2
        exit 1
    fi
    mv "$work/ready" "$vendor/$folder"
    echo "driver sources: $package $version -> $folder"
done <<<"$drivers"
