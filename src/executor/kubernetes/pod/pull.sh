# shellcheck shell=sh
# Runs before a job: makes sure that the cache volume holds the job's trees, whole and unchanged.
#   TREES: a line `<digest of the content> <SHA-256 of the archive> <its address>` for each; TRANSFER: the text of
#   transfer.cmake; TOKEN, CA_TEXT: what the server wants and is known by; RUN: a name that no other run has.
set -eu
umask 022
export LC_ALL=C
cd /cache
mkdir -p trees verified locks temporary
work=$(mktemp -d temporary/pull.XXXXXX)
trap 'rm -rf "/cache/$work"' EXIT
trap 'exit 143' TERM
printf '%s' "$TRANSFER" >"$work/transfer.cmake"
if [ -n "${CA_TEXT:-}" ]; then
    export CA="/cache/$work/ca.pem"
    printf '%s' "$CA_TEXT" >"$CA"
fi

# Names, kinds and contents of all that is in the folder.
content() (
    cd "$1"
    {
        find . -type d -print0 | sort -z
        find . -type f -perm -100 -print0 | sort -z
        find . -type f -print0 | sort -z | xargs -0 -r sha256sum -z
        find . -type l -printf '%p -> %l\0' | sort -z
    } | sha256sum | cut -d' ' -f1
)

is_whole() {
    [ -d "trees/$1" ] || return 1
    # Looked at once a run; that costs as much as reading it.
    [ "$(cat "verified/$1" 2>/dev/null)" != "$RUN" ] || return 0
    [ "$(content "trees/$1")" = "$1" ] || return 1
    printf '%s' "$RUN" >"$work/verified"
    mv "$work/verified" "verified/$1"
}

pull() {
    cmake -DMODE=get -DURL="$3" -DFILE="$work/archive" -DSHA256="$2" -P "$work/transfer.cmake"
    mkdir "$work/tree"
    (cd "$work/tree" && cmake -E tar xf ../archive)
    rm "$work/archive"
    # The kubelet makes an empty folder, of root, where a pod is shown a tree that is gone.
    rmdir "trees/$1" 2>/dev/null || [ ! -e "trees/$1" ] || mv "trees/$1" "$work/old"
    mv "$work/tree" "trees/$1"
    rm -rf "$work/old"
}

echo "$TREES" | while read -r tree archive url; do
    # One pod at a time pulls a tree; those that waited find it.
    exec 8>"locks/$tree"
    flock 8
    if ! is_whole "$tree"; then
        pull "$tree" "$archive" "$url"
        is_whole "$tree" || {
            echo "tree $tree is not what it should be after unpacking"
            exit 1
        }
    fi
    touch "trees/$tree"
    exec 8>&-
done

# What no run has used for long goes, and what killed pods left.
find trees -mindepth 1 -maxdepth 1 -mtime "+$KEEP_DAYS" -exec rm -rf {} +
find temporary -mindepth 1 -maxdepth 1 -mtime +1 -exec rm -rf {} +
