# Builds the kernel of a kernel source (at /source) and a configuration (/configuration/config), to load modules into it.
{% include "prelude.sh" %}

{% include "source.sh" %}
cd "$prepared"
cp .config "$scratch/of-modules"
# How the kernel is packed, what a debugger learns of it and whom it trusts is no matter to modules. Debug information would
# take most of the time, and only the distribution has the keys.
sed -i -e '/^CONFIG_KERNEL_\(GZIP\|BZIP2\|LZMA\|XZ\|LZO\|LZ4\|ZSTD\)=/d' -e '/^CONFIG_DEBUG_INFO/d' -e '/^CONFIG_MODULE_SIG_KEY=/d' \
    -e '/^CONFIG_SYSTEM_\(TRUSTED\|REVOCATION\)_KEYS=/d' -e '/^CONFIG_\(INITRAMFS_SOURCE\|EXTRA_FIRMWARE\)=/d' .config
cat >>.config <<'END'
CONFIG_KERNEL_GZIP=y
CONFIG_DEBUG_INFO_NONE=y
# CONFIG_DEBUG_INFO is not set
# CONFIG_DEBUG_INFO_BTF is not set
CONFIG_MODULE_SIG_KEY=""
CONFIG_SYSTEM_TRUSTED_KEYS=""
CONFIG_SYSTEM_REVOCATION_KEYS=""
CONFIG_INITRAMFS_SOURCE=""
CONFIG_EXTRA_FIRMWARE=""
END
kernel_make olddefconfig
of_modules() {
    grep '^CONFIG_' "$1" | grep -v -e '^CONFIG_KERNEL_[A-Z0-9]*=' -e '^CONFIG_DEBUG_INFO' -e '^CONFIG_GDB_SCRIPTS=' -e '^CONFIG_PAHOLE' \
        -e '^CONFIG_PROBE_EVENTS_BTF_ARGS=' -e '^CONFIG_MODULE_SIG_KEY' -e '^CONFIG_SYSTEM_[A-Z]*_KEYS=' -e '^CONFIG_INITRAMFS_' -e '^CONFIG_EXTRA_FIRMWARE' -e '^CONFIG_MODULE_ALLOW_BTF_MISMATCH=' | sort
}
of_modules "$scratch/of-modules" >"$scratch/expected"
of_modules .config >"$scratch/found"
if ! diff "$scratch/expected" "$scratch/found" >"$scratch/differs"; then
    cat "$scratch/differs"
    echo "error: without debug information the kernel would be another: $(sed -n 's/^[<>] //p' "$scratch/differs" | head -n 1)" >&2
    exit 1
fi
kernel_make prepare
# Part of struct module.
if grep -q '^CONFIG_DEBUG_INFO_BTF_MODULES=y' "$scratch/of-modules"; then
    echo '#define CONFIG_DEBUG_INFO_BTF_MODULES 1' >>include/generated/autoconf.h
fi
echo "kernel release: $(cat include/config/kernel.release)"
kernel_make -j"$(nproc)" {{ image }}
cp arch/{{ source_architecture }}/boot/{{ image }} "$out/"{{ kernel_file }}
