# Each known configure check gets a build.sh that answers at once; one that is not known would be compiled in a
# way of its own, so it stops the script.
cp -R "$driver" "$scratch/driver"
chmod -R u+w "$scratch/driver"
known() {
    printf 'exit %s\n' "$2" >"$scratch/driver/$1/build.sh"
    echo "answered before: exit status $2" >"$scratch/driver/$1/build.log"
    : >"$scratch/driver/$1/.known"
}
{% for answer in answers -%}
known {{ answer.folder }} {{ answer.status }}
{% endfor -%}
for check in "$scratch/driver/"{{ checks_folder }}/*/; do
    if [ -e "$check/build.sh" ] && [ ! -e "$check/.known" ]; then
        echo "the answer of the configure check $check is not known" >&2
        exit 1
    fi
done
