#!/usr/bin/env bash
# Installs what is missing, builds, runs the tests, and prints how long each part took.
#
#   scripts/test.sh         the tests, against the release build
#   scripts/test.sh --ci    first the tests but those labelled `deep` under AddressSanitizer and
#                           UndefinedBehaviorSanitizer (built with clang), and each fuzz target for TERN_FUZZ_SECONDS
#                           (30), all at once; clang-tidy; the thread pool and the engine under ThreadSanitizer; on
#                           x86-64, the kernels and the engine built for aarch64, under qemu; then all tests against the
#                           release build. Sets TERN_REQUIRE_LIVE=1: on x86-64, sweeps against npm's llama.cpp are never
#                           skipped
#   scripts/test.sh -- -L golden    what follows -- goes to ctest
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=$(nproc)

ci=false
case "${1:-}" in
  --ci) ci=true; shift ;;
  --) ;;
  "") ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
[ "${1:-}" = "--" ] && shift

# At the end, whether all went well or not: the time of each part, and behind it the summary of the part that ctest ran last.
mkdir -p "$root/build"
summary="$root/build/ctest-summary.txt"
times=""
part() {  # part NAME COMMAND...
  local name=$1 began=$SECONDS code=0
  shift
  echo "== $name"
  : >"$summary"  # a part that fails must not end with the summary of another that passed
  "$@" || code=$?
  times+=$(printf '  %4d s  %s' $((SECONDS - began)) "$name")$'\n'
  [ $code -eq 0 ] || exit $code
}
print_times() {
  printf '== Time of each part\n%s  %4d s  in all\n\n' "$times" $SECONDS
  cat "$summary"
}
trap print_times EXIT

run_ctest() {  # run_ctest PRESET [ARGUMENT...]
  local preset=$1 code=0 log="$root/build/ctest-$1.log"
  shift
  ctest --test-dir "$root/build/$preset" --output-on-failure -j "$jobs" "$@" 2>&1 | tee "$log" || code=$?
  sed -n '/% tests passed/,$p' "$log" >"$summary"
  return $code
}

build() {  # build PRESET [TARGET...]
  local preset=$1
  shift
  cmake -S "$root" --preset "$preset" -DTERN_BUILD_TESTS=ON >&2 || return
  cmake --build "$root/build/$preset" -j "$jobs" ${1:+--target "$@"} >&2
}

# From npm, into build/npm, by the checksums in tests/npm/package-lock.json: independent test data, and a llama.cpp for
# x86-64 (elsewhere npm takes the package only with --force, and the tests that would run it are skipped).
fetch_from_npm() {
  local npm_folder="$root/build/npm"
  cmp -s "$root/tests/npm/package-lock.json" "$npm_folder/installed.json" && return
  mkdir -p "$npm_folder"
  cp "$root/tests/npm/package.json" "$root/tests/npm/package-lock.json" "$npm_folder/"
  local options=(--ignore-scripts --omit=optional --no-audit --no-fund --fetch-timeout=30000)
  [ "$(uname -m)" = x86_64 ] || options+=(--force)
  # A connection that stalls ends npm, which tries again only what is refused; what arrived before is in its cache.
  local attempt
  for attempt in 1 2 3 4 5; do
    npm ci --prefix "$npm_folder" "${options[@]}" >&2 && break
    [ "$attempt" -lt 5 ] || { echo "npm could not fetch what the tests need, in $attempt attempts." >&2; return 3; }
    sleep $((5 * attempt))
  done
  cp "$npm_folder/package-lock.json" "$npm_folder/installed.json"
}

fuzz() {  # fuzz NAME
  local name=$1 seeds="$root/fuzz/$1_seeds" log="$root/build/fuzz-$1.log"
  [ -d "$seeds" ] || seeds="$root/build/asan/fuzz/${name}_seeds"
  mkdir -p "$root/build/fuzz-corpus/$name"
  "$root/build/asan/bin/${name}_fuzzer" -max_total_time="${TERN_FUZZ_SECONDS:-30}" -timeout=10 -rss_limit_mb=4096 \
    -print_final_stats=1 -dict="$root/fuzz/$name.dict" -artifact_prefix="$root/build/$name-" \
    "$root/build/fuzz-corpus/$name" "$seeds" >"$log" 2>&1 || { tail -60 "$log"; return 1; }
  echo "$name: $(grep 'stat::number_of_executed_units' "$log")"
}

fuzz_all() {
  local fuzzer pids=() code=0
  for fuzzer in "$root"/build/asan/bin/*_fuzzer; do
    fuzz "$(basename "$fuzzer" _fuzzer)" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
  return $code
}

# The checks that .clang-tidy names, as errors, on src/tern, by the sanitizer build's compile commands: a kernel is a unit
# by itself, other sources are compiled several at once. Units with the sources that changed last come first, and none is
# begun after TERN_TIDY_SECONDS.
tidy() {
  local asan="$root/build/asan" units code=0
  export TIDY_BUILD=$asan TIDY_CHECKED="$root/build/tidy-checked.txt"
  TIDY_END=$(($(date +%s) + ${TERN_TIDY_SECONDS:-75}))
  export TIDY_END
  : >"$TIDY_CHECKED"
  # A line for each source: SOURCE UNIT.
  units=$(jq -r '.[].file' "$asan/compile_commands.json" | sort -u | while read -r unit; do
    case "$unit" in
      "$root"/src/tern/*) echo "${unit#"$root/"} $unit" ;;
      "$asan"/src/tern/*/Unity/*) sed -n "s|^#include \"$root/\(.*\)\"|\1 $unit|p" "$unit" ;;
    esac
  done)
  # shellcheck disable=SC2016  # the inner shell expands
  { git -C "$root" log --format= --name-only -- src/tern 2>/dev/null; awk '{print $1}' <<<"$units"; } |
    awk 'NR == FNR { unit[$1] = $2; next } $1 in unit && !seen[unit[$1]]++ { print unit[$1] }' <(echo "$units") - |
    xargs -P "$jobs" -I{} bash -c '
      [ "$(date +%s)" -lt "$TIDY_END" ] || exit 0
      clang-tidy -quiet -p "$TIDY_BUILD" "$1" 2>/dev/null && echo "$1" >>"$TIDY_CHECKED"' _ {} || code=$?
  local n_checked
  n_checked=$(grep -cFf "$TIDY_CHECKED" <<<"$units") || true
  echo "$n_checked of $(wc -l <<<"$units") sources without a finding"
  # Not one source checked is no pass: the compile commands name none, or the time was too short for the first.
  [ -s "$TIDY_CHECKED" ] || return 1
  return $code
}

part "Installing what is missing" "$root/scripts/install_dependencies.sh" "$($ci && echo --ci || echo --test)"
part "npm packages" fetch_from_npm

if $ci; then
  export TERN_REQUIRE_LIVE=1
  part "Build with AddressSanitizer and UndefinedBehaviorSanitizer" build asan
  part "clang-tidy, ${TERN_TIDY_SECONDS:-75} s" tidy
  part "Tests under AddressSanitizer and UndefinedBehaviorSanitizer" run_ctest asan -LE deep
  part "Fuzzing, ${TERN_FUZZ_SECONDS:-30} s" fuzz_all
  part "Build with ThreadSanitizer" build tsan threads_test
  part "Tests under ThreadSanitizer" run_ctest tsan -L threads
  if [ "$(uname -m)" = x86_64 ]; then
    part "Libraries for aarch64" "$root/scripts/fetch_aarch64_libraries.sh"
    part "Build for aarch64" build aarch64 isa_test engine_golden_test
    part "Tests for aarch64, under qemu" run_ctest aarch64 -L .  # of the targets that were built
  fi
fi

part "Build, release" build release
part "Tests, release build" run_ctest release "$@"
