#!/usr/bin/env bash
# Unpacks Debian's arm64 packages of the libraries that tern links into build/aarch64-libraries, for the CMake preset
# `aarch64`. They are fetched through package lists of their own: nothing is installed, and this machine's apt and dpkg
# do not change. Quick when the folder stands.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder="$root/build/aarch64-libraries"
packages=(
  libfmt-dev libgmock-dev libgtest-dev libpcre2-dev libpugixml-dev libsimdjson-dev libspdlog-dev libssl-dev
  libtomlplusplus-dev libutf8proc-dev
)

[ "$(cat "$folder/packages" 2>/dev/null)" = "${packages[*]}" ] && exit 0
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "This needs apt-get and dpkg-deb: the libraries come from Debian's archive." >&2
  exit 3
fi

rm -rf "$folder"
mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
own_lists=(
  -o Acquire::Retries=5
  -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=
  -o Dir::State="$folder/apt" -o Dir::State::status=/dev/null -o Dir::Cache="$folder/apt/cache"
)
echo "Fetching arm64 libraries into build/aarch64-libraries" >&2
apt-get -qq "${own_lists[@]}" update >&2
# And the shared libraries of these, one step deep: the C and C++ libraries are the cross compiler's.
shared=$(apt-cache "${own_lists[@]}" depends --important "${packages[@]}" | sed -n 's/^ *Depends: \(lib[^ ]*\)$/\1/p' | sort -u)
(cd "$folder/apt" && apt-get -qq "${own_lists[@]}" download "${packages[@]}" $shared >&2)
for package in "$folder"/apt/*.deb; do dpkg-deb --extract "$package" "$folder"; done
rm -rf "$folder/apt"
echo "${packages[*]}" >"$folder/packages"
