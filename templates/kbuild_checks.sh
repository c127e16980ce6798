# Checks that are a module of kbuild and nothing else are compiled by one make, which reads the kernel's makefiles once
# for all of them, and answered as if each had been asked by itself. None of their own makefiles and scripts is run: what
# is shared with other drivers is compiled, never executed.
list=$scratch/kbuild-checks
{% for check in kbuild_checks -%}
printf '%s\n' check_{{ loop.index }} {{ check.id }} {{ check.folder }} {{ check.objects }} >>"$list"
{% endfor %}
# The next check of a list on standard input.
next_check() {
    read -r module && read -r id && read -r folder && read -r objects
}

# What kbuild has to be told of a check. Modules of one make must have names of their own.
goals() {
    printf '%s\n' "obj-m += $module.o" "$module-y := $objects"
}

# Compiles the modules of the Kbuild file.
#   compile LOG
compile() {
    status=0
    given_to_checks sh -c 'exec make -k -C "$KERNELDIR" M="$1" CC="$CC" modules' make "$scratch/driver/configure" \
        </dev/null >"$1" 2>&1 || status=$?
    refuse_interrupted "of modules" "$1"
}

# Compiles the modules of a list of checks.
#   compile_together LIST
compile_together() {
    while next_check; do
        goals
    done <"$1" >"$scratch/driver/configure/Kbuild"
    compile "$1.log"
}

compile_together "$list"
compiled_list=$list
if [ "$status" != 0 ]; then
    # What is not compiled has failed, and with it make did not come to link the others.
    compiled_list=$list.compiled
    : >"$compiled_list"
    while next_check; do
        if [ -e "$scratch/driver/configure/$module.o" ]; then
            printf '%s\n' "$module" "$id" "$folder" "$objects" >>"$compiled_list"
        else
            keep_answer "$id" "$status" "$list.log"
        fi
    done <"$list"
    if [ -s "$compiled_list" ] && ! cmp -s "$list" "$compiled_list"; then
        compile_together "$compiled_list"
    fi
fi
status_of_all=$status
while next_check; do
    if [ "$status_of_all" = 0 ]; then
        keep_answer "$id" 0 "$compiled_list.log"
    else
        # Linking one of them failed, and make does not say which.
        goals >"$scratch/driver/configure/Kbuild"
        compile "$list.$module.log"
        keep_answer "$id" "$status" "$list.$module.log"
    fi
done <"$compiled_list"
