#include "tern/trace/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tern/base/check.h"
#include "tern/base/json.h"

namespace tern::trace {
namespace {

constexpr uint64_t kLengthBytes = 8;

// A float of at most 16 bits. Every value of these formats is a float32.
float widened(uint32_t bits, const SafetensorsDType& dtype) {
  const int mantissa_bits = static_cast<int>(dtype.bits) - 1 - dtype.exponent_bits;
  const auto mantissa = static_cast<int>(bits & ((1U << mantissa_bits) - 1));
  const auto exponent = static_cast<int>(bits >> mantissa_bits & ((1U << dtype.exponent_bits) - 1));
  const int largest = (1 << dtype.exponent_bits) - 1;
  const int bias = largest >> 1;
  const bool negative = (bits >> (dtype.bits - 1) & 1) != 0;
  float magnitude = 0;
  if (exponent == largest && dtype.has_infinity) {
    magnitude = mantissa == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == largest && mantissa == (1 << mantissa_bits) - 1) {
    magnitude = std::numeric_limits<float>::quiet_NaN();
  } else {
    const int integer = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
    magnitude = std::ldexp(static_cast<float>(integer), std::max(exponent, 1) - bias - mantissa_bits);
  }
  return negative ? -magnitude : magnitude;
}

template <class Number>
Number number_at(const std::byte* data, uint64_t index) {
  Number number;
  std::memcpy(&number, data + index * sizeof(Number), sizeof(Number));
  return number;
}

std::vector<float> as_float32(const std::byte* data, uint64_t n, const SafetensorsDType& dtype) {
  std::vector<float> values(n);
  for (uint64_t i = 0; i < n; ++i) {
    values[i] = dtype.bits == 64   ? static_cast<float>(number_at<double>(data, i))
                : dtype.bits == 32 ? number_at<float>(data, i)
                : dtype.bits == 16 ? widened(number_at<uint16_t>(data, i), dtype)
                                   : widened(number_at<uint8_t>(data, i), dtype);
  }
  return values;
}

bool is_aligned(const std::byte* data) { return reinterpret_cast<uintptr_t>(data) % sizeof(float) == 0; }

}  // namespace

Result<Safetensors> Safetensors::open(const std::filesystem::path& path, Integers integers) {
  static_assert(std::endian::native == std::endian::little, "the format is little-endian");
  TERN_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::open(path));
  Safetensors file(std::move(mapped));
  const auto bytes = file.file_.bytes();
  if (bytes.size() < kLengthBytes) {
    return invalid_input(path.string(), "is too short to be a safetensors file");
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  if (header_bytes > bytes.size() - kLengthBytes || header_bytes > Safetensors::kMaxHeaderBytes) {
    return invalid_input(path.string() + " @ byte 0",
                         fmt::format("states a header of {} bytes in a file of {}", header_bytes, bytes.size()));
  }
  const auto header = bytes.subspan(kLengthBytes, header_bytes);
  const auto data = bytes.subspan(kLengthBytes + header_bytes);
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  TERN_ASSIGN_OR_RETURN(SafetensorsHeader parsed, parse_safetensors_header(text, data.size(), path.string()));
  file.metadata_ = std::move(parsed.metadata);
  for (SafetensorsHeader::Tensor& tensor : parsed.tensors) {
    const std::byte* const first = data.data() + tensor.begin;
    file.take(std::move(tensor), first, integers);
  }
  return file;
}

void Safetensors::take(SafetensorsHeader::Tensor tensor, const std::byte* first, Integers integers) {
  const SafetensorsDType& dtype = *tensor.dtype;
  const uint64_t n = tensor.n_elements;
  if (dtype.exponent_bits > 0) {
    std::span<const float> values(reinterpret_cast<const float*>(first), n);
    if (dtype.name != "F32" || !is_aligned(first)) {
      values = floats_.emplace_back(as_float32(first, n, dtype));
    }
    entries_.emplace_back(std::move(tensor.name), Entry{std::move(tensor.shape), values, dtype.name});
  } else if (dtype.name == "I32" && integers == Integers::kTaken) {
    std::span<const int32_t> values(reinterpret_cast<const int32_t*>(first), n);
    if (!is_aligned(first)) {
      auto& own = integers_.emplace_back(n);
      std::memcpy(own.data(), first, n * sizeof(int32_t));
      values = own;
    }
    integer_entries_.emplace_back(std::move(tensor.name), IntegerEntry{std::move(tensor.shape), values});
  }
}

namespace {

template <class AnyEntry>
const AnyEntry* find_in(const std::vector<std::pair<std::string, AnyEntry>>& sorted, std::string_view name) {
  const auto it = std::lower_bound(sorted.begin(), sorted.end(), name,
                                   [](const auto& entry, std::string_view wanted) { return entry.first < wanted; });
  return it != sorted.end() && it->first == name ? &it->second : nullptr;
}

}  // namespace

const Safetensors::Entry* Safetensors::find(std::string_view name) const { return find_in(entries_, name); }

const Safetensors::IntegerEntry* Safetensors::find_integers(std::string_view name) const {
  return find_in(integer_entries_, name);
}

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& path, uint64_t header_capacity) {
  header_capacity = (header_capacity + 63) / 64 * 64;  // keeps the data aligned for any reader
  TERN_ASSIGN_OR_RETURN(FileWriter file, FileWriter::create(path));
  TERN_RETURN_IF_ERROR(file.append(std::string(kLengthBytes + header_capacity, ' ')));
  return SafetensorsWriter(std::move(file), header_capacity);
}

uint64_t SafetensorsWriter::data_size() const { return file_.size() - kLengthBytes - header_capacity_; }

Status SafetensorsWriter::add(const std::string& name, const std::vector<int64_t>& shape,
                              std::span<const float> values) {
  return add_bytes(name, "F32", shape, std::as_bytes(values));
}

Status SafetensorsWriter::add_integers(const std::string& name, const std::vector<int64_t>& shape,
                                       std::span<const int32_t> values) {
  return add_bytes(name, "I32", shape, std::as_bytes(values));
}

Status SafetensorsWriter::add_bytes(const std::string& name, const char* dtype, const std::vector<int64_t>& shape,
                                    std::span<const std::byte> bytes) {
  TERN_CHECK(row_width_ == 0);
  const uint64_t begin = data_size();
  TERN_RETURN_IF_ERROR(file_.append(bytes));
  entries_.push_back({name, dtype, shape, begin, data_size()});
  return {};
}

Status SafetensorsWriter::begin_rows(const std::string& name, int64_t n_cols) {
  TERN_CHECK(row_width_ == 0 && n_cols > 0);
  row_width_ = n_cols;
  entries_.push_back({name, "F32", {0, n_cols}, data_size(), data_size()});
  return {};
}

Status SafetensorsWriter::append_rows(std::span<const float> values) {
  TERN_CHECK(row_width_ > 0 && values.size() % static_cast<size_t>(row_width_) == 0);
  return file_.append(std::as_bytes(values));
}

Status SafetensorsWriter::end_rows() {
  TERN_CHECK(row_width_ > 0);
  Entry& entry = entries_.back();
  entry.end = data_size();
  entry.shape[0] = static_cast<int64_t>((entry.end - entry.begin) / sizeof(float)) / row_width_;
  row_width_ = 0;
  return {};
}

Status SafetensorsWriter::finish() {
  TERN_CHECK(row_width_ == 0);
  nlohmann::json header = nlohmann::json::object();
  if (!metadata_.empty()) {
    header["__metadata__"] = metadata_;
  }
  for (const Entry& entry : entries_) {
    header[entry.name] = {{"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text = header.dump();
  TERN_CHECK(text.size() <= header_capacity_);
  text.resize(header_capacity_, ' ');
  const uint64_t length = header_capacity_;
  TERN_RETURN_IF_ERROR(file_.write_at(0, std::as_bytes(std::span(&length, 1))));
  TERN_RETURN_IF_ERROR(file_.write_at(kLengthBytes, std::as_bytes(std::span(text))));
  return file_.commit();
}

}  // namespace tern::trace
