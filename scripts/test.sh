#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests.
#
#   scripts/test.sh         the tests, against the release build
#   scripts/test.sh --ci    first the same tests under AddressSanitizer and UndefinedBehaviorSanitizer (built with clang)
#                           and each fuzz target for TERN_FUZZ_SECONDS (30); on x86-64, the kernels and the engine built
#                           for aarch64, under qemu; then the tests against the release build.
#                           Sets TERN_REQUIRE_LIVE=1: on x86-64, sweeps against npm's llama.cpp are never skipped
#   scripts/test.sh -- -L golden    what follows -- goes to ctest
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=$(nproc)

ci=false
case "${1:-}" in
  --ci) ci=true; shift ;;
  --) ;;
  "") ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
[ "${1:-}" = "--" ] && shift

"$root/scripts/install_dependencies.sh" "$($ci && echo --ci || echo --test)"

# From npm, into build/npm, by the checksums in tests/npm/package-lock.json: independent test data, and a llama.cpp for
# x86-64 (elsewhere npm takes the package only with --force, and the tests that would run it are skipped).
npm_folder="$root/build/npm"
if ! cmp -s "$root/tests/npm/package-lock.json" "$npm_folder/installed.json"; then
  mkdir -p "$npm_folder"
  cp "$root/tests/npm/package.json" "$root/tests/npm/package-lock.json" "$npm_folder/"
  npm_options=(--ignore-scripts --omit=optional --no-audit --no-fund --fetch-timeout=30000)
  [ "$(uname -m)" = x86_64 ] || npm_options+=(--force)
  # A connection that stalls ends npm, which tries again only what is refused; what arrived before is in its cache.
  for attempt in 1 2 3 4 5; do
    npm ci --prefix "$npm_folder" "${npm_options[@]}" >&2 && break
    [ "$attempt" -lt 5 ] || { echo "npm could not fetch what the tests need, in $attempt attempts." >&2; exit 3; }
    sleep $((5 * attempt))
  done
  cp "$npm_folder/package-lock.json" "$npm_folder/installed.json"
fi

build() {  # build PRESET [TARGET...]
  local preset=$1
  shift
  cmake -S "$root" --preset "$preset" -DTERN_BUILD_TESTS=ON >&2
  cmake --build "$root/build/$preset" -j "$jobs" ${1:+--target "$@"} >&2
}

if $ci; then
  export TERN_REQUIRE_LIVE=1
  build asan
  echo "== Tests under AddressSanitizer and UndefinedBehaviorSanitizer"
  ctest --test-dir "$root/build/asan" --output-on-failure -j "$jobs"
  for fuzzer in "$root"/build/asan/bin/*_fuzzer; do
    name=$(basename "$fuzzer" _fuzzer)
    seeds="$root/fuzz/${name}_seeds"
    [ -d "$seeds" ] || seeds="$root/build/asan/fuzz/${name}_seeds"
    echo "== Fuzzing: $name, ${TERN_FUZZ_SECONDS:-30} s"
    mkdir -p "$root/build/fuzz-corpus/$name"
    "$fuzzer" -max_total_time="${TERN_FUZZ_SECONDS:-30}" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
      -dict="$root/fuzz/$name.dict" -artifact_prefix="$root/build/$name-" \
      "$root/build/fuzz-corpus/$name" "$seeds" >"$root/build/fuzz-$name.log" 2>&1 ||
      { tail -60 "$root/build/fuzz-$name.log"; exit 1; }
    grep 'stat::number_of_executed_units' "$root/build/fuzz-$name.log"
  done
  if [ "$(uname -m)" = x86_64 ]; then
    "$root/scripts/fetch_aarch64_libraries.sh"
    build aarch64 kernels_isa_test kernels_truth_test model_greedy_head_test engine_golden_test
    echo "== Tests of the kernels and of the engine, built for aarch64, under qemu"
    ctest --test-dir "$root/build/aarch64" --output-on-failure -j "$jobs" -L .  # of the targets that were built
  fi
fi

build release
echo "== Tests, release build"
ctest --test-dir "$root/build/release" --output-on-failure -j "$jobs" "$@"
