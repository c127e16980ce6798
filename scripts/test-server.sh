#!/bin/bash
# test-server.sh s3|azure: prints the command of an object store for tests. The server is built or installed once, and
# kept in the user's cache.
set -euo pipefail

S3_VERSION=${S3_VERSION:-v1.8.0}       # of versitygw
AZURE_VERSION=${AZURE_VERSION:-3.37.0} # of azurite

cache=${XDG_CACHE_HOME:-$HOME/.cache}/driverkit-matrix/test-servers

s3() {
    local folder=$cache/versitygw-$S3_VERSION
    mkdir -p "$folder"
    exec 9>"$folder/lock"
    flock 9 # a second builder waits, then uses the finished server
    if [ ! -x "$folder/versitygw" ]; then
        PATH=$PATH:/usr/local/go/bin:/usr/lib/go/bin
        command -v go >/dev/null || {
            echo "test-server: go not found in PATH; scripts/setup.sh --tests installs it" >&2
            exit 1
        }
        local module=github.com/versity/versitygw/cmd/versitygw
        (cd / && CGO_ENABLED=0 GOBIN=$folder nice go install "$module@$S3_VERSION" >&2)
    fi
    echo "$folder/versitygw"
}

case ${1:-} in
s3) s3 ;;
azure)
    folder=$cache/azurite-$AZURE_VERSION
    mkdir -p "$folder"
    exec 9>"$folder/lock"
    flock 9
    if [ ! -x "$folder/node_modules/.bin/azurite-blob" ]; then
        npm install --prefix "$folder" --no-audit --no-fund --omit=dev "azurite@$AZURE_VERSION" >&2
    fi
    echo "$folder/node_modules/.bin/azurite-blob"
    ;;
*)
    echo "usage: scripts/test-server.sh s3|azure" >&2
    exit 2
    ;;
esac
