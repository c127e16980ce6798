# A separate apt configuration for scripts that fetch packages. Source it from bash, with $root set.
#
# Signatures and checksums are verified as for any package. This machine's own package sources stay as they are.
# DRIVERKIT_MATRIX_KEYRING is the keyring for a mirror that is not signed by Debian.

# Writes the configuration to directory $1, for the suites in the other arguments, on the mirror that this machine uses.
# From then on apt uses this configuration. The caller runs `apt-get update`.
private_apt() {
    local work=$1 mirror suite keyring=${DRIVERKIT_MATRIX_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
    shift
    mirror=$("$root/scripts/mirror.sh")
    mkdir -p "$work/etc" "$work/state/lists/partial" "$work/cache/archives/partial"
    : >"$work/state/status"
    for suite in "$@"; do
        # On a mirror that is no longer updated, the Release file of a rolling suite is soon past its Valid-Until date.
        echo "deb [signed-by=$keyring check-valid-until=no] $mirror $suite main"
        echo "deb-src [signed-by=$keyring check-valid-until=no] $mirror $suite main"
    done >"$work/etc/sources.list"
    cat >"$work/apt.conf" <<END
Dir::Etc::sourcelist "$work/etc/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$work/state";
Dir::State::status "$work/state/status";
Dir::Cache "$work/cache";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "root";
APT::Get::List-Cleanup "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
END
    export APT_CONFIG=$work/apt.conf
}
