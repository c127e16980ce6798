# shellcheck shell=bash disable=SC2034
# Settings and functions of the scripts in this directory, which source this file.

# The environment can set these.
K8S_VERSION=${K8S_VERSION:-v1.37.2}                                       # a released version; its Go must be installed
KUBE_CACHE=${KUBE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/test-kubernetes} # binaries, kept between runs
KUBE_STATE=${KUBE_STATE:-/var/lib/test-kubernetes}                        # all other files; a short path, since it contains sockets
KUBE_PORT=${KUBE_PORT:-6443}                                              # port of the API server, on the bridge
KUBE_NICE=${KUBE_NICE:-19}                                                # nice value of the build

bin=$(realpath -m "$KUBE_CACHE")/$K8S_VERSION
state=$(realpath -m "$KUBE_STATE")
address=10.244.0.1 # address of this machine on the pods' bridge
pause_image=localhost/pause:1
components=(containerd etcd kube-apiserver kube-controller-manager kube-scheduler kubelet)
export KUBECONFIG=$state/kubeconfig

say() { echo "cluster: $*" >&2; }
kubectl() { "$bin/kubectl" "$@"; }
node_ctr() { ctr --address "$state/containerd.sock" --namespace k8s.io "$@"; }

# Prints when a process started, in clock ticks since boot; nothing for a zombie.
# Pid and start time together identify a process, so a stale pid file never
# matches another process.
began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }'; }

# alive NAME: succeeds if the component with this name runs, by its pid file.
alive() {
	local pid at
	read -r pid at 2>/dev/null <"$state/$1.pid" && [[ -n $at && $(began "$pid") == "$at" ]]
}

# start NAME: runs the command in NAME.cmd in the background, with a log and a
# pid file. NAME.cmd is kept, so that a test can start the component again.
start() {
	local name=$1
	setsid nohup bash "$state/$name.cmd" </dev/null >>"$state/$name.log" 2>&1 &
	local pid=$!
	echo "$pid $(began "$pid")" >"$state/$name.pid"
}

# define NAME COMMAND...: writes the command that starts a component to NAME.cmd.
define() {
	local name=$1
	shift
	printf 'exec' >"$state/$name.cmd"
	printf ' %q' "$@" >>"$state/$name.cmd"
}

# stop NAME [SIGNAL]: stops a component; kills it if it still runs after 10 s.
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
			say "timed out: $* (logs: $state/*.log)"
			return 1
		fi
		sleep 0.2
	done
}

# routes -I|-D: adds or removes the firewall rules for the pods, in addition to
# Docker's rules. With them pods reach the network outside, and the API server
# at the address that Kubernetes gives to pods.
routes() {
	iptables -t nat "$1" PREROUTING -i testkube0 -d 10.96.0.1 -p tcp --dport 443 -j DNAT --to-destination "$address:$KUBE_PORT"
	iptables -t nat "$1" POSTROUTING -s 10.244.0.0/24 ! -o testkube0 -j MASQUERADE
	iptables "$1" FORWARD -i testkube0 -j ACCEPT
	iptables "$1" FORWARD -o testkube0 -j ACCEPT
}
