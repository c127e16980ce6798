#!/bin/bash
# kubectl.sh ARGUMENTS...: kubectl of the cluster's version, for this cluster.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/common.sh
. "$here/common.sh"
kubectl "$@"
