#!/bin/bash
# deploy/image.sh NAME [PROGRAM [BASE]]: makes the image of the program for a cluster, with the Docker daemon.
#
# PROGRAM is target/release/driverkit-matrix, BASE an image of a Debian no older than the one that it was compiled on,
# with ca-certificates where mirrors are asked by https. The builder images must be built (`driverkit-matrix images
# build`): their records go in, so that the program in the cluster knows what the nodes have.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
name=${1:?usage: deploy/image.sh NAME [PROGRAM [BASE]]}
program=${2:-$root/target/release/driverkit-matrix}
base=${3:-debian:bookworm-slim}
built=${DRIVERKIT_MATRIX_IMAGES:-${XDG_CACHE_HOME:-$HOME/.cache}/driverkit-matrix/images}

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$program" "$context/driverkit-matrix"
cp -R "$root/images" "$context/images"
mkdir "$context/built"
cp "$built"/*.json "$context/built/"
cp "$root/deploy/Dockerfile" "$context/Dockerfile"
# Without BuildKit, which not every daemon has.
DOCKER_BUILDKIT=0 docker build --quiet --build-arg "BASE=$base" --tag "$name" "$context"
