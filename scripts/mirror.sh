#!/bin/sh
# Prints the URL of the Debian mirror that apt uses on this machine, so that no script and no matrix has to name one.
#
#   scripts/mirror.sh            the main archive, for example http://mirror.example/debian
#   scripts/mirror.sh security   the security archive; an error and exit status 1 if apt does not use one
#
# DRIVERKIT_MATRIX_MIRROR_DEBIAN and DRIVERKIT_MATRIX_MIRROR_DEBIAN_SECURITY override the URLs of apt.
set -eu

archive=${1:-main}
case $archive in
main) wanted=${DRIVERKIT_MATRIX_MIRROR_DEBIAN:-} ;;
security) wanted=${DRIVERKIT_MATRIX_MIRROR_DEBIAN_SECURITY:-} ;;
*)
    echo "mirror.sh: unknown archive '$archive', expected main or security" >&2
    exit 2
    ;;
esac

if [ -z "$wanted" ]; then
    # apt prints one line for each index: the suite, then the URL of its archive. A security suite has a name like
    # `bookworm-security` since Debian 11, and like `buster/updates` before.
    wanted=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v archive="$archive" '
            { security = ($1 ~ /-security$|\/updates$/ || $2 ~ /debian-security/) }
            security == (archive == "security") { print $2; exit }')
fi

if [ -z "$wanted" ]; then
    echo "mirror.sh: apt on this machine has no Debian $archive archive configured" >&2
    exit 1
fi
echo "${wanted%/}"
