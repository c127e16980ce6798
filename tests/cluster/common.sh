# shellcheck shell=bash disable=SC2034
# Sourced by the scripts beside it: what they agree on.

# Settable from outside.
K8S_VERSION=${K8S_VERSION:-v1.37.2}                                       # a released version; its Go must be installed
KUBE_CACHE=${KUBE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/test-kubernetes} # binaries, kept between runs
KUBE_STATE=${KUBE_STATE:-/var/lib/test-kubernetes}                        # everything else; short, since sockets lie in it
KUBE_PORT=${KUBE_PORT:-6443}                                              # of the API server, on the bridge
KUBE_NICE=${KUBE_NICE:-19}                                                # of the build

bin=$(realpath -m "$KUBE_CACHE")/$K8S_VERSION
state=$(realpath -m "$KUBE_STATE")
address=10.244.0.1 # of this machine on the pods' bridge
pause_image=localhost/pause:1
components=(containerd etcd kube-apiserver kube-controller-manager kube-scheduler kubelet)
export KUBECONFIG=$state/kubeconfig

say() { echo "cluster: $*" >&2; }
kubectl() { "$bin/kubectl" "$@"; }
node_ctr() { ctr --address "$state/containerd.sock" --namespace k8s.io "$@"; }

# The time at which a process began, in clock ticks since boot; nothing for a
# zombie. With the id it names a process: a stale pid file hits no stranger.
began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'; }

# alive NAME: whether the component whose pid file has this name runs.
alive() {
	local pid at
	read -r pid at 2>/dev/null <"$state/$1.pid" && [[ -n $at && $(began "$pid") == "$at" ]]
}

# start NAME: runs what NAME.cmd says in the background, with a log and a pid
# file. The command is kept, so that a test can start a component again.
start() {
	local name=$1
	setsid nohup bash "$state/$name.cmd" </dev/null >>"$state/$name.log" 2>&1 &
	local pid=$!
	echo "$pid $(began "$pid")" >"$state/$name.pid"
}

# define NAME COMMAND...: writes down how a component is started.
define() {
	local name=$1
	shift
	printf 'exec' >"$state/$name.cmd"
	printf ' %q' "$@" >>"$state/$name.cmd"
}

# stop NAME [SIGNAL]: ends a component, by force when it is there after 10 s.
stop() {
	local pid _
	alive "$1" || return 0
	read -r pid _ <"$state/$1.pid"
	kill -s "${2:-TERM}" "$pid"
	within 10 gone "$1" 2>/dev/null || kill -9 "$pid"
}
gone() { ! alive "$1"; }

# within SECONDS COMMAND...: repeats the command until it succeeds.
within() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		if ((SECONDS >= end)); then
			say "not within its time: $* (logs: $state/*.log)"
			return 1
		fi
		sleep 0.2
	done
}

# routes -I|-D: adds or takes away the pods' ways, beside Docker's own rules: out,
# and to the API server under the address that Kubernetes tells them.
routes() {
	iptables -t nat "$1" PREROUTING -i testkube0 -d 10.96.0.1 -p tcp --dport 443 -j DNAT --to-destination "$address:$KUBE_PORT"
	iptables -t nat "$1" POSTROUTING -s 10.244.0.0/24 ! -o testkube0 -j MASQUERADE
	iptables "$1" FORWARD -i testkube0 -j ACCEPT
	iptables "$1" FORWARD -o testkube0 -j ACCEPT
}
