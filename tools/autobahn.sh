#!/usr/bin/env bash
# Runs Autobahn's test suite against both roles of our WebSocket and compares every verdict with
# tools/autobahn-expected.json. Left out are the groups 12 and 13: compression, which we do not negotiate.
# With --write it writes that file instead.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export PYTHONUSERBASE
PYTHONUSERBASE=$(tools/need-autobahn.sh)
cargo build --locked -p periscope-core --example autobahn_server --example autobahn_client
programs=$CARGO_TARGET_DIR/debug/examples
reports=$CARGO_TARGET_DIR/autobahn
rm -rf "$reports"
mkdir -p "$reports"
agent=periscope-core

children=()
trap 'kill "${children[@]}" 2>/dev/null || true' EXIT

# Waits until the program PID, which logs to LOG, is ready according to a command, or fails with its log.
await() { # PID LOG COMMAND…
  for _ in $(seq 300); do
    if "${@:3}" 2>/dev/null; then return; fi
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  cat "$2" >&2
  return 1
}
is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

echo "Autobahn's client against our server"
"$programs/autobahn_server" 127.0.0.1:0 2>"$reports/our-server.log" &
server=$!
children+=("$server")
await "$server" "$reports/our-server.log" grep -q 'listening on' "$reports/our-server.log"
address=$(sed -n 's/^listening on //p' "$reports/our-server.log" | head -n 1)
cat >"$reports/client.json" <<JSON
{"outdir": "$reports/server", "cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {},
 "servers": [{"agent": "$agent", "url": "ws://$address"}]}
JSON
"$PYTHONUSERBASE/bin/wstest" -m fuzzingclient -s "$reports/client.json" >"$reports/wstest-client.log" 2>&1

echo "Autobahn's server against our client"
port=$(node -e 'const s = require("node:net").createServer(); s.listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
cat >"$reports/server.json" <<JSON
{"outdir": "$reports/client", "cases": ["*"], "exclude-cases": ["12.*", "13.*"], "exclude-agent-cases": {},
 "url": "ws://127.0.0.1:$port", "webport": 0}
JSON
"$PYTHONUSERBASE/bin/wstest" -m fuzzingserver -s "$reports/server.json" >"$reports/wstest-server.log" 2>&1 &
suite=$!
children+=("$suite")
await "$suite" "$reports/wstest-server.log" is_open "$port"
"$programs/autobahn_client" "127.0.0.1:$port" 2>"$reports/our-client.log"

node tools/autobahn-compare.mjs "$reports" "$@"
