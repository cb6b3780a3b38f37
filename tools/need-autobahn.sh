#!/usr/bin/env bash
# Prints the folder that holds Autobahn's test suite (as PYTHONUSERBASE), which it installs first if need be.
# The suite is Python 2 code; without a python2.7 this fails, because a test that is skipped proves nothing.
set -euo pipefail
version=25.10.1
target=${CARGO_TARGET_DIR:-$(cd "$(dirname "$0")/.." && pwd)/target}
folder=$target/tools/autobahn-$version

if [ -x "$folder/bin/wstest" ]; then
  echo "$folder"
  exit 0
fi
# A python2.7 of pyenv answers only where one of its versions is chosen.
if ! python2.7 -c '' 2>/dev/null && command -v pyenv >/dev/null; then
  PYENV_VERSION=$(pyenv versions --bare | grep '^2\.7' | tail -n 1 || true)
  export PYENV_VERSION
fi
if ! python2.7 -m pip --version >/dev/null 2>&1; then
  echo "The Autobahn test suite needs python2.7 with pip: install them (pyenv install 2.7.18). This target does not pass without." >&2
  exit 1
fi
work=$folder.new
rm -rf "$work"
mkdir -p "$work"
PYTHONUSERBASE=$work python2.7 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
  --user "autobahntestsuite==$version" >&2
mv "$work" "$folder"
[ -x "$folder/bin/wstest" ]
echo "$folder"
