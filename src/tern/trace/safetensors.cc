#include "tern/trace/safetensors.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "tern/base/check.h"
#include "tern/base/json.h"

namespace tern::trace {
namespace {

constexpr uint64_t kLengthBytes = 8;

constexpr uint64_t kElementBytes = 4;  // of F32 and of I32

// One header entry, checked against the size of the data area.
struct RawEntry {
  std::vector<int64_t> shape;
  const std::byte* first = nullptr;  // aligned for float and int32_t
  uint64_t n_elements = 0;
};

Result<RawEntry> entry_from_json(const Json& json, std::span<const std::byte> data, const std::string& where) {
  RawEntry entry;
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
  const auto begin = (*offsets)[0].get<uint64_t>();
  const auto end = (*offsets)[1].get<uint64_t>();
  if (begin > end || end > data.size()) {
    return invalid_input(where, fmt::format("lies at {}..{} of {} data bytes", begin, end, data.size()));
  }
  if (n_elements > (end - begin) / kElementBytes || n_elements * kElementBytes != end - begin) {
    return invalid_input(where, fmt::format("has {} elements by its shape, but {} bytes", n_elements, end - begin));
  }
  entry.first = data.data() + begin;
  entry.n_elements = n_elements;
  if (reinterpret_cast<uintptr_t>(entry.first) % kElementBytes != 0) {
    return invalid_input(where, "is not aligned to 4 bytes");
  }
  return entry;
}

std::map<std::string, std::string, std::less<>> metadata_from_json(const nlohmann::json& json) {
  std::map<std::string, std::string, std::less<>> metadata;
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      if (value.is_string()) {
        metadata.emplace(key, value.get<std::string>());
      }
    }
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
  TERN_ASSIGN_OR_RETURN(const nlohmann::json json, parse_sorted_json(text, path.string() + ": header"));
  if (!json.is_object()) {
    return invalid_input(path.string() + ": header", "is not a JSON object");
  }
  for (const auto& [name, description] : json.items()) {
    if (name == "__metadata__") {
      file.metadata_ = metadata_from_json(description);
      continue;
    }
    const std::string where = fmt::format("{}: tensor {}", path.string(), printable(name));
    const Json entry_json(description);
    TERN_ASSIGN_OR_RETURN(const std::string dtype, json_string(entry_json, "dtype", where));
    const bool is_integer = dtype == "I32" && integers == Integers::kTaken;
    if (dtype != "F32" && !is_integer) {
      return invalid_input(where, fmt::format("has dtype {}, where F32{} is needed", printable(dtype, 16),
                                              integers == Integers::kTaken ? " or I32" : ""));
    }
    TERN_ASSIGN_OR_RETURN(RawEntry entry, entry_from_json(entry_json, data, where));
    if (is_integer) {
      const std::span values(reinterpret_cast<const int32_t*>(entry.first), entry.n_elements);
      file.integer_entries_.emplace(name, IntegerEntry{std::move(entry.shape), values});
    } else {
      const std::span values(reinterpret_cast<const float*>(entry.first), entry.n_elements);
      file.entries_.emplace(name, Entry{std::move(entry.shape), values});
    }
  }
  return file;
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
