#!/usr/bin/env bash
# Runs the named make targets one after the other, goes on after a failure, and ends with how long each
# took and a line `N passed, N failed`. Exits with 1 if one failed. What each part printed is kept in the
# folder REPORT, so that a later part can tell which tests have run.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${REPORT:?the folder for the output of the parts}"
rm -rf "$REPORT"
mkdir -p "$REPORT"

passed=0
failed=0
report=()
for part in "$@"; do
  printf '\n=== %s\n' "$part"
  started=$SECONDS
  if make "$part" 2>&1 | tee "$REPORT/$part.log"; then
    verdict=ok
    passed=$((passed + 1))
  else
    verdict=FAILED
    failed=$((failed + 1))
  fi
  report+=("$(printf '%-14s %-6s %5d s' "$part" "$verdict" $((SECONDS - started)))")
done

printf '\n=== how long each part took\n'
printf '%s\n' "${report[@]}"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
