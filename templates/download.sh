# Downloads header packages with the package manager of the user's image: as root, with the network on.
{% include "prelude.sh" %}

# A manager that does not know a package ends as one does that reaches nobody: its words tell them apart.
ask() {
    "$@" >"$scratch/said" 2>&1 && status=0 || status=$?
    cat "$scratch/said"
    if [ "$status" != 0 ] && grep -Eiq 'no package|no match|nothing to do' "$scratch/said"; then
        exit {{ not_found }}
    fi
    return "$status"
}

{% if manager == "yum" -%}
# The packages alone where the manager can; what else comes along is left behind below.
if command -v dnf >/dev/null && dnf download --help >/dev/null 2>&1; then
    ask dnf -y download --destdir="$scratch"
    {%- for package in packages %} {{ package.name }}{% endfor %}
elif command -v yumdownloader >/dev/null; then
    ask yumdownloader --destdir="$scratch"
    {%- for package in packages %} {{ package.name }}{% endfor %}
else
    ask yum -y install --downloadonly --downloaddir="$scratch"
    {%- for package in packages %} {{ package.name }}{% endfor %}
fi
{%- else -%}
ask zypper --non-interactive --pkg-cache-dir "$scratch/packages" download
    {%- for package in packages %} {{ package.name }}{% endfor %}
{%- endif %}

for file in
    {%- for package in packages %} {{ package.file }}{% endfor %}; do
    found=$(find "$scratch" -name "$file" -type f)
    if [ -z "$found" ]; then
        echo "the package manager left no $file" >&2
        exit {{ not_found }}
    fi
    cp "$found" "$out/$file"
    chmod 644 "$out/$file"
done
