// The largest logits of each position instead of all of them: what a recording keeps where the vocabulary is large.
//   top-logits.safetensors   "ids" I32 [positions, k], "logits" F32 [positions, k]: the k largest of the row, falling;
//                            of equal ones the lower id first
//                            "log_sum_exp" F32 [positions]: log of the sum of exp over the whole row, so that a change
//                            of what was left out shows, too
//                            metadata "vocab": how many logits the whole row had
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "tern/base/error.h"
#include "tern/trace/safetensors.h"

namespace tern::trace {

struct TopLogitsRow {
  std::span<const int32_t> ids;
  std::span<const float> logits;
  float log_sum_exp = 0;
};

class TopLogits {
 public:
  static constexpr const char* kFileName = "top-logits.safetensors";

  // Checks what the file says against itself: shapes, ids inside the vocabulary and each once in a row, the order,
  // and that the log-sum-exp is one that a row with these k largest logits can have. Errors: kIo; kInvalidInput with
  // the row.
  static Result<TopLogits> open(const std::filesystem::path& path);

  size_t n_rows() const { return n_rows_; }
  size_t k() const { return k_; }
  size_t vocab() const { return vocab_; }
  // Valid as long as this object.
  TopLogitsRow row(size_t index) const;

 private:
  explicit TopLogits(Safetensors file) : file_(std::move(file)) {}
  Safetensors file_;
  size_t n_rows_ = 0, k_ = 0, vocab_ = 0;
  std::span<const int32_t> ids_;
  std::span<const float> logits_, log_sum_exp_;
};

// log(sum(exp(row))), computed in double after subtracting the largest, in index order. The row is finite, not empty.
// Where it is stored it is rounded to float32, which hides that C libraries differ in exp's last bit.
double log_sum_exp(std::span<const float> row);

// Ids of the k largest values, falling; of equal ones the lower id first. k <= row.size(), no NaN in the row.
std::vector<int32_t> largest_ids(std::span<const float> row, size_t k);

// Writes the file for `logits`, float32 [positions, vocab], as `where` names it in errors. Errors: kIo; kInvalidInput
// where k is not from 1 to vocab, or a value is NaN or infinite, which has no place in an order.
Status write_top_logits(const std::filesystem::path& path, const Safetensors::Entry& logits, size_t k,
                        const std::string& where);

}  // namespace tern::trace
