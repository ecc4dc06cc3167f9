#!/usr/bin/env bash
# Writes package-lock.json anew after a change of package.json.
#
# node-llama-cpp is wanted for what it carries (llama.cpp's source as a git bundle) and is never run, so the 129 packages
# that it asks for are left out: the lock says that it asks for none, and `npm ci` goes by the lock.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

lock() { npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund; }

rm -f package-lock.json
lock
jq '.packages["node_modules/node-llama-cpp"] |=
    del(.dependencies, .optionalDependencies, .peerDependencies, .peerDependenciesMeta, .bin, .funding)' \
  package-lock.json >package-lock.json.new
mv package-lock.json.new package-lock.json
lock  # drops what nothing needs any more
