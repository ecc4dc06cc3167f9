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

// A number format of the format's list. Floats have a sign, `exponent_bits` and the rest for the mantissa.
struct DType {
  std::string_view name;
  uint64_t bits;
  int exponent_bits = 0;     // 0: no float that is read
  bool has_infinity = true;  // otherwise all bits set is NaN, and the largest exponent holds numbers
};
constexpr DType kDTypes[] = {
    {"F64", 64, 11}, {"F32", 32, 8}, {"F16", 16, 5}, {"BF16", 16, 8}, {"F8_E5M2", 8, 5}, {"F8_E4M3", 8, 4, false},
    {"F8_E8M0", 8},  {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},       {"C64", 64},       {"BOOL", 8},
    {"U8", 8},       {"I8", 8},      {"U16", 16},    {"I16", 16},     {"U32", 32},       {"I32", 32},
    {"U64", 64},     {"I64", 64}};

// Null where the format has none of that name.
const DType* find_dtype(std::string_view name) {
  const auto* const known =
      std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](const DType& dtype) { return dtype.name == name; });
  return known == std::end(kDTypes) ? nullptr : known;
}

// A float of at most 16 bits. Every value of these formats is a float32.
float widened(uint32_t bits, const DType& dtype) {
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

std::vector<float> as_float32(const std::byte* data, uint64_t n, const DType& dtype) {
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

// One header entry, checked against the size of the data area.
struct RawEntry {
  const DType* dtype = nullptr;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // in the data area
  uint64_t n_elements = 0;
};

Result<const DType*> dtype_from_json(const Json& json, const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const std::string name, json_string(json, "dtype", where));
  const DType* const known = find_dtype(name);
  if (known == nullptr) {
    return invalid_input(where, fmt::format("has dtype {}, which safetensors do not have", printable(name, 16)));
  }
  return known;
}

Result<RawEntry> entry_from_json(const Json& json, uint64_t data_size, const std::string& where) {
  RawEntry entry;
  TERN_ASSIGN_OR_RETURN(entry.dtype, dtype_from_json(json, where));
  uint64_t n_elements = 1;
  const auto shape = json.find("shape");
  if (shape == json.end() || !shape->is_array() || shape->size() > 8) {
    return invalid_input(where, "has no shape of at most 8 dimensions");
  }
  for (const Json& dimension : *shape) {
    if (!dimension.is_number_unsigned() || dimension.get<uint64_t>() > INT64_MAX ||
        __builtin_mul_overflow(n_elements, dimension.get<uint64_t>(), &n_elements)) {
      return invalid_input(where, "has a dimension that is not a number, or too large");
    }
    entry.shape.push_back(dimension.get<int64_t>());
  }
  const auto offsets = json.find("data_offsets");
  if (offsets == json.end() || !offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
      !(*offsets)[1].is_number_unsigned()) {
    return invalid_input(where, "has no data_offsets [begin, end]");
  }
  entry.begin = (*offsets)[0].get<uint64_t>();
  entry.end = (*offsets)[1].get<uint64_t>();
  if (entry.begin > entry.end || entry.end > data_size) {
    return invalid_input(where, fmt::format("lies at {}..{} of {} data bytes", entry.begin, entry.end, data_size));
  }
  const uint64_t n_bytes = entry.end - entry.begin;
  uint64_t n_bits = 0;
  if (__builtin_mul_overflow(n_elements, entry.dtype->bits, &n_bits) || n_bits % 8 != 0 || n_bits / 8 != n_bytes) {
    return invalid_input(
        where, fmt::format("has {} elements by its shape, but {} bytes of {}", n_elements, n_bytes, entry.dtype->name));
  }
  entry.n_elements = n_elements;
  return entry;
}

// Tensors follow one another, from the first byte of the data area to its last.
Status check_layout(const std::map<std::string, RawEntry, std::less<>>& entries, uint64_t data_size,
                    const std::string& where) {
  std::vector<std::pair<const std::string*, const RawEntry*>> by_place;
  for (const auto& [name, entry] : entries) {
    by_place.emplace_back(&name, &entry);
  }
  std::sort(by_place.begin(), by_place.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  uint64_t next = 0;
  for (const auto& [name, entry] : by_place) {
    if (entry->begin != next) {
      return invalid_input(fmt::format("{}: tensor {}", where, printable(*name)),
                           fmt::format("begins at data byte {}, where {} is the next: {}", entry->begin, next,
                                       entry->begin > next ? "a hole" : "it overlaps the one before"));
    }
    next = entry->end;
  }
  if (next != data_size) {
    return invalid_input(where, fmt::format("has {} bytes behind its last tensor", data_size - next));
  }
  return {};
}

Result<std::map<std::string, std::string, std::less<>>> metadata_from_json(const nlohmann::json& json,
                                                                           const std::string& where) {
  std::map<std::string, std::string, std::less<>> metadata;
  if (!json.is_object()) {
    return invalid_input(where, "is not a JSON object");
  }
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) {
      return invalid_input(where, fmt::format("key \"{}\" is not a string", printable(key)));
    }
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

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
  if (!text.starts_with('{')) {
    return invalid_input(path.string() + ": header", "does not begin with '{'");
  }
  TERN_ASSIGN_OR_RETURN(const nlohmann::json json, parse_sorted_json(text, path.string() + ": header"));
  if (!json.is_object()) {
    return invalid_input(path.string() + ": header", "is not a JSON object");
  }
  std::map<std::string, RawEntry, std::less<>> entries;
  for (const auto& [name, description] : json.items()) {
    if (name == "__metadata__") {
      TERN_ASSIGN_OR_RETURN(file.metadata_, metadata_from_json(description, path.string() + ": __metadata__"));
      continue;
    }
    const std::string where = fmt::format("{}: tensor {}", path.string(), printable(name));
    TERN_ASSIGN_OR_RETURN(entries[name], entry_from_json(Json(description), data.size(), where));
  }
  TERN_RETURN_IF_ERROR(check_layout(entries, data.size(), path.string()));
  for (auto& [name, entry] : entries) {
    file.take(name, data.data() + entry.begin, std::move(entry.shape), entry.n_elements, entry.dtype->name, integers);
  }
  return file;
}

void Safetensors::take(const std::string& name, const std::byte* first, std::vector<int64_t> shape, uint64_t n,
                       std::string_view dtype_name, Integers integers) {
  const DType& dtype = *find_dtype(dtype_name);
  if (dtype.exponent_bits > 0) {
    std::span<const float> values(reinterpret_cast<const float*>(first), n);
    if (dtype.name != "F32" || !is_aligned(first)) {
      values = floats_.emplace_back(as_float32(first, n, dtype));
    }
    entries_.emplace(name, Entry{std::move(shape), values, dtype.name});
  } else if (dtype.name == "I32" && integers == Integers::kTaken) {
    std::span<const int32_t> values(reinterpret_cast<const int32_t*>(first), n);
    if (!is_aligned(first)) {
      auto& own = integers_.emplace_back(n);
      std::memcpy(own.data(), first, n * sizeof(int32_t));
      values = own;
    }
    integer_entries_.emplace(name, IntegerEntry{std::move(shape), values});
  }
}

const Safetensors::Entry* Safetensors::find(std::string_view name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : &it->second;
}

const Safetensors::IntegerEntry* Safetensors::find_integers(std::string_view name) const {
  const auto it = integer_entries_.find(name);
  return it == integer_entries_.end() ? nullptr : &it->second;
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
