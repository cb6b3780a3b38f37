#!/usr/bin/env bash
# Prints the path of a Chromium for the browser tests; installs Debian's where it is missing and we are root.
set -euo pipefail
find_chromium() {
  local candidate
  for candidate in "${PERISCOPE_CHROMIUM:-}" chromium chromium-browser google-chrome; do
    if [ -n "$candidate" ] && command -v "$candidate"; then return 0; fi
  done
  return 1
}
if find_chromium; then exit 0; fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium
  } >&2
  find_chromium && exit 0
fi
echo "The browser tests need Chromium: install it, or name it in PERISCOPE_CHROMIUM." >&2
exit 1
