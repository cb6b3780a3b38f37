#!/bin/sh
# Prints the path of a kubectl 1.20, fetched from this machine's package archive when it is not
# there yet: old clusters are still run with clients that know SPDY only.
set -eu

root=$(cd "$(dirname "$0")/../../.." && pwd)
directory=${CARGO_TARGET_DIR:-$root/target}/tools/kubectl-1.20
program=$directory/usr/bin/kubectl

if [ ! -x "$program" ]; then
    mkdir -p "$(dirname "$directory")"
    # In a directory of its own that is moved into place whole: tests may run this at the same time.
    work=$(mktemp -d "$directory.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && apt-get download kubernetes-client >&2 && dpkg -x kubernetes-client_*.deb .)
    rm -f "$work"/*.deb
    mv "$work" "$directory" 2>/dev/null || [ -x "$program" ]
fi

version=$("$program" version --client --short)
case $version in
    *v1.20.*) ;;
    *) echo "the package archive has no kubectl 1.20 but: $version" >&2; exit 1 ;;
esac
echo "$program"
