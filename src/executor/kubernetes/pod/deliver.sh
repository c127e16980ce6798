# shellcheck shell=sh
# Runs beside build.sh and sends what it left (status, log, /out), also when it was killed.
#   TRANSFER: the text of transfer.cmake; URL, TOKEN, CA_TEXT: where it goes; {sha256} in it stands for the digest.
#   FILES: so many files may be in /out, in /job and in the job's /tmp, which is /watched here. Once there are more, this
#   ends with 191, and the program removes the pod.
set -eu
# When the pod is ended there is some time left to do this.
trap '' TERM
mkfifo -m 600 /job/alive 2>/dev/null || [ -p /job/alive ]

# How many files a volume in memory holds; it knows, so nothing has to be read.
in_memory() {
    # shellcheck disable=SC2046
    set -- $(stat -f -c '%c %d' "$1" 2>/dev/null || echo 0 0)
    echo $(($1 - $2))
}
watch() {
    while :; do
        on_disk=$(find /job -xdev 2>/dev/null | head -n $((FILES + 2)) | wc -l)
        for files in "$(in_memory /out)" "$(in_memory /watched)" "$on_disk"; do
            # One is the volume itself.
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
# Until build.sh has ended, or the signal.
wait $! || :
if [ -n "$over" ]; then
    echo "the job made more than $FILES files" >/dev/termination-log || :
    exit 191
fi
# It ignores TERM too.
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
# Whoever takes it from a bucket compares.
printf '%s' "$sha256" >/dev/termination-log
