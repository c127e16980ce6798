#!/bin/bash
# s3-server.sh: prints the path of an S3 server, which is built from its Go module the first time.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/common.sh
. "$here/common.sh"
folder=$(realpath -m "$KUBE_CACHE")/s3-$S3_VERSION
export PATH=$PATH:/usr/local/go/bin CGO_ENABLED=0 GOBIN=$folder
mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9 # a second builder waits, then finds it
[[ -x $folder/versitygw ]] || (cd / && nice -n "$KUBE_NICE" go install "github.com/versity/versitygw/cmd/versitygw@$S3_VERSION" >&2)
echo "$folder/versitygw"
