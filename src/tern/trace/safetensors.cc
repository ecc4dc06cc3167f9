#include "tern/trace/safetensors.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "tern/base/check.h"
#include "tern/base/json.h"

namespace tern::trace {
namespace {

constexpr uint64_t kLengthBytes = 8;

// Checks one header entry against the size of the data area.
Result<Safetensors::Entry> entry_from_json(const Json& json, std::span<const std::byte> data,
                                           const std::string& where) {
  TERN_ASSIGN_OR_RETURN(const std::string dtype, json_string(json, "dtype", where));
  if (dtype != "F32") {
    return invalid_input(where, fmt::format("has dtype {}, where F32 is needed", printable(dtype, 16)));
  }
  Safetensors::Entry entry;
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
  if (n_elements > (end - begin) / sizeof(float) || n_elements * sizeof(float) != end - begin) {
    return invalid_input(where, fmt::format("has {} elements by its shape, but {} bytes", n_elements, end - begin));
  }
  const std::byte* const first = data.data() + begin;
  if (reinterpret_cast<uintptr_t>(first) % alignof(float) != 0) {
    return invalid_input(where, "is not aligned to 4 bytes");
  }
  entry.values = {reinterpret_cast<const float*>(first), n_elements};
  return entry;
}

}  // namespace

Result<Safetensors> Safetensors::open(const std::filesystem::path& path) {
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
      continue;
    }
    const std::string where = fmt::format("{}: tensor {}", path.string(), printable(name));
    TERN_ASSIGN_OR_RETURN(Entry entry, entry_from_json(Json(description), data, where));
    file.entries_.emplace(name, std::move(entry));
  }
  return file;
}

const Safetensors::Entry* Safetensors::find(std::string_view name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : &it->second;
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
  TERN_CHECK(row_width_ == 0);
  const uint64_t begin = data_size();
  TERN_RETURN_IF_ERROR(file_.append(std::as_bytes(values)));
  entries_.push_back({name, shape, begin, data_size()});
  return {};
}

Status SafetensorsWriter::begin_rows(const std::string& name, int64_t n_cols) {
  TERN_CHECK(row_width_ == 0 && n_cols > 0);
  row_width_ = n_cols;
  entries_.push_back({name, {0, n_cols}, data_size(), data_size()});
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
  for (const Entry& entry : entries_) {
    header[entry.name] = {{"dtype", "F32"}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
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
