# shellcheck shell=sh
# Runs a job's command while deliver.sh waits, with a time limit and with the output in a file.
#   build.sh SECONDS FOLDERS COMMAND...
# FOLDERS: the mount points of the trees that are not empty, each followed by a line feed.
seconds=$1 folders=$2
shift 2
mkfifo -m 600 /job/alive 2>/dev/null
# Stays open until this process ends for whatever reason: deliver.sh waits for that.
exec 9>/job/alive
trap 'exit 143' TERM
IFS='
'
for folder in $folders; do
    if [ -z "$(ls -A "$folder")" ]; then
        echo "tree $folder does not exist on the cache volume any more" >/dev/termination-log
        exit 190
    fi
done
started=$(date +%s%3N)
timeout --signal=KILL "$seconds" "$@" </dev/null >/job/log 2>&1 9>&- &
wait $!
code=$?
ended=$(date +%s%3N)
word=$code
[ "$code" != 137 ] || [ $((ended - started)) -lt $((seconds * 1000)) ] || word=timeout
printf '%s %s\n' "$word" "$((ended - started))" >/job/status.new
mv /job/status.new /job/status
exit "$code"
