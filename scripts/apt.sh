# An apt of its own, for scripts that fetch packages; to be sourced by bash, with $root set.
#
# Signatures and checksums are verified as for any package, and this machine's own package sources stay as they are.

# Makes the configuration in folder $1 for the suites named after it, of the mirror that this machine uses, and makes
# apt use it from now on. `apt-get update` is left to the caller.
private_apt() {
    local work=$1 mirror suite keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    shift
    mirror=$("$root/scripts/mirror.sh")
    mkdir -p "$work/etc" "$work/state/lists/partial" "$work/cache/archives/partial"
    : >"$work/state/status"
    for suite in "$@"; do
        # The Release file of a rolling suite on a mirror that stands still is soon past its Valid-Until.
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
