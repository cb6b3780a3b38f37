#!/usr/bin/env bash
# fuzz/run.sh [SECONDS [TARGET…]]: runs the fuzz targets (all of them by default) one after the other under
# libFuzzer for that long each (60 by default), and adds to fuzz/corpus what reached new code. Exits with 1 at
# the first crash and says where its input is.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
shift || true
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}
tools=$CARGO_TARGET_DIR/tools/cargo-fuzz
export PATH=$tools/bin:$PATH
# cargo-fuzz wants -Z flags of the compiler. The profile of a release would optimise across the
# instrumented crates for minutes.
export RUSTC_BOOTSTRAP=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
if ! cargo fuzz --version >/dev/null 2>&1; then
  cargo install --locked --version '^0.13' --root "$tools" cargo-fuzz
fi
mapfile -t targets < <(if [ $# -gt 0 ]; then printf '%s\n' "$@"; else cargo fuzz list --fuzz-dir .; fi)
# The same output folder as the other builds would make each rebuild the other's crates.
export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/fuzz
cargo fuzz build --fuzz-dir .
host=$(rustc -vV | sed -n 's/^host: //p')
for target in "${targets[@]}"; do
  program=$CARGO_TARGET_DIR/$host/release/$target
  found=$CARGO_TARGET_DIR/found/$target
  mkdir -p "$found" artifacts/"$target" corpus/"$target"
  printf '=== %s for %s s\n' "$target" "$seconds"
  # A decoder that allocates 64 MiB at once, or needs 20 s for 4 KiB, is as broken as one that panics.
  "$program" -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=64 \
    -artifact_prefix="artifacts/$target/" -verbosity=0 -print_final_stats=1 "$found" corpus/"$target"
  "$program" -set_cover_merge=1 -verbosity=0 corpus/"$target" "$found"
done
