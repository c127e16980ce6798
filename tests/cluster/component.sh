#!/bin/bash
# component.sh start|stop|kill NAME: starts, stops or kills a component of the cluster, such as kube-apiserver.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/common.sh
. "$here/common.sh"
case $1 in
start) alive "$2" || start "$2" ;;
stop) stop "$2" ;;
kill) stop "$2" KILL ;;
*)
	say "unknown action $1, expected start, stop or kill"
	exit 2
	;;
esac
