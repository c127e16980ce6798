# Asks a kernel tree and its compilers: do they work at all, and what does the driver have to know of this kernel?
{% include "prelude.sh" %}

kernel={{ kernel_folder }}
answers=$out/checks
probe_status=0

# Runs a command with what checks are given and nothing else.
given_to_checks() {
    env -i PATH="$PATH" HOME="$HOME" LC_ALL="$LC_ALL" TZ="$TZ" SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" \
        KERNELDIR="$kernel" KCFLAGS="${KCFLAGS-}" CC={{ compiler }} CLANG={{ clang }} LLC={{ llc }} \
        KBUILD_MODPOST_WARN={{ modpost_warn }} MAKEFLAGS={{ make_flags }} "$@"
}

# A compiler that was killed has answered nothing.
#   refuse_interrupted CHECK LOG
refuse_interrupted() {
    if [ "$status" -gt 128 ] || grep -q -E 'Killed signal|: Killed$|Error 137|No space left on device' "$2"; then
        echo "check $1 was interrupted:"
        cat "$2"
        exit 1
    fi
}

# Whether a module was compiled: then the kernel's tree and the compiler work together.
compiled=

#   keep_answer ID STATUS LOG
keep_answer() {
    mkdir -p "$answers/$1"
    cp "$3" "$answers/$1/log"
    [ "$2" != 0 ] || compiled=$1
    printf '%s\n' "$2" >"$answers/$1/status"
    echo "check $1: exit status $2"
}

# Runs a check's own build.sh where it lies, since checks include files of the driver around them.
#   answer ID FOLDER
answer() {
    status=0
    given_to_checks sh "$2/build.sh" </dev/null || status=$?
    refuse_interrupted "$1" "$2/build.log"
    keep_answer "$1" "$status" "$2/build.log"
}
{% if module_checks or kbuild_checks or probe_checks %}
cp -R "$driver" "$scratch/driver"
chmod -R u+w "$scratch/driver"
{% endif -%}
{% include "debug_information.sh" %}
{% for check in module_checks -%}
answer {{ check.id }} "$scratch/driver/"{{ check.folder }}
{% endfor -%}
{% if kbuild_checks -%}
{% include "kbuild_checks.sh" %}
{% endif -%}
{% if has_toolchain_check %}
if [ -n "$compiled" ]; then
    mkdir "$answers/toolchain-module"
    echo "the module of check $compiled was compiled" >"$answers/toolchain-module/log"
    echo 0 >"$answers/toolchain-module/status"
else
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
    if [ "$status" != 0 ]; then
        cat build.log
        # Without compilers that work, what the checks said means nothing.
        {%- for check in module_checks + kbuild_checks %}
        rm -r "$answers/"{{ check.id }}
        {%- endfor %}
        exit 0
    fi
fi
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
if [ "$status" != 0 ]; then
    cat build.log
fi
probe_status=$status
{% endif -%}
{% if probe_checks -%}
if [ "$probe_status" = 0 ]; then
    :
{%- for check in probe_checks %}
    answer {{ check.id }} "$scratch/driver/"{{ check.folder }}
{%- endfor %}
fi
{% endif -%}
