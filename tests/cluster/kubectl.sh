#!/bin/bash
# kubectl.sh ARGUMENTS...: runs kubectl, in the cluster's version, on this cluster.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/common.sh
. "$here/common.sh"
kubectl "$@"
