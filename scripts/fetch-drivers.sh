#!/bin/bash
# Fetches real driver sources of three ages into vendor/ (not in git), from the Debian mirror that this machine uses:
#
#   vendor/falcosecurity-libs-0.20.0/              the source package, built by CMake
#   vendor/falcosecurity-scap-dkms-<version>/      flat sources with Makefile and driver_config.h, as DKMS uses them
#
# A mirror has only the versions that are in its suites now. So the list below names an upstream version, and any Debian
# revision of it is accepted. If the suite no longer has that version, the script uses the newest one and prints a
# notice. The version in sid changes often, so matrices/ and tests name that driver by its suite. vendor/*.version has
# the package version of each driver.
#
# apt fetches the packages, with a separate configuration: signatures and checksums are verified as for any package, and
# this machine's own package sources stay as they are. Sources that exist already are not fetched again.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
vendor=${1:-$root/vendor}

# suite, kind, package, version without the Debian revision, directory in vendor/
drivers="
trixie   source falcosecurity-libs      0.20.0                         falcosecurity-libs-0.20.0
bookworm binary falcosecurity-scap-dkms 0.1.1dev+git20220316.e5c53d64  falcosecurity-scap-dkms-2022-03
trixie   binary falcosecurity-scap-dkms 0.20.0                         falcosecurity-scap-dkms-0.20.0
sid      binary falcosecurity-scap-dkms 0.23.2                         falcosecurity-scap-dkms-sid
"

missing=0
while read -r suite kind package version folder; do
    [ -n "$suite" ] || continue
    [ -d "$vendor/$folder" ] || missing=$((missing + 1))
done <<<"$drivers"
if [ "$missing" = 0 ]; then
    echo "driver sources: all exist already, in $vendor"
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

# Prints the full version, with the Debian revision, that the suite has of upstream version VERSION. If the suite does
# not have that version, prints the newest one; if it does not have the package, prints nothing.
#   choose SUITE KIND PACKAGE VERSION
choose() {
    local suite=$1 kind=$2 package=$3 wanted=$4 index=Packages versions found
    [ "$kind" = binary ] || index=Sources
    # Newest first.
    versions=$(apt-cache madison "$package" | awk -F ' *[|] *' -v place=" $suite/main " -v index_name="$index\$" \
        '(" " $3) ~ place && $3 ~ index_name { print $2 }' | tr -d ' ' | uniq)
    found=$(awk -v wanted="$wanted" '{ upstream = $0; sub(/^[0-9]+:/, "", upstream); sub(/-[^-]*$/, "", upstream) }
        upstream == wanted { print; exit }' <<<"$versions")
    printf '%s\n' "${found:-$(head -n 1 <<<"$versions")}"
}

fetch_source() {
    local package=$1 version=$2 into=$3
    (cd "$work/download" && apt-get -qq source --download-only "$package=$version")
    # Without Debian's patches, if there are any: the driver must be as its authors released it.
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
    found=$(choose "$suite" "$kind" "$package" "$version")
    if [ -z "$found" ] || ! "fetch_$kind" "$package" "$found" "$work/ready"; then
        echo "driver sources: failed to fetch $package ${found:-$version} from the mirror's $suite, which has:" >&2
        apt-cache madison "$package" >&2
        exit 1
    fi
    case $found in
    "$version"-* | *:"$version"-*) ;;
    *) echo "driver sources: notice: $suite has no $package $version, using $found" >&2 ;;
    esac
    echo "$found" >"$vendor/$folder.version"
    mv "$work/ready" "$vendor/$folder"
    echo "driver sources: $package $found -> $folder"
done <<<"$drivers"
