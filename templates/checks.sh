# Asks a kernel tree and its compilers: do they work at all, or what does a driver have to know of this kernel?
{% include "prelude.sh" %}

kernel={{ kernel_folder }}
answers=$out/checks
machine_faults={{ machine_faults }}

# Runs a command with what checks are given and nothing else.
given_to_checks() {
    env -i PATH="$PATH" HOME="$HOME" LC_ALL="$LC_ALL" TZ="$TZ" SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" \
        KERNELDIR="$kernel" KCFLAGS="${KCFLAGS-}" CC={{ compiler }} CLANG={{ clang }} LLC={{ llc }} \
        KBUILD_MODPOST_WARN={{ modpost_warn }} MAKEFLAGS={{ make_flags }} "$@"
}

# A compiler that was killed, or whose disk is full, has answered nothing.
#   refuse_interrupted CHECK LOG
refuse_interrupted() {
    if [ "$status" -gt 128 ]; then
        cat "$2"
        echo "check $1 was interrupted: exit status $status"
        exit 1
    elif [ "$status" != 0 ] && grep -q -E -e "$machine_faults" "$2"; then
        echo "check $1 answers nothing:"
        cat "$2"
        exit 1
    fi
}

#   keep_answer ID STATUS LOG
keep_answer() {
    mkdir -p "$answers/$1"
    cp "$3" "$answers/$1/log"
    printf '%s\n' "$2" >"$answers/$1/status"
    echo "check $1: exit status $2"
}

# Runs a check's own build.sh where it lies, since checks include files of the driver around them.
#   answer ID FOLDER
answer() {
    status=0
    given_to_checks sh "$2/build.sh" </dev/null >"$scratch/printed" 2>&1 || status=$?
    log=$2/build.log
    # Not every check writes one.
    [ -f "$log" ] || log=$scratch/printed
    refuse_interrupted "$1" "$log"
    keep_answer "$1" "$status" "$log"
}
{% if files %}
# Of the driver, only what the keys of these checks cover.
mkdir "$scratch/driver"
(
    cd "$driver"
    cp --parents --
    {%- for file in files %} {{ file }}{% endfor %} "$scratch/driver"
)
chmod -R u+w "$scratch/driver"
{% endif -%}
{% include "debug_information.sh" %}
{% for check in module_checks -%}
answer {{ check.id }} "$scratch/driver/"{{ check.folder }}
{% endfor -%}
{% if kbuild_checks -%}
{% include "kbuild_checks.sh" %}
{% endif -%}
{% for check in probe_checks -%}
answer {{ check.id }} "$scratch/driver/"{{ check.folder }}
{% endfor -%}
{% if has_toolchain_check %}
# An empty module: what fails here is no fault of a driver.
mkdir "$scratch/toolchain-module"
cd "$scratch/toolchain-module"
printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n' >empty.c
echo 'obj-m := empty.o' >Makefile
cat >build.sh <<'END'
exec >"$(dirname "$0")/build.log" 2>&1
make -C "$KERNELDIR" M="$(dirname "$0")" CC="$CC" modules
END
answer toolchain-module "$PWD"
[ "$status" = 0 ] || cat build.log
{% endif -%}
{% if has_probe_toolchain_check %}
# An empty program for the kernel's BPF machine.
mkdir "$scratch/toolchain-probe"
cd "$scratch/toolchain-probe"
echo 'int empty(void) { return 0; }' >empty.c
cat >build.sh <<'END'
cd "$(dirname "$0")"
exec >build.log 2>&1
set -ex
# Both may hold options.
$CLANG -O2 -g -emit-llvm -c empty.c -o empty.ll
$LLC -march=bpf -filetype=obj -o empty.o empty.ll
END
answer toolchain-probe "$PWD"
[ "$status" = 0 ] || cat build.log
{% endif -%}
