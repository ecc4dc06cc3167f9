// Writes GGUF files: the header at once, then tensor after tensor, so that a model larger than memory can be made.
// For converters, `tern synth` and tests. The file appears under its name only when it is whole (base/file.h).
// Versions 2 and 3 have the same layout; only the number differs. Format: ggml/docs/gguf.md in llama.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/file.h"
#include "tern/quant/format.h"

namespace tern::gguf {

// The C++ type chosen decides the value type in the file: uint32_t{7} becomes u32, std::vector<float> an array of f32.
using TypedValue =
    std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string, uint64_t, int64_t,
                 double, std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>, std::vector<int16_t>,
                 std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>, std::vector<bool>,
                 std::vector<std::string>, std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>>;

struct TensorPlan {
  std::string name;
  std::vector<uint64_t> dims;  // dims[0] runs fastest (columns)
  uint32_t type_id = 0;
  uint64_t n_bytes = 0;  // without the padding that follows
};

// All that stands before the tensor data. Add the key general.alignment if `alignment` is not 32.
struct Header {
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::vector<std::pair<std::string, TypedValue>> metadata;
  std::vector<TensorPlan> tensors;  // in the order in which their data follows

  void add(std::string key, TypedValue value) { metadata.emplace_back(std::move(key), std::move(value)); }
  // The format must be able to hold the shape (quant::Format::tensor_bytes).
  void add_tensor(std::string name, std::vector<uint64_t> dims, const quant::Format& format);
};

// The header's bytes, padded up to the data section. Data of tensor i begins at the sum of the padded sizes before it.
std::string encode_header(const Header& header);
// Bytes of zeros that follow `n_bytes` of data.
uint64_t padding_after(uint64_t n_bytes, uint64_t alignment);

class Writer {
 public:
  // Errors: kIo.
  static Result<Writer> create(const std::filesystem::path& path, Header header);

  // The next bytes of tensor data, in any portions that do not cross the end of a tensor; the padding between tensors
  // is added here. Errors: kIo.
  Status append(std::span<const std::byte> bytes);
  uint64_t bytes_written() const { return file_.size(); }
  uint64_t bytes_total() const { return bytes_total_; }
  // After the last tensor: makes the file appear. Errors: kIo.
  Status commit();

 private:
  Writer(FileWriter file, Header header, uint64_t bytes_total);

  FileWriter file_;
  Header header_;
  uint64_t bytes_total_;
  size_t tensor_ = 0;       // the one whose data comes next
  uint64_t in_tensor_ = 0;  // bytes of it already written
};

}  // namespace tern::gguf
