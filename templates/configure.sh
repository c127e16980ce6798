# Configures a driver, with neither a kernel nor a compiler in sight.
{% include "prelude.sh" %}

# CMake writes into the source folder too.
mkdir "$scratch/source"
cp -R "$driver/driver" "$scratch/source/driver"
cp -R "$driver/cmake" "$scratch/source/cmake"
chmod -R u+w "$scratch/source"

# Both compilers are declared working, so that none is looked for; nothing is compiled here.
cmake --no-warn-unused-cli -G 'Unix Makefiles' -S "$scratch/source/driver" -B "$scratch/configured" \
    -DCMAKE_MODULE_PATH="$scratch/source/cmake/modules" -DCMAKE_POLICY_VERSION_MINIMUM=3.5 \
    -DCMAKE_C_COMPILER=/bin/true -DCMAKE_C_COMPILER_FORCED=ON \
    -DCMAKE_CXX_COMPILER=/bin/true -DCMAKE_CXX_COMPILER_FORCED=ON \
    -DENABLE_DKMS=OFF -DBUILD_BPF={{ "ON" if has_probe else "OFF" }} \
    -DDRIVER_VERSION={{ version }} -DPROBE_VERSION={{ version }} -DGIT_COMMIT={{ version }} \
    -DDRIVER_NAME={{ module_name }} -DPROBE_NAME={{ module_name }} \
    -DDRIVER_DEVICE_NAME={{ device_name }} -DPROBE_DEVICE_NAME={{ device_name }}

# The result has the layout of a flat source: the module's files on top, the probe's in bpf/.
cp -R "$scratch/configured/src" "$out/tree"
# Old versions always ask git for the commit, and there is none here.
commit={{ version }}
sed -i "s/^#define \(DRIVER\|PROBE\)_COMMIT \"\"\$/#define \1_COMMIT \"$commit\"/" "$out/tree/driver_config.h"
{% if has_probe -%}
if [ -d "$scratch/configured/bpf/src" ]; then
    cp -R "$scratch/configured/bpf/src" "$out/tree/bpf"
    cp "$out/tree/driver_config.h" "$out/tree/bpf/driver_config.h"
else
    # Before 2023 the probe was compiled in the source folder, with the module's headers beside it.
    cp -R "$scratch/source/driver/bpf" "$out/tree/bpf"
    cp -n "$scratch/source/driver"/*.h "$out/tree/"
fi
{% endif -%}
find "$out/tree" -type d -exec chmod 755 {} +
find "$out/tree" -type f -exec chmod 644 {} +
