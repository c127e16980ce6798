#!/bin/bash
# Builds the programs of a Kubernetes cluster from Go modules, once: this takes
# about 20 CPU-minutes and keeps 0.5 GB. After an interrupted build, the next one
# continues with Go's cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/common.sh
. "$here/common.sh"

if [[ -e $bin/done ]]; then exit 0; fi
export PATH=$PATH:/usr/local/go/bin CGO_ENABLED=0 GOFLAGS=-mod=mod
command -v go >/dev/null || {
	say "go not found in PATH: Kubernetes is built from source; install Go (https://go.dev/dl), the version that $K8S_VERSION requires or newer"
	exit 1
}
mkdir -p "$bin/src"
exec 9>"$bin/lock"
flock 9 # a second builder waits, then uses the finished build
if [[ -e $bin/done ]]; then exit 0; fi
say "building Kubernetes $K8S_VERSION in $bin"
cd "$bin/src"

# Kubernetes requires its own modules (k8s.io/api, ...) in version v0.0.0, which
# its own build replaces by directories. Their released version is v0.MINOR.PATCH.
minor=${K8S_VERSION#v1.}
manifest=$(go mod download -json "k8s.io/kubernetes@$K8S_VERSION" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
{
	echo "module cluster"
	grep '^go ' "$manifest"
	echo "require k8s.io/kubernetes $K8S_VERSION"
	sed -nE "s/^\s*(k8s\.io\/\S+) v0\.0\.0( .*)?$/replace \1 => \1 v0.$minor/p" "$manifest"
} >go.mod

facts=k8s.io/component-base/version
programs=k8s.io/kubernetes/cmd
nice -n "$KUBE_NICE" go build -p 2 -trimpath -o "$bin/" \
	-ldflags "-s -w -X $facts.gitVersion=$K8S_VERSION -X $facts.gitMajor=1 -X $facts.gitMinor=${minor%%.*}" \
	$programs/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kubectl} \
	go.etcd.io/etcd/server/v3 >&2
mv "$bin/server" "$bin/etcd"
touch "$bin/done"
