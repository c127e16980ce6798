# Compiles the module of a configured driver for one kernel, with the answers of its configure checks known.
{% include "prelude.sh" %}
{% include "answers.sh" %}
{% include "debug_information.sh" %}

make -C {{ kernel_folder }} M="$scratch/driver" KERNELDIR={{ kernel_folder }} \
    CC={{ compiler }} KBUILD_MODPOST_WARN={{ modpost_warn }}
    {%- for variable in make_variables %} {{ variable }}{% endfor %} modules
{{ strip }} --strip-debug -o "$out/module.ko" "$scratch/driver/"{{ module_file }}
