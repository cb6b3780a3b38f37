#!/usr/bin/env bash
# Prints the folder of a kubectl 1.30 or newer, which speaks exec over WebSocket: the machine's own, else
# one built from Kubernetes' Go module (some minutes, once). The 1.20 beside it in the tests is fetched by
# server/tests/tools/kubectl-1.20.sh.
set -euo pipefail
module=k8s.io/kubectl@v0.37.2
target=${CARGO_TARGET_DIR:-$(cd "$(dirname "$0")/.." && pwd)/target}
folder=$target/tools/kubectl

is_new_enough() {
  local version minor
  version=$("$1" version --client -o json 2>/dev/null) || return 1
  minor=$(sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' <<<"$version" | head -n 1)
  [ -n "$minor" ] && [ "$minor" -ge 30 ]
}

if program=$(command -v kubectl) && [ -z "${PERISCOPE_BUILD_KUBECTL:-}" ] && is_new_enough "$program"; then
  dirname "$program"
  exit 0
fi
if [ -x "$folder/kubectl" ] && is_new_enough "$folder/kubectl"; then
  echo "$folder"
  exit 0
fi
if ! command -v go >/dev/null; then
  echo "The server's tests need kubectl 1.30 or newer: install it, or Go 1.25 or newer so that it can be built here." >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/main.go" <<'GO'
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() { os.Exit(cli.Run(cmd.NewDefaultKubectlCommand())) }
GO
{
  cd "$work"
  go mod init kubectl
  go get "$module" "k8s.io/component-base@${module#*@}"
  go mod tidy
  version=v1.${module#*@v0.}
  minor=${version#v1.}
  mkdir -p "$folder"
  go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=${minor%%.*}" -o "$folder/kubectl" .
} >&2
is_new_enough "$folder/kubectl"
echo "$folder"
