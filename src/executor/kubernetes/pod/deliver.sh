# shellcheck shell=sh
# Runs in parallel to build.sh and sends its result (status, log, /out), even if build.sh was killed.
#   TRANSFER: the content of transfer.cmake.
#   URL, TOKEN, CA_TEXT: the destination of the result; {sha256} in the URL is a placeholder for the digest.
#   FILES: the maximum number of files in each of /out, /job and the job's /tmp, which is mounted at /watched here. Once
#   there are more, this script exits with 191, and the program removes the pod.
set -eu
# When the pod is ended, the grace period is long enough to send the result.
trap '' TERM
mkfifo -m 600 /job/alive 2>/dev/null || [ -p /job/alive ]

# Prints the number of files in a volume in memory; the volume counts them, so no directory is read.
in_memory() {
    # shellcheck disable=SC2046
    set -- $(stat -f -c '%c %d' "$1" 2>/dev/null || echo 0 0)
    echo $(($1 - $2))
}
watch() {
    while :; do
        on_disk=$(find /job -xdev 2>/dev/null | head -n $((FILES + 2)) | wc -l)
        for files in "$(in_memory /out)" "$(in_memory /watched)" "$on_disk"; do
            # The volume itself counts as one.
            [ "$files" -le $((FILES + 1)) ] || return 0
        done
        sleep 0.3
    done
}
over=
trap 'over=yes' USR1
(watch && kill -USR1 $$) &
watcher=$!
cat /job/alive &
# Returns when build.sh has ended or the signal arrives.
wait $! || :
if [ -n "$over" ]; then
    echo "the job created more than $FILES files" >/dev/termination-log || :
    exit 191
fi
# The watcher ignores TERM too.
kill -KILL "$watcher" 2>/dev/null || :

cd /job
printf '%s' "$TRANSFER" >transfer.cmake
if [ -n "${CA_TEXT:-}" ]; then
    export CA=/job/ca.pem
    printf '%s' "$CA_TEXT" >"$CA"
fi
touch status log
tar -cf result.tar --hard-dereference status log -C / out
sha256=$(sha256sum result.tar | cut -d' ' -f1)
case $URL in *'{sha256}') URL=${URL%'{sha256}'}$sha256 ;; esac
cmake -DMODE=put -DURL="$URL" -DFILE=/job/result.tar -P transfer.cmake
# When the result goes through a bucket, the program verifies this digest.
printf '%s' "$sha256" >/dev/termination-log
