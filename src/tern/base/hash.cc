#include "tern/base/hash.h"

#include <blake3.h>
#include <openssl/evp.h>

#include <array>
#include <bit>

#include "tern/base/check.h"
#include "tern/base/mapped_file.h"

namespace tern {
namespace {

std::string hex(std::span<const uint8_t> digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(digest.size() * 2);
  for (const uint8_t byte : digest) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

}  // namespace

std::string blake3_hex(std::span<const std::byte> bytes) {
  blake3_hasher hasher;
  blake3_hasher_init(&hasher);
  blake3_hasher_update(&hasher, bytes.data(), bytes.size());
  std::array<uint8_t, BLAKE3_OUT_LEN> digest{};
  blake3_hasher_finalize(&hasher, digest.data(), digest.size());
  return hex(digest);
}

std::string blake3_hex(std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little, "traces hash little-endian values");
  return blake3_hex(std::as_bytes(values));
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  std::array<uint8_t, 32> digest{};
  unsigned length = 0;
  TERN_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1);
  TERN_CHECK(length == digest.size());
  return hex(digest);
}

Result<std::string> sha256_of_file(const std::filesystem::path& path) {
  TERN_ASSIGN_OR_RETURN(const auto file, MappedFile::open(path));
  return sha256_hex(file.bytes());
}

}  // namespace tern
