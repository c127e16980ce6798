#!/bin/bash
# namespace.sh NAME: creates a namespace that enforces PodSecurity `restricted`, with an empty claim named trees.
# An existing namespace with that name is deleted first.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/common.sh
. "$here/common.sh"
name=$1

kubectl delete namespace "$name" --ignore-not-found >&2
kubectl delete persistentvolume "$name" --ignore-not-found >&2
folder=$state/volumes/$name
rm -rf "$folder"
mkdir -p "$folder"
chmod 777 "$folder" # Kubernetes does not set the pod's group on volumes of this type
kubectl apply -f - >&2 <<END_OF_FILE
apiVersion: v1
kind: Namespace
metadata:
  name: $name
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: $name}
spec:
  capacity: {storage: 20Gi}
  accessModes: [ReadWriteMany]
  hostPath: {path: $folder}
  claimRef: {namespace: $name, name: trees}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: trees, namespace: $name}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: ""
  volumeName: $name
  resources: {requests: {storage: 20Gi}}
END_OF_FILE
within 30 kubectl -n "$name" get serviceaccount default
