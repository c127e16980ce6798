#!/bin/bash
# component.sh start|stop|kill NAME: starts or ends a part of the cluster, as kube-apiserver or kubelet.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/common.sh
. "$here/common.sh"
case $1 in
start) alive "$2" || start "$2" ;;
stop) stop "$2" ;;
kill) stop "$2" KILL ;;
*)
	say "no such action: $1"
	exit 2
	;;
esac
