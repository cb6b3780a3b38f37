#!/usr/bin/env bash
# Prints the Python that runs server/tests/aws/peer.py: a virtual environment with moto, which it makes first if need be.
set -euo pipefail
version=5.2.5
target=${CARGO_TARGET_DIR:-$(cd "$(dirname "$0")/.." && pwd)/target}
folder=$target/tools/moto-$version

if [ -x "$folder/bin/python" ] && [ -e "$folder/ready" ]; then
  echo "$folder/bin/python"
  exit 0
fi
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  echo "The tests of the backend eks need Python 3.10 or newer, with venv: install it." >&2
  exit 1
fi
mkdir -p "$target/tools"
# A virtual environment knows its own path and cannot be moved; the last line is what makes it count.
rm -rf "$folder"
python3 -m venv "$folder"
# What moto[server] asks for beyond these is for services that the tests do not use.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "moto==$version" flask flask-cors >&2
touch "$folder/ready"
echo "$folder/bin/python"
