prepared=$scratch/prepared
mkdir "$prepared"
sed -e '/^CONFIG_LOCALVERSION=/d' -e '/^# CONFIG_LOCALVERSION is not set/d' -e '/CONFIG_LOCALVERSION_AUTO\(=\| is\)/d' \
    /configuration/config >"$scratch/wanted"
local_version={{ local_version }}
printf 'CONFIG_LOCALVERSION="%s"\n# CONFIG_LOCALVERSION_AUTO is not set\n' "$local_version" >>"$scratch/wanted"
cp "$scratch/wanted" "$prepared/.config"

# The source stays as it is: everything is made beside it. A question that kconfig asks gets no answer, but an end.
kernel_make() {
    make -C /source O="$prepared" CC={{ compiler }} HOSTCC=gcc
    {%- for variable in make_variables %} {{ variable }}{% endfor %} "$@" </dev/null
}
kernel_make olddefconfig
echo "What the kernel's own rules make of the configuration (< as given, > as used):"
grep -v '^#$' "$prepared/.config" | sort >"$scratch/used"
sort "$scratch/wanted" | diff - "$scratch/used" | grep '^[<>] \(# \)\?CONFIG_' || true
