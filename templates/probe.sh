# Compiles the legacy eBPF probe of a configured driver for one kernel, with the answers of its configure checks known.
{% include "prelude.sh" %}
{% include "answers.sh" %}

make -C {{ kernel_folder }} M="$scratch/driver/bpf" KERNELDIR={{ kernel_folder }} \
    CC={{ compiler }} CLANG={{ clang }} LLC={{ llc }} KBUILD_MODPOST_WARN={{ modpost_warn }}
    {%- for variable in make_variables %} {{ variable }}{% endfor %}
cp "$scratch/driver/bpf/probe.o" "$out/probe.o"
