#!/bin/bash
# Builds a small kernel that trusts a key generated for it, in a directory (default: target/tmp/enrolled-kernel):
#
#   linux/                       the kernel's source and build tree; the image is linux/arch/x86/boot/bzImage
#   enrolled.key, enrolled.pem   the key and its certificate, which is in the kernel's own keyring
#
# The first run takes some minutes of processor time. Needs flex, bison, bc, libssl-dev and libelf-dev
# (scripts/setup.sh --tests).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$root/target/tmp/enrolled-kernel}
image=$folder/linux/arch/x86/boot/bzImage

if [ -e "$folder/complete" ]; then
    echo "enrolled kernel: exists already: $image"
    exit 0
fi
for program in flex bison bc openssl; do
    command -v "$program" >/dev/null || {
        echo "enrolled kernel: $program not found in PATH (apt-get install flex bison bc openssl libssl-dev libelf-dev)" >&2
        exit 1
    }
done
"$root/scripts/fetch-kernel-source.sh"
mkdir -p "$folder"
cd "$folder"
rm -rf linux
mkdir linux
tar -xf "$root"/vendor/linux-6.1/linux-6.1.*.tar.xz -C linux --strip-components=1
for name in enrolled own; do
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=$name" -keyout "$name.key" -out "$name.pem" 2>/dev/null
done
cat own.key own.pem >own-both.pem
cd linux
make -s tinyconfig
cat "$root/tests/data/small-kernel.config" - >>.config <<END
CONFIG_KALLSYMS=y
CONFIG_MODULE_SIG_KEY="$folder/own-both.pem"
CONFIG_SYSTEM_TRUSTED_KEYRING=y
CONFIG_SYSTEM_TRUSTED_KEYS="$folder/enrolled.pem"
END
make -s olddefconfig
echo "enrolled kernel: building"
make -s -j"$(nproc)" bzImage modules
touch "$folder/complete"
echo "enrolled kernel: $image"
