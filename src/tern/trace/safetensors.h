// Named tensors of floats (and, where asked for, of int32) in Hugging Face's safetensors format: 8 bytes of
// header length, a JSON header, the data. The reader is as strict as the format: data may begin at any byte, but
// leaves no hole and ends with the file, and no name stands twice. Source: github.com/huggingface/safetensors,
// README and safetensors/src/tensor.rs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/file.h"
#include "tern/base/mapped_file.h"
#include "tern/trace/safetensors_header.h"

namespace tern::trace {

// Memory-mapped reader. Floats of any width are read as float32. Integers are passed over, but for I32 where it
// is expected.
class Safetensors {
 public:
  // Spans are valid as long as the Safetensors object: they go into the mapping, or into memory of its own where the
  // file holds another float type or the data is not aligned.
  struct Entry {
    std::vector<int64_t> shape;
    std::span<const float> values;
    std::string_view dtype = "F32";  // in the file
  };
  struct IntegerEntry {
    std::vector<int64_t> shape;
    std::span<const int32_t> values;
  };
  enum class Integers { kRefused, kTaken };
  static constexpr uint64_t kMaxHeaderBytes = uint64_t{100} << 20;  // the limit of Hugging Face's own reader

  // Errors: kIo; kInvalidInput for a header or offsets that do not fit the file, a dtype that the format does not have,
  // a name that stands twice, a hole, or bytes behind the last tensor.
  static Result<Safetensors> open(const std::filesystem::path& path, Integers integers = Integers::kRefused);

  // Null where there is none of that name and type.
  const Entry* find(std::string_view name) const;
  const IntegerEntry* find_integers(std::string_view name) const;
  // Sorted by name.
  const std::vector<std::pair<std::string, Entry>>& entries() const { return entries_; }
  // The header's "__metadata__"; what is not text is left out.
  const std::map<std::string, std::string, std::less<>>& metadata() const { return metadata_; }

 private:
  explicit Safetensors(MappedFile file) : file_(std::move(file)) {}
  // `first`: the tensor's values. Tensors come in the order of their names.
  void take(SafetensorsHeader::Tensor tensor, const std::byte* first, Integers integers);
  MappedFile file_;
  std::vector<std::vector<float>> floats_;  // what could not be taken from the mapping
  std::vector<std::vector<int32_t>> integers_;
  std::vector<std::pair<std::string, Entry>> entries_;
  std::vector<std::pair<std::string, IntegerEntry>> integer_entries_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

// Writes tensors one after the other without holding them; the header goes to the front at finish(). Data is laid out
// behind a header area of fixed size, padded with spaces, as the format allows.
class SafetensorsWriter {
 public:
  // `header_capacity`: room for the JSON header, at least header_bytes(number of tensors).
  static Result<SafetensorsWriter> create(const std::filesystem::path& path, uint64_t header_capacity);

  // Enough for that many tensors with names as traces have them.
  static constexpr uint64_t header_bytes(uint64_t n_tensors) { return 64 + 192 * n_tensors; }

  Status add(const std::string& name, const std::vector<int64_t>& shape, std::span<const float> values);
  Status add_integers(const std::string& name, const std::vector<int64_t>& shape, std::span<const int32_t> values);
  // A pair of the header's "__metadata__"; counts like a tensor for header_bytes().
  void add_metadata(const std::string& key, const std::string& value) { metadata_[key] = value; }

  // A tensor whose number of rows is not known beforehand: begin_rows(), append_row()..., end_rows().
  Status begin_rows(const std::string& name, int64_t n_cols);
  Status append_rows(std::span<const float> values);
  Status end_rows();

  Status finish();

 private:
  struct Entry {
    std::string name;
    const char* dtype = "F32";
    std::vector<int64_t> shape;
    uint64_t begin = 0;
    uint64_t end = 0;
  };
  SafetensorsWriter(FileWriter file, uint64_t header_capacity)
      : file_(std::move(file)), header_capacity_(header_capacity) {}
  uint64_t data_size() const;
  Status add_bytes(const std::string& name, const char* dtype, const std::vector<int64_t>& shape,
                   std::span<const std::byte> bytes);

  FileWriter file_;
  uint64_t header_capacity_;
  std::vector<Entry> entries_;
  std::map<std::string, std::string> metadata_;
  int64_t row_width_ = 0;  // of the tensor being written row by row; 0 when there is none
};

}  // namespace tern::trace
