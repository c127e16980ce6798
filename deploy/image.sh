#!/bin/bash
# deploy/image.sh NAME [PROGRAM [BASE]]: builds the image of the program for a cluster, with the Docker daemon.
#
# PROGRAM is by default target/release/driverkit-matrix. BASE is an image of a Debian that is not older than the Debian
# on which the program was compiled; it needs ca-certificates if mirrors use https. The builder images must be built
# before (`driverkit-matrix images build`): this image contains their records, so that the program in the cluster knows
# which builder images the nodes have.
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
# Do not use BuildKit: not every daemon has it.
DOCKER_BUILDKIT=0 docker build --quiet --build-arg "BASE=$base" --tag "$name" "$context"
