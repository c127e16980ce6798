# Makes the header tree of a kernel source (at /source) and a configuration (/configuration/config).
{% include "prelude.sh" %}

{% include "source.sh" %}
# What rewrites BTF is not made: it needs Python and zlib, and works on a vmlinux, which there is none of. The headers
# still say that the kernel has BTF.
kernel_make CONFIG_DEBUG_INFO_BTF= modules_prepare
echo "kernel release: $(cat "$prepared/include/config/kernel.release")"

# The header tree: what modules are built with, and none of what the kernel itself is built from.
folder=$out/tree{{ folder }}
mkdir -p "$folder"
cd /source
{
    find Makefile Kbuild Kconfig include scripts -xtype f -print0
    find arch/{{ source_architecture }} -xtype f \
        \( -path '*/include/*' -o -name 'Makefile*' -o -name 'Kbuild*' -o -name 'Kconfig*' -o -name '*.h' \
        -o -name '*.lds*' -o -name '*.tbl' -o -name '*.sh' -o -name '*.awk' \) -print0
    {%- if shared_includes %}
    # Its own headers include some of these.
    find {{ shared_includes }} -xtype f -print0
    {%- endif %}
} | tar -c --dereference --null -T - | tar -x -C "$folder"
cd "$prepared"
find . -type f ! -name '.*.cmd' ! -name '.*.d' ! -name '*.s' ! -name '*.a' ! -name .config.old ! -path ./Makefile \
    ! -path './scripts/*.o' ! -path './tools/*.o' -print0 | tar -c --null -T - | tar -x -C "$folder"
