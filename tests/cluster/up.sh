#!/bin/bash
# Starts a real Kubernetes cluster with one node on this machine, on loopback and
# on a bridge of its own, and prints the path of its kubeconfig. A cluster that
# already runs is not changed. Needs root.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/common.sh
. "$here/common.sh"

all_alive() {
	local component
	for component in "${components[@]}"; do alive "$component" || return 1; done
}
if all_alive; then
	echo "$KUBECONFIG"
	exit
fi

# 1. Programs: containerd (also a dependency of docker.io), runc and the CNI
#    plugins from Debian; Kubernetes itself from source.
missing=()
for package in containerd runc containernetworking-plugins iptables iproute2 procps openssl gcc libc6-dev; do
	status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
	[[ $status == *'ok installed' ]] || missing+=("$package")
done
if ((${#missing[@]})); then
	say "installing ${missing[*]}"
	{
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"
	} >&2
fi
"$here/build.sh"

# 2. A clean state. Save the settings of the machine that the kubelet changes.
"$here/down.sh"
mkdir -p "$state"/{pki,cni,images}
sysctl vm.overcommit_memory kernel.panic kernel.panic_on_oops \
	kernel.keys.root_maxkeys kernel.keys.root_maxbytes >"$state/sysctl"
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup

# 3. Certificates: a certificate authority, the API server, and an administrator,
#    whose certificate the other components use as well.
issue() { # issue NAME SUBJECT EXTENSIONS
	openssl genrsa -out "$1.key" 2048 2>/dev/null
	openssl req -new -key "$1.key" -subj "$2" |
		openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" -extfile <(echo "$3") 2>/dev/null
}
cd "$state/pki"
openssl genrsa -out ca.key 2048 2>/dev/null
openssl req -x509 -new -key ca.key -subj /CN=test-kubernetes -days 3650 -out ca.crt
issue server /CN=kube-apiserver "extendedKeyUsage=serverAuth
subjectAltName=IP:127.0.0.1,IP:10.96.0.1,IP:$address,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc"
issue admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
openssl genrsa -out accounts.key 2048 2>/dev/null
cat >"$KUBECONFIG" <<END_OF_FILE
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://$address:$KUBE_PORT", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: admin, user: {client-certificate-data: $(base64 -w0 admin.crt), client-key-data: $(base64 -w0 admin.key)}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
END_OF_FILE

# 4. A containerd for the node, separate from Docker's, and its network: a bridge
#    that exists before the first pod, so that a server can bind to its address.
cat >"$state/containerd.toml" <<END_OF_FILE
version = 2
root = "$state/containerd"
state = "$state/containerd-run"
[grpc]
  address = "$state/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$state/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause_image"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true # without CAP_SYS_RESOURCE even root can only raise it
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$state/cni"
END_OF_FILE
cat >"$state/cni/10-test.conflist" <<END_OF_FILE
{"cniVersion": "0.4.0", "name": "test-kubernetes", "plugins": [
  {"type": "bridge", "bridge": "testkube0", "isGateway": true,
   "ipam": {"type": "host-local", "dataDir": "$state/cni-ips", "ranges": [[{"subnet": "10.244.0.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}}]}
END_OF_FILE
# The bridge gets a fixed MAC address. Otherwise it has the address of one of its
# ports, which changes when the pod of that port ends.
ip link add testkube0 address 02:00:0a:f4:00:01 type bridge
ip address add $address/24 dev testkube0
ip link set testkube0 up
routes -I
define containerd containerd --config "$state/containerd.toml"
start containerd

# 5. The image of the pause process, which keeps a pod's namespaces: one static
#    program.
cd "$state/images"
echo 'int pause(void); int main(void) { for (;;) pause(); }' | gcc -static -Os -s -x c - -o pause
tar --owner=0 --group=0 -cf layer.tar pause
cat >config.json <<END_OF_FILE
{"architecture": "$(dpkg --print-architecture)", "os": "linux", "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum <layer.tar | cut -d' ' -f1)"]}}
END_OF_FILE
echo '[{"Config": "config.json", "RepoTags": ["'$pause_image'"], "Layers": ["layer.tar"]}]' >manifest.json
tar -cf pause.tar manifest.json config.json layer.tar
within 30 node_ctr version
node_ctr images import pause.tar >&2

# 6. The control plane.
define etcd "$bin/etcd" --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
	--listen-client-urls http://127.0.0.1:23790 --advertise-client-urls http://127.0.0.1:23790 \
	--listen-peer-urls http://127.0.0.1:23800 --initial-advertise-peer-urls http://127.0.0.1:23800 \
	--initial-cluster default=http://127.0.0.1:23800
define kube-apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:23790 \
	--bind-address "$address" --advertise-address "$address" --secure-port "$KUBE_PORT" --endpoint-reconciler-type none \
	--tls-cert-file "$state/pki/server.crt" --tls-private-key-file "$state/pki/server.key" --client-ca-file "$state/pki/ca.crt" \
	--service-account-issuer https://kubernetes.default.svc --service-account-key-file "$state/pki/accounts.key" \
	--service-account-signing-key-file "$state/pki/accounts.key" --service-cluster-ip-range 10.96.0.0/16 \
	--authorization-mode Node,RBAC --allow-privileged --kubelet-preferred-address-types Hostname \
	--kubelet-client-certificate "$state/pki/admin.crt" --kubelet-client-key "$state/pki/admin.key"
define kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$KUBECONFIG" --bind-address 127.0.0.1 \
	--leader-elect=false --service-account-private-key-file "$state/pki/accounts.key" --root-ca-file "$state/pki/ca.crt"
define kube-scheduler "$bin/kube-scheduler" --kubeconfig "$KUBECONFIG" --bind-address 127.0.0.1 --leader-elect=false
start etcd
start kube-apiserver
within 120 kubectl get --raw /readyz
start kube-controller-manager
start kube-scheduler

# 7. The node, named localhost so that the API server finds its kubelet on
#    loopback. It neither evicts pods nor removes images when the disk is full.
cat >"$state/kubelet.yaml" <<END_OF_FILE
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $state/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix://$state/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
podLogsDir: $state/pod-logs
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
END_OF_FILE
define kubelet "$bin/kubelet" --config "$state/kubelet.yaml" --kubeconfig "$KUBECONFIG" \
	--root-dir "$state/kubelet" --hostname-override localhost
start kubelet
within 60 kubectl get node localhost
kubectl wait --for=condition=Ready node/localhost --timeout=90s >&2
within 60 kubectl get serviceaccount default # without it no pod is admitted
all_alive || {
	say "a component does not run any more; the logs are $state/*.log"
	exit 1
}
echo "$KUBECONFIG"
