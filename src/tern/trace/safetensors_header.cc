#include "tern/trace/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

namespace tern::trace {
namespace {

using Tensor = SafetensorsHeader::Tensor;

constexpr SafetensorsDType kDTypes[] = {
    {"F64", 64, 11}, {"F32", 32, 8}, {"F16", 16, 5}, {"BF16", 16, 8}, {"F8_E5M2", 8, 5}, {"F8_E4M3", 8, 4, false},
    {"F8_E8M0", 8},  {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},       {"C64", 64},       {"BOOL", 8},
    {"U8", 8},       {"I8", 8},      {"U16", 16},    {"I16", 16},     {"U32", 32},       {"I32", 32},
    {"U64", 64},     {"I64", 64}};

constexpr std::string_view kMetadata = "__metadata__";
constexpr size_t kMaxDimensions = 8;

// Takes the parser's events. Objects and arrays of a key that the format does not have are passed over.
class Reader : public nlohmann::json_sax<nlohmann::json> {
 public:
  Reader(uint64_t data_size, const std::string& file) : data_size_(data_size), file_(file) {}

  const std::optional<Error>& error() const { return error_; }
  SafetensorsHeader take() { return std::move(header_); }

  bool null() override { return other(); }
  bool boolean(bool) override { return other(); }
  bool number_integer(number_integer_t) override { return other(); }
  bool number_float(number_float_t, const string_t&) override { return other(); }
  bool binary(binary_t&) override { return other(); }

  bool number_unsigned(number_unsigned_t value) override {
    if (depth_ == 3 && key_ == Key::kShape) {
      if (value > INT64_MAX || __builtin_mul_overflow(n_elements_, value, &n_elements_)) {
        return fail("has a dimension that is not a number, or too large");
      }
      if (tensor_.shape.size() == kMaxDimensions) {
        return fail("has no shape of at most 8 dimensions");
      }
      tensor_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (depth_ == 3 && key_ == Key::kOffsets && n_offsets_ < 2) {
      (n_offsets_ == 0 ? tensor_.begin : tensor_.end) = value;
      ++n_offsets_;
      return true;
    }
    return other();
  }

  bool string(string_t& value) override {
    if (depth_ == 2 && name_ == kMetadata) {
      if (!header_.metadata.emplace(metadata_key_, value).second) {
        return fail_at("the key \"" + printable(metadata_key_) + "\" stands twice");
      }
      return true;
    }
    if (depth_ == 2 && key_ == Key::kDType) {
      const auto* const known = std::ranges::find(kDTypes, value, &SafetensorsDType::name);
      if (known == std::end(kDTypes)) {
        return fail(fmt::format("has dtype {}, which safetensors do not have", printable(value, 16)));
      }
      tensor_.dtype = known;
      return true;
    }
    return other();
  }

  bool start_object(size_t) override {
    if (depth_ == 1) {
      tensor_ = {};
      tensor_.name = name_;
      n_elements_ = 1;
      n_offsets_ = 0;
      seen_ = {};
    }
    return (depth_ < 2 || other()) && open();
  }
  bool end_object() override {
    --depth_;
    return depth_ != 1 || name_ == kMetadata || finish_tensor();
  }
  bool key(string_t& value) override {
    if (depth_ == 1) {
      name_ = std::move(value);
      const bool is_twice = name_ == kMetadata && has_metadata_;
      has_metadata_ = has_metadata_ || name_ == kMetadata;
      return !is_twice || fail_at(fmt::format("the key \"{}\" stands twice", kMetadata));
    }
    if (depth_ == 2 && name_ == kMetadata) {
      metadata_key_ = std::move(value);
      return true;
    }
    if (depth_ == 2) {
      key_ = value == "dtype"          ? Key::kDType
             : value == "shape"        ? Key::kShape
             : value == "data_offsets" ? Key::kOffsets
                                       : Key::kOther;
      bool& seen = seen_.at(static_cast<size_t>(key_));
      const bool is_twice = seen && key_ != Key::kOther;
      seen = true;
      return !is_twice || fail(fmt::format("the key \"{}\" stands twice", value));
    }
    return true;
  }
  bool start_array(size_t) override { return ((depth_ == 2 && is_list_key()) || other()) && open(); }
  bool end_array() override {
    --depth_;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return set(invalid_input(fmt::format("{}: header @ byte {}", file_, position), "is not valid JSON"));
  }

 private:
  enum class Key { kDType, kShape, kOffsets, kOther };

  bool is_list_key() const { return name_ != kMetadata && (key_ == Key::kShape || key_ == Key::kOffsets); }

  bool open() {
    constexpr int kMaxDepth = 64;
    return ++depth_ <= kMaxDepth || fail_at(fmt::format("JSON is nested deeper than {}", kMaxDepth));
  }

  // A value that is none of the format: an error, but within a tensor's key that the format does not have.
  bool other() {
    if (depth_ >= 2 && name_ != kMetadata && key_ == Key::kOther) {
      return true;
    }
    if (depth_ == 0) {
      return fail_at("is not a JSON object");
    }
    if (name_ == kMetadata) {
      return depth_ == 1 ? set(invalid_input(file_ + ": __metadata__", "is not a JSON object"))
                         : set(invalid_input(file_ + ": __metadata__",
                                             fmt::format("key \"{}\" is not a string", printable(metadata_key_))));
    }
    return depth_ == 1           ? fail("is not a JSON object")
           : key_ == Key::kDType ? fail("key \"dtype\" is not a string")
           : key_ == Key::kShape ? fail(depth_ == 2 ? "has no shape of at most 8 dimensions"
                                                    : "has a dimension that is not a number, or too large")
                                 : fail("has no data_offsets [begin, end]");
  }

  bool finish_tensor() {
    const auto has = [&](Key key) { return seen_.at(static_cast<size_t>(key)); };
    if (!has(Key::kDType)) {
      return fail("has no key \"dtype\"");
    }
    if (!has(Key::kShape)) {
      return fail("has no shape of at most 8 dimensions");
    }
    if (n_offsets_ != 2) {
      return fail("has no data_offsets [begin, end]");
    }
    if (tensor_.begin > tensor_.end || tensor_.end > data_size_) {
      return fail(fmt::format("lies at {}..{} of {} data bytes", tensor_.begin, tensor_.end, data_size_));
    }
    const uint64_t n_bytes = tensor_.end - tensor_.begin;
    uint64_t n_bits = 0;
    if (__builtin_mul_overflow(n_elements_, tensor_.dtype->bits, &n_bits) || n_bits % 8 != 0 || n_bits / 8 != n_bytes) {
      return fail(
          fmt::format("has {} elements by its shape, but {} bytes of {}", n_elements_, n_bytes, tensor_.dtype->name));
    }
    tensor_.n_elements = n_elements_;
    header_.tensors.push_back(std::move(tensor_));
    return true;
  }

  // Of the tensor at hand.
  bool fail(std::string what) {
    return set(invalid_input(fmt::format("{}: tensor {}", file_, printable(name_)), std::move(what)));
  }
  bool fail_at(std::string what) { return set(invalid_input(file_ + ": header", std::move(what))); }
  bool set(tl::unexpected<Error> error) {
    error_ = std::move(error.value());
    return false;
  }

  uint64_t data_size_;
  const std::string& file_;
  SafetensorsHeader header_;
  std::optional<Error> error_;
  int depth_ = 0;  // of open objects and arrays: 1 in the header, 2 in a tensor, 3 in its lists
  std::string name_, metadata_key_;
  bool has_metadata_ = false;
  Tensor tensor_;
  Key key_ = Key::kOther;
  std::array<bool, 4> seen_ = {};  // by Key
  uint64_t n_elements_ = 1;
  int n_offsets_ = 0;
};

Status check_names(std::vector<Tensor>& tensors, const std::string& file) {
  std::sort(tensors.begin(), tensors.end(), [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(tensors.begin(), tensors.end(),
                                        [](const Tensor& a, const Tensor& b) { return a.name == b.name; });
  if (twice != tensors.end()) {
    return invalid_input(file + ": header", fmt::format("the key \"{}\" stands twice", printable(twice->name)));
  }
  return {};
}

// Tensors follow one another, from the first byte of the data area to its last.
Status check_layout(const std::vector<Tensor>& tensors, uint64_t data_size, const std::string& file) {
  std::vector<const Tensor*> by_place;
  by_place.reserve(tensors.size());
  for (const Tensor& tensor : tensors) {
    by_place.push_back(&tensor);
  }
  std::sort(by_place.begin(), by_place.end(),
            [](const auto* a, const auto* b) { return std::pair(a->begin, a->end) < std::pair(b->begin, b->end); });
  uint64_t next = 0;
  for (const Tensor* tensor : by_place) {
    if (tensor->begin != next) {
      return invalid_input(fmt::format("{}: tensor {}", file, printable(tensor->name)),
                           fmt::format("begins at data byte {}, where {} is the next: {}", tensor->begin, next,
                                       tensor->begin > next ? "a hole" : "it overlaps the one before"));
    }
    next = tensor->end;
  }
  if (next != data_size) {
    return invalid_input(file, fmt::format("has {} bytes behind its last tensor", data_size - next));
  }
  return {};
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors_header(std::string_view text, uint64_t data_size, const std::string& file) {
  if (!text.starts_with('{')) {
    return invalid_input(file + ": header", "does not begin with '{'");
  }
  Reader reader(data_size, file);
  if (!nlohmann::json::sax_parse(text, &reader)) {
    return tl::unexpected(
        reader.error().value_or(Error{ErrorCode::kInvalidInput, file + ": header", "is not valid JSON", {}}));
  }
  SafetensorsHeader header = reader.take();
  TERN_RETURN_IF_ERROR(check_names(header.tensors, file));
  TERN_RETURN_IF_ERROR(check_layout(header.tensors, data_size, file));
  return header;
}

}  // namespace tern::trace
