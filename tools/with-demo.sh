#!/usr/bin/env bash
# Runs a command against a fresh `periscope demo` on free ports, with PERISCOPE_URL and KUBECONFIG set:
#   tools/with-demo.sh PROGRAM COMMAND…
# Fails when the command fails, when the demo does not start, and when the demo does not end with 0 on
# SIGTERM or leaves its kubeconfig behind.
set -euo pipefail
program=$1
shift

said=$(mktemp)
"$program" demo --listen 127.0.0.1:0 >"$said" &
demo=$!
trap 'kill "$demo" 2>/dev/null || true; rm -f "$said"' EXIT

url=
kubeconfig=
for _ in $(seq 300); do
  url=$(grep -om1 'http://127\.0\.0\.1:[^ ]*' "$said" || true)
  kubeconfig=$(sed -n 's/^ *export KUBECONFIG=//p' "$said" | head -n 1)
  if [ -n "$url" ] && [ -n "$kubeconfig" ]; then break; fi
  if ! kill -0 "$demo" 2>/dev/null; then break; fi
  sleep 0.1
done
if [ -z "$url" ] || [ -z "$kubeconfig" ]; then
  echo "periscope demo did not start; it said:" >&2
  cat "$said" >&2
  exit 1
fi

verdict=0
PERISCOPE_URL=$url KUBECONFIG=$kubeconfig "$@" || verdict=$?

kill -TERM "$demo"
ended=0
wait "$demo" || ended=$?
if [ "$ended" -ne 0 ]; then
  echo "periscope demo ended with $ended" >&2
  verdict=1
fi
if [ -e "$kubeconfig" ]; then
  echo "periscope demo left $kubeconfig behind" >&2
  verdict=1
fi
exit "$verdict"
