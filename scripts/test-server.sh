#!/bin/bash
# test-server.sh s3|gcs|azure: prints the command of an object store for tests, which is built or installed once and kept
# in the user's cache.
set -euo pipefail

S3_VERSION=${S3_VERSION:-v1.8.0}         # of versitygw
GCS_VERSION=${GCS_VERSION:-v1.56.1}      # of fake-gcs-server
AZURE_VERSION=${AZURE_VERSION:-3.37.0}   # of azurite

cache=${XDG_CACHE_HOME:-$HOME/.cache}/driverkit-matrix/test-servers

# go_program NAME VERSION MODULE
go_program() {
    local folder=$cache/$1-$2
    mkdir -p "$folder"
    exec 9>"$folder/lock"
    flock 9 # a second builder waits, then finds it
    if [ ! -x "$folder/$1" ]; then
        PATH=$PATH:/usr/local/go/bin:/usr/lib/go/bin
        command -v go >/dev/null || {
            echo "test-server: no go in PATH; scripts/setup.sh --tests installs it" >&2
            exit 1
        }
        (cd / && CGO_ENABLED=0 GOBIN=$folder GOFLAGS=-trimpath nice go install "$3@$2" >&2)
    fi
    echo "$folder/$1"
}

case ${1:-} in
s3) go_program versitygw "$S3_VERSION" github.com/versity/versitygw/cmd/versitygw ;;
gcs) go_program fake-gcs-server "$GCS_VERSION" github.com/fsouza/fake-gcs-server ;;
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
    echo "usage: scripts/test-server.sh s3|gcs|azure" >&2
    exit 2
    ;;
esac
