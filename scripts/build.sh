#!/usr/bin/env bash
# Installs what is missing, builds tern and prints the binary's path (on stdout; progress goes to stderr).
# Takes seconds when everything stands.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

"$root/scripts/install_dependencies.sh"
build="$root/build/release"
if [ ! -f "$build/build.ninja" ]; then
  # Running needs no test packages; scripts/test.sh switches the tests on in the same folder.
  cmake -S "$root" --preset release -DTERN_BUILD_TESTS=OFF >&2
fi
if ! ninja -C "$build" -n tern | grep -q 'no work to do'; then
  echo "Building tern (the first time takes a few minutes) ..." >&2
  cmake --build "$build" --target tern >&2
fi
echo "$build/bin/tern"
