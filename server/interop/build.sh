#!/usr/bin/env bash
# Builds the peer from Kubernetes' own parts, once per state of its sources, and prints the program's path.
# It needs Go 1.25 or newer (which fetches the release go.mod names); the first build takes some minutes.
set -euo pipefail
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target}
sources=$(cat go.mod go.sum ./*.go | sha256sum | cut -c1-16)
program=$target/tools/interop-$sources

if [ -x "$program" ]; then
  echo "$program"
  exit 0
fi
if ! command -v go >/dev/null; then
  echo "The peer from Kubernetes' own parts needs Go 1.25 or newer: install it." >&2
  exit 1
fi
mkdir -p "$target/tools"
# Built beside its place and moved there, so that nobody runs half a program.
unfinished=$(mktemp "$target/tools/.interop-XXXXXX")
trap 'rm -f "$unfinished"' EXIT
GOFLAGS='-mod=readonly -buildvcs=false' CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$unfinished" . >&2
chmod 755 "$unfinished"
mv "$unfinished" "$program"
echo "$program"
