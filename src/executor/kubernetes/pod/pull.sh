# shellcheck shell=sh
# Runs before a job: makes sure that the cache volume contains the job's trees, complete and unchanged.
#   TREES: for each tree a line `<digest of the content> <SHA-256 of the archive> <URL of the archive>`.
#   TRANSFER: the content of transfer.cmake.
#   TOKEN, CA_TEXT: the token for the server, and the certificates that identify the server.
#   RUN: the unique name of the run.
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

# Prints the digest of the names, types and contents of everything in the directory.
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
    # Verified once per run: this costs as much as reading the tree.
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
    # The kubelet creates an empty directory, owned by root, where a pod mounts a tree that is gone.
    rmdir "trees/$1" 2>/dev/null || [ ! -e "trees/$1" ] || mv "trees/$1" "$work/old"
    mv "$work/tree" "trees/$1"
    rm -rf "$work/old"
}

echo "$TREES" | while read -r tree archive url; do
    # Only one pod at a time pulls a tree; pods that waited find it in the cache.
    exec 8>"locks/$tree"
    flock 8
    if ! is_whole "$tree"; then
        pull "$tree" "$archive" "$url"
        is_whole "$tree" || {
            echo "tree $tree has a different digest after unpacking"
            exit 1
        }
    fi
    touch "trees/$tree"
    exec 8>&-
done

# Removes trees that no run has used for a long time, and leftovers of killed pods.
find trees -mindepth 1 -maxdepth 1 -mtime "+$KEEP_DAYS" -exec rm -rf {} +
find temporary -mindepth 1 -maxdepth 1 -mtime +1 -exec rm -rf {} +
