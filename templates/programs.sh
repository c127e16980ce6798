# Compiles programs of header trees from the sources beside them, for the machine that builds.
{% include "prelude.sh" %}

mkdir "$out/programs"
# What cannot be compiled is run in another way: no error here is one of the build.
compile() {
    number=$1
    folder=$2
    shift 2
    gcc -O2 -w -I "$folder/../include" -I "$folder" -o "$scratch/program" "$@" || return 0
    mv "$scratch/program" "$out/programs/$number"
}
{% for program in programs %}
compile {{ program.number }} {{ program.folder }}
{%- for source in program.sources %} {{ source }}{% endfor %}
{%- endfor %}
