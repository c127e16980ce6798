#!/bin/bash
# Fetches a real kernel source and real configurations of it into vendor/linux-6.1/ (not in git), from the Debian mirror
# that this machine uses (packages linux-source-6.1 and linux-config-6.1 of bookworm):
#
#   vendor/linux-6.1/linux-6.1.<patch>.tar.xz    the source, with the layout and the file name of kernel.org
#   vendor/linux-6.1/config-amd64, config-cloud-amd64, config-arm64
#
# If the directory exists already, nothing is fetched.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
vendor=${1:-$root/vendor}
folder=$vendor/linux-6.1

if [ -d "$folder" ]; then
    echo "kernel source: exists already, in $folder"
    exit 0
fi
mkdir -p "$vendor"
work=$(mktemp -d "$vendor/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
. "$root/scripts/apt.sh"
private_apt "$work" bookworm
echo "kernel source: reading the package indexes"
apt-get -qq update
mkdir "$work/download" "$work/ready"
cd "$work/download"
apt-get -qq download linux-source-6.1:amd64 linux-config-6.1:amd64 linux-config-6.1:arm64
for package in *.deb; do
    dpkg-deb -x "$package" "$work/unpacked"
done
version=$(echo linux-source-6.1_*.deb)
version=${version#linux-source-6.1_}
version=${version%%-*}
mv "$work/unpacked/usr/src/linux-source-6.1.tar.xz" "$work/ready/linux-$version.tar.xz"
configs=$work/unpacked/usr/src/linux-config-6.1
xz -dc "$configs/config.amd64_none_amd64.xz" >"$work/ready/config-amd64"
xz -dc "$configs/config.amd64_none_cloud-amd64.xz" >"$work/ready/config-cloud-amd64"
xz -dc "$configs/config.arm64_none_arm64.xz" >"$work/ready/config-arm64"
mv "$work/ready" "$folder"
echo "kernel source: linux $version -> $folder"
