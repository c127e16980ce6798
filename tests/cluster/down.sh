#!/bin/bash
# Stops the cluster that up.sh started and removes its state. The compiled
# programs are kept.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/common.sh
. "$here/common.sh"
[[ -d $state ]] || exit 0

# Delete the pods through the API first, so that the kubelet stops them properly.
if alive kube-apiserver && alive kubelet; then
	for kinds in cronjobs,jobs pods; do
		timeout 30 "$bin/kubectl" delete "$kinds" --all --all-namespaces --grace-period=1 >/dev/null 2>&1
	done
fi
stop kubelet
# Remove the remaining pods by removing their tasks. Tasks survive a killed
# containerd, and a newly started containerd finds them again.
if ! alive containerd && [[ -e $state/containerd.cmd ]]; then start containerd; fi
if alive containerd; then
	within 30 node_ctr version
	for task in $(node_ctr tasks ls -q); do node_ctr tasks rm -f "$task" >/dev/null 2>&1; done
fi
for component in kube-scheduler kube-controller-manager kube-apiserver etcd containerd; do stop "$component"; done
cut -d' ' -f2 /proc/mounts | grep "^$state/" | sort -r | xargs -r -n1 umount -l
routes -D 2>/dev/null
ip link delete testkube0 2>/dev/null
find /var/log/containers -lname "$state/*" -delete 2>/dev/null
[[ -s $state/sysctl ]] && sysctl -q -p "$state/sysctl" >/dev/null
rm -rf "$state"
