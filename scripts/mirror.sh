#!/bin/sh
# Prints the Debian mirror that apt uses on this machine, so that no script and no matrix has to name one.
#
#   scripts/mirror.sh            the main archive, for example http://mirror.example/debian
#   scripts/mirror.sh security   the security archive; nothing and exit status 1 where apt has none
#
# DRIVERKIT_MATRIX_MIRROR_DEBIAN and DRIVERKIT_MATRIX_MIRROR_DEBIAN_SECURITY override what apt says.
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
    # One line an index: suite, then the URL of its archive. A security suite is called
    # `bookworm-security` since Debian 11 and `buster/updates` before.
    wanted=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v archive="$archive" '
            { security = ($1 ~ /-security$|\/updates$/ || $2 ~ /debian-security/) }
            security == (archive == "security") { print $2; exit }')
fi

if [ -z "$wanted" ]; then
    echo "mirror.sh: apt on this machine has no $archive archive of Debian" >&2
    exit 1
fi
echo "${wanted%/}"
