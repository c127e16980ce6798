#!/bin/bash
# load-image.sh IMAGE...: copies images from the Docker daemon to the cluster's node.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/common.sh
. "$here/common.sh"
for image; do docker save "$image" | node_ctr images import - >&2; done
