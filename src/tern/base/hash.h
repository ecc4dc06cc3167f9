// BLAKE3 (tensors, packs) and SHA-256 (model files, as they are published), both as 64 lower-case hex digits.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "tern/base/error.h"

namespace tern {

std::string blake3_hex(std::span<const std::byte> bytes);
// Of the values' bytes as little-endian float32: the hash that traces carry.
std::string blake3_hex(std::span<const float> values);

std::string sha256_hex(std::span<const std::byte> bytes);
// Errors: kIo.
Result<std::string> sha256_of_file(const std::filesystem::path& path);

}  // namespace tern
