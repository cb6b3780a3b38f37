#!/usr/bin/env bash
# Prints the folder of Helm in the version the chart is tested with, built from its Go module (some minutes, once).
set -euo pipefail
version=v4.3.1
target=${CARGO_TARGET_DIR:-$(cd "$(dirname "$0")/.." && pwd)/target}
folder=$target/tools/helm-$version

if [ -x "$folder/helm" ]; then
  echo "$folder"
  exit 0
fi
if ! command -v go >/dev/null; then
  echo "The chart's tests need Helm, which is built with Go 1.25 or newer: install Go." >&2
  exit 1
fi
# Installed beside its place and moved there, so that nobody runs half a program.
mkdir -p "$target/tools"
unfinished=$(mktemp -d "$target/tools/.helm-XXXXXX")
trap 'rm -rf "$unfinished"' EXIT
GOBIN=$unfinished CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' "helm.sh/helm/v4/cmd/helm@$version" >&2
rm -rf "$folder"
mv "$unfinished" "$folder"
echo "$folder"
