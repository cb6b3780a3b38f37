#!/usr/bin/env bash
# Ends with a clear message where Node.js or npm is missing or too old for the web UI's tools.
set -euo pipefail
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "periscope's web UI is built with Node.js 20.19 or newer and npm; install them (https://nodejs.org) and try again." >&2
  exit 1
fi
node -e '
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19)) process.exit(0);
  console.error(`Node.js ${process.versions.node} is not supported by the web UI'"'"'s tools; use 20.19 or newer of 20, or 22.12 or newer.`);
  process.exit(1);
'
